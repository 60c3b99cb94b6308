from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypeVar, Union

import pytest

from harmony.config.annotations import class_fits, describe, mismatch
from tests.config import fakes

T = TypeVar("T")
GRU = {"_target_": "harmony.fakes.GRU", "units": 3}
LSTM = {"_target_": "harmony.fakes.LSTM", "units": 3}
WALKER = {"_target_": "harmony.fakes.Walker", "task": "walk"}
MAKE_RSSM = {"_target_": "harmony.fakes.RSSM", "_partial_": True}
MAKE_GRU = {"_target_": "harmony.fakes.make_gru", "_partial_": True}
DOUBLE = {"_target_": "harmony.fakes.double", "_partial_": True}


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        ("x", str),
        (True, bool),
        (None, None),
        (None, Optional[int]),  # noqa: UP045 - the old spelling is meant
        (2, int | None),
        ("a", Union[int, str]),  # noqa: UP007 - the old spelling is meant
        ("disk", Literal["disk", "memory"]),
        ([1, 2], list[int]),
        ([1, 2.5], Sequence[float]),
        ([], tuple[int, ...]),
        ([1, 2.0], tuple[int, float]),
        ([1], list),
        ({"a": 1}, dict[str, int]),
        ({"a": [1.0]}, Mapping[str, list[float]]),
        ({"a": None}, dict),
        ("runs/x", Path),
        (3, Annotated[int, "agent steps"]),
        ({"x": object()}, Any),
        (3, T),
        (GRU, fakes.GRU),
        (LSTM, fakes.GRU),
        (WALKER, fakes.Cell),  # a plain Protocol says nothing at run time
        (GRU, fakes.GRU | None),
        ([GRU, LSTM], Sequence[fakes.GRU]),
        ({"a": GRU}, Mapping[str, fakes.GRU]),
        (MAKE_RSSM, Callable[..., fakes.RSSM]),
        (MAKE_GRU, Callable[..., fakes.GRU]),
        (DOUBLE, Callable[[float], float]),
    ],
)
def test_fits(value, annotation):
    assert mismatch(value, annotation) is None


@pytest.mark.parametrize(
    ("value", "annotation", "reason"),
    [
        (True, int, "expected int, got bool True"),
        (1, bool, "expected bool, got int 1"),
        (True, float, "expected float, got bool True"),
        ("1", int, "expected int, got str '1'"),
        (1, str, "expected str, got int 1"),
        (1e6, int, "expected int, got float 1000000.0; write 1000000"),
        (1.5, int, "expected int, got float 1.5"),
        (None, int, "expected int, got null"),
        ("x", int | None, "expected int | null, got str 'x'"),
        ("dsk", Literal["disk", "memory"], "expected one of 'disk', 'memory', got str 'dsk'"),
        (True, Literal[1], "expected one of 1, got bool True"),
        ([1, "x"], list[int], "at [1]: expected int, got str 'x'"),
        (3, list[int], "expected list[int], got int 3"),
        ("abc", Sequence[str], "expected Sequence[str], got str 'abc'"),
        ([1], tuple[int, int], "expected 2 values, got 1"),
        ({"a": "x"}, dict[str, int], "at 'a': expected int, got str 'x'"),
        ([], dict[str, int], "expected dict[str, int], got list []"),
        (3, Path, "expected Path, got int 3"),
        ({"a": 1}, int, "expected int, got a mapping"),
        (GRU, int, "GRU is not a int"),
        (WALKER, fakes.GRU, "Walker is not a GRU"),
        (WALKER, fakes.GRU | None, "Walker is not a GRU"),
        ([GRU, WALKER], list[fakes.GRU], "at [1]: Walker is not a GRU"),
        ("GRU", fakes.GRU, "expected GRU, got str 'GRU'; give a node"),
        (MAKE_RSSM, fakes.RSSM, "RSSM has '_partial_: true', expected a whole RSSM"),
        (MAKE_GRU, Callable[..., fakes.RSSM], "make_gru is not a RSSM"),
        (GRU, Callable[..., fakes.GRU], "GRU lacks '_partial_: true'"),
        (GRU, Callable[[float], float], "GRU can't be called"),
    ],
)
def test_does_not_fit(value, annotation, reason):
    assert (mismatch(value, annotation) or "").startswith(reason)


def test_describes_as_a_reader_writes():
    assert describe(Callable[[float], fakes.GRU] | None) == "Callable[[float], GRU] | null"
    assert describe(tuple[int, ...]) == "tuple[int, ...]"


def test_class_fits_one_of_several():
    assert class_fits(bool, int | str)
    assert not class_fits(float, int | str)
