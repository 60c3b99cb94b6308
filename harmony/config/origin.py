"""Where a key of a composed configuration was written: a yaml file or the command line."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from harmony.config.compose import Composed
from harmony.config.conf_dir import find_conf_dir

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


def origin(composed: Composed, path: str) -> str:
    """Return what to open to mend a key, e.g. ``conf/algorithm/dreamerv2.yaml``.

    Args:
        composed: the configuration.
        path: dotted path of the key.

    Returns:
        The override of the command line that wrote it, else the last chosen file that has it,
        else the file of the longest part of the path that some file has.
    """
    for override in reversed(composed.overrides):
        key = override.lstrip("+~").split("=")[0]
        if path == key or ("." in key and path.startswith(f"{key}.")):
            return f"command line '{override}'"
    names = re.sub(r"\[\d+\]", "", path).split(".")
    for length in range(len(names), 0, -1):
        for group, option in reversed(composed.choices.items()):
            file = Path(group) / f"{option}.yaml"
            if _has(find_conf_dir() / file, group, names[:length]):
                return f"conf/{file.as_posix()}"
    return "conf/config.yaml"


def _has(file: Path, group: str, names: list[str]) -> bool:
    if not file.is_file():
        return False
    node: object = OmegaConf.load(file)
    header = _PACKAGE.search(file.read_text(encoding="utf-8"))
    package = header[1] if header else group.replace("/", ".")
    prefix = [] if package == "_global_" else package.split(".")
    if names[: len(prefix)] != prefix:
        return names == prefix[: len(names)]
    for name in names[len(prefix) :]:
        if not isinstance(node, DictConfig) or name not in node:
            return False
        node = node._get_node(name)
    return True
