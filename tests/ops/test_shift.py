"""Shifts of images by hand."""

import math

import pytest
import torch

from harmony.ops.images import image_to_float
from harmony.ops.shift import random_shift

ROW = torch.tensor([0.0, 10.0, 20.0, 40.0])


def shift_row(dx):
    """Of an image of one row."""
    return random_shift(ROW.reshape(1, 1, 1, 1, 4), torch.tensor([[dx, 0.0]])).flatten().tolist()


@pytest.mark.parametrize(
    ("dx", "expected"),
    [
        (0.0, [0, 10, 20, 40]),
        (1.0, [0, 0, 10, 20]),  # to the right, the left edge repeats
        (-2.0, [20, 40, 40, 40]),
        (0.25, [0, 7.5, 17.5, 35]),  # 10 - 0.25 * 10, 20 - 0.25 * 10, 40 - 0.25 * 20
        (-1.5, [15, 30, 40, 40]),
        (9.0, [0, 0, 0, 0]),
    ],
)
def test_a_row_by_hand(dx, expected):
    assert shift_row(dx) == pytest.approx(expected, abs=1e-4)


def test_dx_is_the_column_and_dy_the_row():
    image = torch.zeros(1, 1, 1, 5, 6)
    image[..., 2, 3] = 1.0
    found = random_shift(image, torch.tensor([[2.0, -1.0]]))
    expected = torch.zeros(5, 6)
    expected[1, 5] = 1.0
    torch.testing.assert_close(found[0, 0, 0], expected, rtol=0.0, atol=1e-5)


def test_both_axes_are_mixed():
    image = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).reshape(1, 1, 1, 2, 2)
    found = random_shift(image, torch.tensor([[-0.5, -0.5]])).flatten().tolist()
    # The mean of all four, of the right column, of the lower row, and the last.
    assert found == pytest.approx([2.75, 3.5, 4.0, 5.0], abs=1e-5)


def expected_pixel(plane, y, x):
    """Bilinear, positions held inside the image."""
    Hi, Wi = plane.shape
    y, x = min(max(y, 0.0), Hi - 1.0), min(max(x, 0.0), Wi - 1.0)
    top, left = min(math.floor(y), Hi - 2), min(math.floor(x), Wi - 2)
    v, u = y - top, x - left
    upper = (1 - u) * plane[top, left] + u * plane[top, left + 1]
    lower = (1 - u) * plane[top + 1, left] + u * plane[top + 1, left + 1]
    return (1 - v) * upper + v * lower


def test_the_definition_pixel_by_pixel():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 2, 5, 7, generator=generator)
    shift = torch.rand(2, 2, generator=generator) * 6 - 3
    found = random_shift(image, shift)
    for b, t, c in [(0, 0, 0), (0, 2, 1), (1, 1, 0)]:
        dx, dy = shift[b].tolist()
        expected = [
            [expected_pixel(image[b, t, c], y - dy, x - dx).item() for x in range(7)]
            for y in range(5)
        ]
        torch.testing.assert_close(found[b, t, c], torch.tensor(expected), rtol=0.0, atol=1e-5)


def test_layout_in_memory_does_not_matter_and_comes_out_channels_last():
    pixels = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8)
    image = image_to_float(pixels)
    shift = torch.tensor([[0.3, -1.2], [2.0, 0.7]])
    found = random_shift(image, shift)
    assert found.shape == image.shape
    assert found.stride() == image.stride()
    torch.testing.assert_close(found, random_shift(image.contiguous(), shift))
