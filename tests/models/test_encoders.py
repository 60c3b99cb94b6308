"""Encoders: which observations go where."""

import math
from functools import partial

import pytest
import torch

from harmony.models.encoders import Encoder, image_keys, vector_keys
from harmony.nn.cnn import ConvEncoder

SIZES = {
    "cnn": partial(ConvEncoder, depth=2, kernels=[4, 3]),
    "vector_layers": 1,
    "vector_units": 6,
}


def test_kinds_of_observations_by_shape():
    shapes = {"image": (8, 8, 3), "pose": (5,), "depth": (8, 8, 1), "count": ()}
    assert image_keys(shapes) == ["image", "depth"]
    assert vector_keys(shapes) == ["pose"]


def test_images_and_vectors_are_encoded_apart_and_concatenated():
    torch.manual_seed(0)
    encoder = Encoder({"pose": (5,), "image": (8, 8, 3), "speed": (2,)}, **SIZES)
    obs = {
        "image": torch.randn(2, 3, 3, 8, 8),
        "pose": torch.randn(2, 3, 5),
        "speed": torch.randn(2, 3, 2),
    }
    # 4 channels of one pixel, then 6 units.
    assert encoder.embed_size == 4 + 6
    found = encoder(obs)
    assert found.shape == (2, 3, 10)
    torch.testing.assert_close(found[1, 2, :4], encoder.cnn(obs["image"][1, 2][None])[0])
    vector = torch.cat([obs["pose"], obs["speed"]], -1)
    torch.testing.assert_close(found[..., 4:], encoder.mlp(vector))


def test_several_images_are_stacked_along_their_channels():
    encoder = Encoder({"left": (8, 8, 3), "right": (8, 8, 1)}, **SIZES)
    assert encoder.cnn.layers[0].weight.shape == (2, 4, 4, 4)
    left, right = torch.randn(5, 3, 8, 8), torch.randn(5, 1, 8, 8)
    stacked = encoder.cnn(torch.cat([left, right], 1))
    torch.testing.assert_close(encoder({"right": right, "left": left}), stacked)


def test_vectors_alone_need_no_convolutions():
    encoder = Encoder({"pose": (5,)}, **SIZES)
    assert not hasattr(encoder, "cnn")
    assert encoder({"pose": torch.zeros(7, 5)}).shape == (7, 6)


def test_vectors_may_be_squashed_first():
    torch.manual_seed(0)
    encoder = Encoder({"pose": (2,)}, symlog_vectors=True, **SIZES)
    pose = torch.tensor([[math.e - 1, 1 - math.e**3]])
    squashed = torch.tensor([[1.0, -3.0]])
    torch.testing.assert_close(encoder({"pose": pose}), encoder.mlp(squashed))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"count": ()}, "needs images or vectors"),
        ({"a": (8, 8, 3), "b": (16, 16, 3)}, "square and of one size"),
        ({"a": (8, 16, 3)}, "square and of one size"),
        ({"a": (4, 4, 3)}, "side 4 are too small"),
    ],
)
def test_what_can_not_be_encoded(shapes, message):
    with pytest.raises(ValueError, match=message):
        Encoder(shapes, **SIZES)
