"""The nearest right name for a wrong one."""

import difflib
from collections.abc import Collection


def nearest(wrong: str, names: Collection[str], limit: int = 24) -> str:
    """Return the end of an error message: the nearest name, if one is near, and all names.

    Args:
        wrong: the name that was given.
        names: the names that exist; those that begin with an underscore are not shown.
        limit: how many names are listed at most.
    """
    listed = sorted(name for name in names if not name.startswith("_"))
    close = difflib.get_close_matches(wrong, listed, n=1, cutoff=0.6)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    more = f", and {len(listed) - limit} more" if len(listed) > limit else ""
    return f"{hint} (has: {', '.join(listed[:limit]) or 'none'}{more})"
