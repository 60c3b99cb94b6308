"""Predicted rewards beside true ones."""

import sys

import numpy as np
import pytest

from harmony.analysis.open_loop import Prediction, check_matplotlib, draw, middles, reward_errors
from harmony.errors import ConfigError


def test_errors_by_hand():
    true = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], np.float32)
    predicted = np.array([[0.0, 3.0, 1.0], [1.0, 1.0, 0.0]], np.float32)
    found = reward_errors(true, predicted, context=1)
    assert found.rmse_by_step == pytest.approx([0.0, np.sqrt(4.5), 1.0])
    assert tuple(found.context) == (0, 0, 0)
    # Imagined steps: (9 + 1) / 2 and (0 + 1) / 2 in the two sequences.
    assert found.imagined.estimate == pytest.approx((5 + 0.5) / 2)
    assert (found.imagined.low, found.imagined.high) == (0.5, 5.0)
    assert found.variance == 0.25


def test_a_strip_shows_the_middles_of_equal_parts():
    assert middles(50, 10) == [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]
    assert middles(3, 10) == [0, 1, 2]
    assert middles(7, 2) == [1, 5]


@pytest.mark.parametrize("kinds", [(), ("true_frames",), ("true_frames", "predicted_frames")])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_with_the_frames_that_there_are(tmp_path, kinds, channels):
    frames = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), np.uint8)
    reward = np.arange(12.0)
    given = [Prediction("one", reward, reward + 1, **dict.fromkeys(kinds, frames))] * 2
    draw(tmp_path / "p.png", given, context=3)
    content = (tmp_path / "p.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    height = int.from_bytes(content[20:24], "big")
    # A row of frames is an inch, at 110 dots; so is what a sequence needs without them, and more.
    assert height == pytest.approx(2 * 110 * (1.5 + 0.55 + len(kinds)), abs=1)


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    check_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"^target=reward .*pip install 'harmony-dream\[plot\]'$"):
        check_matplotlib()
