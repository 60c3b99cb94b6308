"""Errors of Hydra and OmegaConf in one line, with the names that would have been right."""

import difflib
import re
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.config.names import nearest
from harmony.errors import ConfigError

_FAILED_KEY = re.compile(
    r"Could not (?:override|append to config\. An item is already at|delete from config\."
    r"(?: The value of)?) '([^'\s]+)'"
)
_NO_OPTION = re.compile(r"Could not find '(?P<group>[^']+)/(?P<option>[^'/]+)'")
_SWEEP = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(?P<override>[^']+)'")
_ONE_FOR_ALL = re.compile(r"Sweeping over Hydra's configuration is not supported : '(.+)'")
_INVALID = re.compile(r"^(?P<said>.*)\n\s*full_key: (?P<key>hydra\.launcher\.\w+)(?:\[|$)", re.M)
_OF_LAUNCHER = "hydra.launcher."
_UNITS = {"_min": " of minutes", "_s": " of seconds", "_gb": " of GB"}


def failed_key(error: Exception) -> str | None:
    """Return the dotted key that an error of Hydra complains about, if it names one."""
    found = _FAILED_KEY.search(str(error))
    return found.group(1) if found else None


def unknown_option(group: str, option: str) -> ConfigError:
    """Return the error for ``group=option`` without such a file."""
    options = list_groups(find_conf_dir()).get(group, [])
    return ConfigError(f"{group}={option}: no such option{nearest(option, options)}")


def translate(error: Exception, overrides: Sequence[str], tree: DictConfig) -> ConfigError:
    """Return a one-line error for one of Hydra's.

    Args:
        error: what Hydra or OmegaConf raised.
        overrides: the overrides it was given.
        tree: a configuration that composes: the names that exist.
    """
    text = str(error)
    if found := _NO_OPTION.search(text):
        return unknown_option(found["group"], found["option"])
    if found := _SWEEP.search(text):
        key, _, value = found["override"].partition("=")
        hint = "" if "(" in value else f", {key}=[{value}] for a list"
        return ConfigError(f"{found['override']}: several values; add -m to run each{hint}")
    if found := _ONE_FOR_ALL.search(text):
        key, _, value = found[1].partition("=")
        return ConfigError(
            f"{found[1]}: a sweep has one value of it; quote a value with commas twice: "
            f"'{key}=\"{value}\"'"
        )
    if (key := failed_key(error)) is not None:
        if key.startswith(_OF_LAUNCHER) and not _has_launcher(overrides):
            return ConfigError(f"{key}: add hydra/launcher=slurm (or local), which it belongs to")
        return _wrong_key(key, text, tree)
    if found := _INVALID.search(f"{text}\n{error.__cause__}"):
        return wrong_value(found["key"], _given(found["key"], overrides), found["said"])
    if isinstance(error, OmegaConfBaseException):
        return _unresolved(error)
    return _bad_grammar(error, overrides)


def wrong_value(key: str, given: str | None, said: str) -> ConfigError:
    """Return the error for a setting of a launcher that has the wrong type.

    Args:
        key: dotted, such as ``hydra.launcher.timeout_min``.
        given: what was typed for it; None if it stands in a file.
        said: what OmegaConf says of it.
    """
    said = said.splitlines()[0]
    value = found[1] if (found := re.match("Value '(.*?)'", said)) else ""
    came = value if given is None else given
    unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")
    if "Integer" in said:
        expected, cure = f"a whole number{unit}", ""
    elif "bool" in said:
        expected, cure = "true or false", ""
    elif "list" in said:
        expected, cure = "a list", f"; write '{key}=[\"{came or '...'}\"]'"
    elif "Optional" in said:
        expected, cure = "a value", "; leave it out for the default"
    else:
        return ConfigError(f"{key}: {said}")
    if key.endswith("gpus_per_node") and re.match(r"[A-Za-z]", came) and came != "null":
        gres = f"gpu:{came}".replace("gpu:gpu:", "gpu:")
        cure = (
            f"; name a kind of GPU with {_OF_LAUNCHER}gres={gres} {key}=null, or with "
            f"{_OF_LAUNCHER}constraint=..."
        )
    return ConfigError(f"{key}: expected {expected}, got {came or 'something else'}{cure}")


def _given(key: str, overrides: Sequence[str]) -> str | None:
    """Return what was typed for a key."""
    typed = [o.lstrip("+").partition("=") for o in overrides]
    return next((value for name, _, value in reversed(typed) if name == key), None)


def _has_launcher(overrides: Sequence[str]) -> bool:
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("hydra/launcher=")]
    return bool(chosen) and chosen[-1] != "basic"


def _wrong_key(key: str, text: str, tree: DictConfig) -> ConfigError:
    if "already at" in text:
        return ConfigError(f"+{key}: it exists already; leave out the +")
    if "@" in key:
        return ConfigError(f"{key}: options can't be put elsewhere; use {key.split('@')[0]}=OPTION")
    if text.startswith("Could not delete") and "does not exist" not in text:
        return ConfigError(f"~{key}: its value is another one; give ~{key} alone")
    parent = tree
    *sections, last = key.split(".")
    for depth, section in enumerate(sections):
        child = OmegaConf.select(parent, section, throw_on_missing=False)
        if not isinstance(child, DictConfig):
            return _no_such_key(key, ".".join(sections[:depth]), section, parent)
        parent = child
    near = difflib.get_close_matches(last, [str(k) for k in parent], n=1, cutoff=0.8)
    if not near and (elsewhere := _section_with(last, ".".join(sections), tree)):
        return ConfigError(f"{key}: there is no such key; did you mean '{elsewhere}.{last}'?")
    return _no_such_key(key, ".".join(sections), last, parent)


def _section_with(key: str, asked: str, tree: DictConfig) -> str | None:
    """Return the section that has a key of exactly that name, the one most like what was asked."""
    found = []
    for name in tree:
        section = OmegaConf.select(tree, str(name), throw_on_missing=False)
        if name != "hydra" and isinstance(section, DictConfig) and key in section:
            found.append(str(name))
    return next(iter(difflib.get_close_matches(asked, found, n=1)), found[0] if found else None)


def _no_such_key(key: str, section: str, name: str, parent: DictConfig) -> ConfigError:
    names = [str(k) for k in parent if k != "hydra"]
    if name in names:
        return ConfigError(f"{key}: {section}.{name} is a value, it has no keys".replace(" .", " "))
    if not section:
        names += [group for group in list_groups(find_conf_dir()) if group not in names]
    where = f"{section} has" if section else "there is"
    return ConfigError(f"{key}: {where} no key '{name}'{nearest(name, names)}")


def _unresolved(error: OmegaConfBaseException) -> ConfigError:
    key = error.full_key or "configuration"
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(f"{key} is not set; give {key}=VALUE")
    first = str(error.msg or error).splitlines()[0]
    return ConfigError(f"{key}: {first}")


def _bad_grammar(error: Exception, overrides: Sequence[str]) -> ConfigError:
    lines = [x.strip() for x in str(error).splitlines() if "See http" not in x]
    text = " ".join(x for x in lines if not x.startswith("Error parsing override"))
    if found := re.fullmatch(r"(\S+) appears more than once in the final defaults list", text):
        return ConfigError(f"+{found[1]}=: it is chosen already; write {found[1]}=OPTION")
    if "force-add of config groups" in text:
        return ConfigError(f"{text.split(chr(39))[1]}: write it without ++")
    if "group override must be" in text:
        named = [o for o in overrides if re.match(r"[\w/]*=", o)]
        return ConfigError(f"{' '.join(named)}: an option must be a name ({text})")
    wrong = _unreadable(overrides) or " ".join(overrides)
    hint = "'KEY=\"a=b\"'"
    if found := re.fullmatch(r"([\w.+]+)=\[(.*)\]", wrong):
        items = ", ".join(f'"{item.strip()}"' for item in found[2].replace('"', "").split(","))
        hint = f"'{found[1]}=[{items}]'"
    return ConfigError(
        f"{wrong}: not a readable override ({text}); write KEY=VALUE, and quote values with "
        f"special characters twice: {hint}"
    )


def _unreadable(overrides: Sequence[str]) -> str | None:
    """Return the first override that Hydra's grammar can't read by itself."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException:
            return override
    return None
