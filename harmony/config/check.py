"""The check: every key of a composed configuration against what will be called with it."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import Parameter
from typing import Any

from omegaconf import OmegaConf

from harmony.config.annotations import mismatch
from harmony.config.compose import Composed
from harmony.config.conf_dir import find_conf_dir
from harmony.config.names import nearest
from harmony.config.nodes import Constructor, is_node
from harmony.config.origin import origin
from harmony.errors import ConfigError

RuntimeArguments = Mapping[type | str, Collection[str]]


def check_keys(composed: Composed) -> None:
    """Check the plain sections: ``conf/config.yaml`` is the closed list of their keys.

    A key of ``config.yaml`` must be there, no other may be, and a value must have the type of
    the one in ``config.yaml``, if that is neither null nor an interpolation. A section that is
    empty there (``{}``), comes from a config group or is a node is left to `check_nodes`.

    Raises:
        ConfigError: unknown key, missing key or wrong type.
    """
    declared, known = _declared((find_conf_dir() / "config.yaml").read_text(encoding="utf-8"))
    groups = {group for group in known if group in composed.config}
    _check_section(composed, "", declared, composed.config, groups)


def check_nodes(
    composed: Composed,
    runtime_arguments: RuntimeArguments,
    schemas: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """Check every node, at any depth, against the constructor that it names.

    Args:
        composed: the configuration.
        runtime_arguments: arguments that are given at run time, by class (also of subclasses),
            by ``_target_`` or by dotted path of the node. They may not stand in yaml.
        schemas: classes or functions whose parameters are the keys of plain sections, by path.

    Raises:
        ConfigError: unknown key, missing key, wrong type, or a class that doesn't belong there.
    """
    for path, callable_ in (schemas or {}).items():
        section: Any = composed.config
        for name in path.split("."):
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise _error(composed, path, "expected a section (a mapping)")
        _check_arguments(composed, path, section, Constructor.from_callable(callable_), set())
    for path, mapping in _mappings("", composed.config):
        if is_node(mapping):
            _check_node(composed, path, mapping, runtime_arguments)
        elif stray := [key for key in mapping if str(key).startswith("_")]:
            raise _error(composed, f"{path}.{stray[0]}", "a node needs '_target_'")


@functools.lru_cache(maxsize=4)  # parsing takes most of the time of a check
def _declared(text: str) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """Return the sections of the text of ``config.yaml``, and the groups of its defaults."""
    declared = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(declared, dict):
        raise ConfigError("conf/config.yaml must be a mapping")
    groups = tuple(_groups(declared.pop("defaults", [])))
    declared.pop("hydra", None)
    return declared, groups


def _groups(defaults: object) -> Iterator[str]:
    for entry in defaults if isinstance(defaults, list) else []:
        if isinstance(entry, dict):
            yield from (str(key).removeprefix("optional ").split("@")[0] for key in entry)


def _check_section(
    composed: Composed,
    path: str,
    declared: Mapping[Any, Any],
    section: Mapping[str, Any],
    groups: Collection[str] = (),
) -> None:
    prefix = f"{path}." if path else ""
    for key in section:
        if key not in declared and key not in groups:
            names = nearest(str(key), [*declared, *groups])
            where = path or "the configuration"
            raise _error(composed, f"{prefix}{key}", f"{where} has no key '{key}'{names}")
    for key, default in declared.items():
        if key not in section:
            raise _error(composed, f"{prefix}{key}", "this key can't be left out")
        value = section[key]
        if isinstance(default, dict) and key not in groups:
            if not isinstance(value, dict):
                raise _error(composed, f"{prefix}{key}", f"expected a section, got {value!r}")
            if default and not is_node(default):
                _check_section(composed, f"{prefix}{key}", default, value)
        elif (reason := _unlike(default, value)) is not None and key not in groups:
            raise _error(composed, f"{prefix}{key}", reason)


def _unlike(default: object, value: object) -> str | None:
    if default is None or (isinstance(default, str) and ("${" in default or default == "???")):
        return None
    return mismatch(value, type(default))


def _mappings(path: str, value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if path:
            yield path, value
        for key, item in value.items():
            yield from _mappings(f"{path}.{key}" if path else str(key), item)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mappings(f"{path}[{index}]", item)


def _check_node(
    composed: Composed, path: str, node: Mapping[str, Any], runtime_arguments: RuntimeArguments
) -> None:
    try:
        constructor = Constructor.of(node["_target_"])
    except ConfigError as error:
        raise _error(composed, path, str(error)) from error
    partial = node.get("_partial_", False)
    if type(partial) is not bool:
        raise _error(composed, f"{path}._partial_", f"expected true or false, got {partial!r}")
    runtime = _runtime(path, node["_target_"], constructor, runtime_arguments)
    arguments = {k: v for k, v in node.items() if k not in ("_target_", "_partial_")}
    for name in arguments:
        if name in runtime:
            reason = f"{constructor.name} gets '{name}' at run time; remove it from yaml"
            raise _error(composed, f"{path}.{name}", reason)
    _check_arguments(composed, path, arguments, constructor, runtime if partial else set())


def _runtime(
    path: str, target: str, constructor: Constructor, runtime_arguments: RuntimeArguments
) -> set[str]:
    names: set[str] = set()
    for owner, arguments in runtime_arguments.items():
        if isinstance(owner, str):
            applies = owner in (path, target)
        else:
            produced = constructor.produced
            applies = isinstance(produced, type) and owner in produced.__mro__
        if applies:
            names.update(arguments)
    return names


def _check_arguments(
    composed: Composed,
    path: str,
    arguments: Mapping[str, Any],
    constructor: Constructor,
    runtime: Collection[str],
) -> None:
    parameters = constructor.parameters
    for key, value in arguments.items():
        if key not in parameters and not constructor.is_open:
            names = [name for name in parameters if name not in runtime]
            reason = f"{constructor.name} has no argument '{key}'{nearest(key, names)}"
            raise _error(composed, f"{path}.{key}", reason)
        try:
            unfit = mismatch(value, constructor.hints.get(key, Any))
        except ConfigError as error:
            raise _error(composed, f"{path}.{key}", str(error)) from error
        if unfit is not None:
            raise _error(composed, f"{path}.{key}", unfit)
    for name, parameter in parameters.items():
        required = parameter.default is Parameter.empty and name not in runtime
        if required and name not in arguments:
            raise _error(composed, path, f"{constructor.name} needs '{name}', which is missing")


def _error(composed: Composed, path: str, reason: str) -> ConfigError:
    return ConfigError(f"{origin(composed, path)}: {path}: {reason}")
