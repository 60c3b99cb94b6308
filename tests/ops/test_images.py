"""Bytes to numbers and back."""

import torch

from harmony.ops.images import float_to_image, image_to_float


def test_range_and_axes():
    image = torch.zeros(2, 3, 4, 5, 3, dtype=torch.uint8)
    image[1, 2, 3, 4] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    found = image_to_float(image)
    assert found.shape == (2, 3, 3, 4, 5)
    torch.testing.assert_close(found[1, 2, :, 3, 4], torch.tensor([0.5, -0.3, -0.5]))


def test_every_byte_survives_the_way_there_and_back():
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(float_to_image(image_to_float(image)), image)


def test_what_leaves_the_range_is_clipped():
    image = torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)
    assert float_to_image(image).flatten().tolist() == [0, 255]
