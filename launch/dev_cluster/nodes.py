"""Reading what the controller says about nodes."""

import re

_UP = {"IDLE", "MIXED", "ALLOCATED", "COMPLETING"}
_FIELD = re.compile(r"(?:^|\s)(NodeName|State|SlurmdStartTime)=(\S+)")


def up_since(text: str) -> dict[str, int]:
    """When each node that takes jobs registered its slurmd.

    Args:
        text: What ``scontrol --oneliner show node`` prints with SLURM_TIME_FORMAT=%s.

    Returns:
        Start of the slurmd by node, unix seconds; nodes that don't answer are left out.
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        fields = dict(_FIELD.findall(line))
        # State is a base and flags, IDLE+DRAIN; a star says that the node doesn't answer.
        base = fields.get("State", "").partition("+")[0]
        since = fields.get("SlurmdStartTime", "")
        if base in _UP and since.isdigit():
            found[fields["NodeName"]] = int(since)
    return found
