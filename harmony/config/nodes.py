"""Nodes: yaml mappings with ``_target_`` that name a constructor, read and built."""

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeGuard

from harmony.config.names import nearest
from harmony.errors import ConfigError

PACKAGE = "harmony"
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_node(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a yaml value is a node."""
    return isinstance(value, dict) and "_target_" in value


def resolve_target(target: object) -> Callable[..., Any]:
    """Import what ``_target_`` names.

    Args:
        target: dotted path below the ``harmony`` package, e.g. ``harmony.models.rssm.RSSM``.

    Raises:
        ConfigError: not a dotted path, outside the package, or no such module or name.
    """
    if not isinstance(target, str) or not target.startswith(f"{PACKAGE}."):
        raise ConfigError(f"_target_ must be a dotted name below '{PACKAGE}.', got {target!r}")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"_target_ {target}: no module '{error.name}'") from error
    found = getattr(module, name, None)
    if not callable(found):
        names = [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module_name]
        raise ConfigError(f"_target_ {target}: {module_name} has no '{name}'{nearest(name, names)}")
    return typing.cast("Callable[..., Any]", found)


@dataclass(frozen=True)
class Constructor:
    """What a node's keys are checked against.

    Attributes:
        target: the class or function.
        name: its name, for messages.
        parameters: its parameters by name, in order; ``*args`` and ``**kwargs`` left out.
        hints: their resolved annotations, where there are any.
        produced: the class of what a call returns; None where nothing says so.
        is_open: it takes ``**kwargs``, so unknown keys are allowed.
    """

    target: Callable[..., Any]
    name: str
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, Any]
    produced: Any
    is_open: bool

    @classmethod
    @functools.cache
    def of(cls, target: str) -> Self:
        """Read the constructor that ``_target_`` names."""
        return cls.from_callable(resolve_target(target))

    @classmethod
    def from_callable(cls, target: Callable[..., Any]) -> Self:
        """Read a class or function.

        Raises:
            ConfigError: an annotation names something that can't be found at run time.
        """
        is_class = isinstance(target, type)
        name = getattr(target, "__name__", str(target))
        # mypy calls cls.__init__ unsound, which is meant for calls; only its hints are read
        annotated = vars(target).get("__init__") if is_class else target
        if is_class and annotated is None:
            annotated = getattr(target, "__init__")  # noqa: B009 - see above
        try:
            hints = typing.get_type_hints(annotated) if annotated is not object.__init__ else {}
        except NameError as error:
            raise ConfigError(f"{name}: annotation names {error.name!r}, unknown here") from error
        parameters = inspect.signature(target).parameters.values()
        return cls(
            target=target,
            name=name,
            parameters={p.name: p for p in parameters if p.kind in _KINDS},
            hints=hints,
            produced=target if is_class else hints.get("return"),
            is_open=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        )


def instantiate(node: Mapping[str, Any], **runtime: object) -> Any:  # noqa: ANN401 - what it builds
    """Build the object that a checked node names, nested nodes first.

    Lists become tuples and strings become paths where the annotation says so.

    Args:
        node: a node of a configuration that passed the check.
        **runtime: arguments known only at run time.

    Returns:
        The object, or a `functools.partial` of its constructor where ``_partial_`` is true.
    """
    constructor = Constructor.of(node["_target_"])
    arguments: dict[str, object] = {
        key: _built(value, constructor.hints.get(key))
        for key, value in node.items()
        if key not in ("_target_", "_partial_")
    }
    if node.get("_partial_", False):
        return functools.partial(constructor.target, **arguments, **runtime)
    return constructor.target(**arguments, **runtime)


def _built(value: object, annotation: Any) -> object:  # noqa: ANN401 - any annotation
    if is_node(value):
        return instantiate(value)
    if isinstance(value, dict):
        arms = _arms(annotation)
        items = next((typing.get_args(x)[1] for x in arms if len(typing.get_args(x)) == 2), None)
        return {key: _built(item, items) for key, item in value.items()}
    if isinstance(value, list):
        return _built_sequence(value, annotation)
    if isinstance(value, str) and Path in _arms(annotation) and str not in _arms(annotation):
        return Path(value)
    return value


def _built_sequence(value: list[object], annotation: Any) -> object:  # noqa: ANN401
    origins = [typing.get_origin(x) or x for x in _arms(annotation)]
    for arm, origin in zip(_arms(annotation), origins, strict=True):
        arguments = typing.get_args(arm)
        if origin is tuple and list not in origins:
            fixed = bool(arguments) and Ellipsis not in arguments
            wanted = arguments if fixed else (arguments or (None,))[:1] * len(value)
            return tuple(_built(x, hint) for x, hint in zip(value, wanted, strict=True))
        if arguments:
            return [_built(x, arguments[0]) for x in value]
    return [_built(x, None) for x in value]


def _arms(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(x for x in typing.get_args(annotation) if x is not types.NoneType)
    return (annotation,)
