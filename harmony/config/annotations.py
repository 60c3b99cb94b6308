"""Does a yaml value fit a Python annotation? Nothing is coerced, except an int for a float."""

import collections.abc
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from harmony.config.nodes import Constructor, is_node

_SEQUENCES: tuple[object, ...] = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SCALARS = (bool, int, str, types.NoneType)


def mismatch(value: object, annotation: Any) -> str | None:  # noqa: ANN401 - any annotation
    """Return why a value doesn't fit an annotation, or None if it fits.

    Args:
        value: a value from yaml: dict, list, str, number, bool or None; a dict with ``_target_``
            stands for the object that it builds. Its own keys are not looked at.
        annotation: a resolved annotation, as `typing.get_type_hints` returns it.
    """
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return mismatch(value, arguments[0])
    if origin in (Union, types.UnionType):
        return _mismatch_union(value, arguments, annotation)
    if origin is Literal:
        fits = any(type(value) is type(x) and value == x for x in arguments)
        return None if fits else _expected(annotation, value)
    if is_node(value):
        return _mismatch_node(typing.cast("Mapping[str, Any]", value), annotation)
    if (origin or annotation) in _MAPPINGS:
        return _mismatch_mapping(value, arguments, annotation)
    if (origin or annotation) in _SEQUENCES:
        return _mismatch_sequence(value, arguments, annotation)
    return _mismatch_scalar(value, annotation)


def describe(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """Return an annotation as a reader would write it, without module names."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(describe(x) for x in arguments)
    if origin is Literal:
        return "one of " + ", ".join(repr(x) for x in arguments)
    if annotation is types.NoneType or annotation is None:
        return "null"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, list):
        return "[" + ", ".join(describe(x) for x in annotation) + "]"
    name = getattr(origin or annotation, "__name__", None) or str(annotation)
    return f"{name}[{', '.join(describe(x) for x in arguments)}]" if arguments else name


def class_fits(produced: Any, wanted: Any) -> bool:  # noqa: ANN401 - any annotation
    """Tell whether an object of class ``produced`` may stand where ``wanted`` is annotated.

    Anything that can't be decided from classes alone (a Protocol that is not checkable at run
    time, a type variable, an unannotated factory) is accepted.
    """
    if get_origin(wanted) in (typing.Union, types.UnionType):
        return any(class_fits(produced, choice) for choice in get_args(wanted))
    produced, wanted = get_origin(produced) or produced, get_origin(wanted) or wanted
    if not isinstance(produced, type) or not isinstance(wanted, type):
        return True
    try:
        return issubclass(produced, wanted)
    except TypeError:
        return True


def _expected(annotation: Any, value: object) -> str:  # noqa: ANN401 - any annotation
    if is_node(value):
        got = "a node"
    elif isinstance(value, dict):
        got = "a mapping"
    else:
        got = "null" if value is None else f"{type(value).__name__} {value!r}"
    whole = isinstance(value, float) and value.is_integer() and describe(annotation) == "int"
    hint = f"; write {int(typing.cast('float', value))}" if whole else ""
    return f"expected {describe(annotation)}, got {got}{hint}"


def _mismatch_union(value: object, arguments: tuple[Any, ...], annotation: Any) -> str | None:  # noqa: ANN401
    reasons = [mismatch(value, x) for x in arguments]
    if None in reasons:
        return None
    others = [r for r, x in zip(reasons, arguments, strict=True) if x is not types.NoneType]
    return others[0] if len(others) == 1 and is_node(value) else _expected(annotation, value)


def _mismatch_node(node: Mapping[str, Any], annotation: Any) -> str | None:  # noqa: ANN401
    constructor = Constructor.of(node["_target_"])
    partial, arguments = node.get("_partial_", False), get_args(annotation)
    if (get_origin(annotation) or annotation) is collections.abc.Callable:
        wanted = arguments[-1] if arguments else Any
        if partial:
            fits = class_fits(constructor.produced, wanted)
            return None if fits else f"{constructor.name} is not a {describe(wanted)}"
        if isinstance(wanted, type) and constructor.produced is wanted:
            return f"{constructor.name} lacks '_partial_: true'"
        fits = class_fits(constructor.produced, collections.abc.Callable)
        return None if fits else f"{constructor.name} can't be called"
    if partial:
        return f"{constructor.name} has '_partial_: true', expected a whole {describe(annotation)}"
    fits = class_fits(constructor.produced, annotation)
    return None if fits else f"{constructor.name} is not a {describe(annotation)}"


def _mismatch_mapping(value: object, arguments: tuple[Any, ...], annotation: Any) -> str | None:  # noqa: ANN401
    if not isinstance(value, dict):
        return _expected(annotation, value)
    keys, values = arguments or (Any, Any)
    for key, item in value.items():
        if (reason := mismatch(key, keys) or mismatch(item, values)) is not None:
            return f"at '{key}': {reason}"
    return None


def _mismatch_sequence(value: object, arguments: tuple[Any, ...], annotation: Any) -> str | None:  # noqa: ANN401
    if not isinstance(value, list):
        return _expected(annotation, value)
    fixed = (get_origin(annotation) is tuple) and Ellipsis not in arguments
    if fixed and len(arguments) != len(value):
        return f"expected {len(arguments)} values, got {len(value)}"
    items = arguments if fixed else (arguments or (Any,))[:1] * len(value)
    for index, (item, wanted) in enumerate(zip(value, items, strict=True)):
        if (reason := mismatch(item, wanted)) is not None:
            return f"at [{index}]: {reason}"
    return None


def _mismatch_scalar(value: object, annotation: Any) -> str | None:  # noqa: ANN401
    if annotation is float:
        fits = type(value) in (int, float)
    elif annotation is Path:
        fits = type(value) is str
    elif annotation in _SCALARS or annotation is None:
        fits = type(value) is (annotation or types.NoneType)
    else:
        return f"{_expected(annotation, value)}; give a node (a mapping with '_target_')"
    return None if fits else _expected(annotation, value)
