"""What crosses a bridge comes out as it went in."""

import sys
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.bridge import Bridge

WORLD = Path(__file__).parents[1] / "fakes" / "bridge_world.py"


@pytest.fixture(scope="module")
def echoing():
    """One bridge for all: nothing here changes it."""
    arguments = {"version": None, "timeout_s": 20.0, "name": "old"}
    bridge = Bridge(sys.executable, str(WORLD), {}, **arguments)
    yield bridge
    bridge.close()


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -3, 2**70, 0.1, -1e300, float("inf"), "", "täglich\n\x00", [], {}),
        [1, [True, None, ["x"]]],
        {"a": {"b": [1.5, {}]}, 3: "int", None: 1, True: 2, 0.5: [], "array": 0, "dict": {}},
    ],
    ids=repr,
)
def test_plain_values_come_back(echoing, value):
    (back,) = echoing.call("echo", value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_what_is_not_quite_plain_becomes_plain(echoing):
    values = (
        (1, (2,)),
        np.float32(0.5),
        np.float64(0.1),
        np.int64(7),
        np.bool_(True),
        np.str_("s"),
    )
    back = echoing.call("echo", *values)
    assert repr(back) == "[[1, [2]], 0.5, 0.1, 7, True, 's']"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        np.array([[True, False]]),
        np.array([1.5, np.nan, -np.inf], np.float16),
        np.array(3.25),
        np.zeros((0, 5), np.float32),
        np.arange(4, dtype=">i4"),
        np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::-3],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1 + 2j], np.complex64),
        np.array(["none", "diamond sword", "Ä"]),
        np.array([b"ab", b"c"]),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}",
)
def test_arrays_come_back_bit_for_bit(echoing, array):
    back, nested = echoing.call("echo", array, {"a": [array]})
    for one in (back, nested["a"][0]):
        np.testing.assert_array_equal(one, array, strict=True)
        assert one.dtype == array.dtype
        assert one.flags.writeable


def test_large_arrays_cross_both_ways(echoing):
    array = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8)
    np.testing.assert_array_equal(echoing.call("echo", array)[0], array)


@pytest.mark.parametrize("value", [{1}, object(), np.array([None]), b"raw", {(1, 2): 3}])
def test_other_arguments_are_refused_before_anything_is_sent(echoing, value):
    with pytest.raises(TypeError, match=r"plain values"):
        echoing.call("echo", 1, [value])
    assert echoing.call("echo", 2) == [2]
