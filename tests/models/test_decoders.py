"""Decoders: names and shapes come back."""

from functools import partial

import pytest
import torch

from harmony.models.decoders import Decoder
from harmony.nn.cnn import ConvDecoder

SIZES = {
    "cnn": partial(ConvDecoder, depth=2, kernels=[3, 4]),
    "vector_layers": 1,
    "vector_units": 6,
}


def test_every_observation_comes_back_by_name_and_shape():
    decoder = Decoder(7, {"image": (8, 8, 3), "pose": (5,), "mask": (8, 8, 1)}, **SIZES)
    found = decoder(torch.randn(2, 3, 7))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "image": (2, 3, 3, 8, 8),
        "mask": (2, 3, 1, 8, 8),
        "pose": (2, 3, 5),
    }


def test_images_share_the_convolutions_in_the_order_of_their_names():
    torch.manual_seed(0)
    decoder = Decoder(7, {"left": (8, 8, 3), "right": (8, 8, 1)}, **SIZES)
    feat = torch.randn(4, 7)
    stacked, found = decoder.cnn(feat), decoder(feat)
    assert torch.equal(found["left"], stacked[:, :3])
    assert torch.equal(found["right"], stacked[:, 3:])


def test_vectors_share_the_hidden_layers_and_have_linear_outputs():
    torch.manual_seed(0)
    decoder = Decoder(7, {"pose": (5,), "speed": (2,)}, **SIZES)
    assert not hasattr(decoder, "cnn")
    feat = torch.randn(3, 7)
    hidden = decoder.mlp(feat)
    for name in ("pose", "speed"):
        layer = decoder.outputs[name]
        torch.testing.assert_close(decoder(feat)[name], hidden @ layer.weight.T + layer.bias)


def test_every_feat_is_decoded_by_itself():
    torch.manual_seed(0)
    decoder = Decoder(7, {"image": (8, 8, 3)}, **SIZES)
    feat = torch.randn(2, 3, 7)
    torch.testing.assert_close(decoder(feat)["image"][1, 2], decoder(feat[1, 2][None])["image"][0])


def test_kernels_of_another_side_are_refused_with_the_keys_to_change():
    with pytest.raises(
        ValueError,
        match=r"give images of side 8, the env has 16; change algorithm.decoder.cnn.kernels",
    ):
        Decoder(7, {"image": (16, 16, 3)}, **SIZES)
