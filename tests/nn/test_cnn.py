"""Convolutions: sides by hand, order of the flattened map, and which layers are activated."""

import pytest
import torch
from torch.nn import functional as F

from harmony.nn.cnn import ConvDecoder, ConvEncoder, decoded_side, encoded_side
from harmony.nn.layers import Style

RELU = Style(act="relu")


def test_sides_of_dreamers_images():
    # 64 -> 31 -> 14 -> 6 -> 2, and 1 -> 5 -> 13 -> 30 -> 64.
    assert [encoded_side(64, [4] * n) for n in range(5)] == [64, 31, 14, 6, 2]
    assert [decoded_side([5, 5, 6, 6][:n]) for n in range(5)] == [1, 5, 13, 30, 64]
    assert encoded_side(8, [4, 3]) == 1
    assert decoded_side([3, 4]) == 8


def test_the_encoder_doubles_its_depth():
    encoder = ConvEncoder(channels=3, side=64, depth=2, kernels=[4, 4, 4, 4])
    shapes = [tuple(layer.weight.shape) for layer in encoder.layers]
    assert shapes == [(2, 3, 4, 4), (4, 2, 4, 4), (8, 4, 4, 4), (16, 8, 4, 4)]
    assert encoder.out_size == 16 * 2 * 2
    assert encoder(torch.zeros(5, 3, 64, 64)).shape == (5, 64)


def test_the_encoder_flattens_channel_row_column():
    encoder = ConvEncoder(channels=1, side=6, depth=2, kernels=[2], style=Style(act="none"))
    with torch.no_grad():
        encoder.layers[0].weight.zero_()
        # Channel 0 picks each window's first pixel, channel 1 its last.
        encoder.layers[0].weight[0, 0, 0, 0] = 1.0
        encoder.layers[0].weight[1, 0, 1, 1] = 1.0
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    first = [0, 2, 4, 12, 14, 16, 24, 26, 28]
    assert encoder(image).tolist() == [[*first, *(pixel + 7 for pixel in first)]]


def test_every_layer_of_the_encoder_is_activated():
    torch.manual_seed(0)
    encoder = ConvEncoder(channels=3, side=8, depth=4, kernels=[4, 3], style=RELU)
    assert encoder(torch.randn(4, 3, 8, 8)).min() >= 0


@pytest.mark.parametrize("side", [1, 21])
def test_too_small_images_are_refused(side):
    with pytest.raises(ValueError, match=f"side {side} are too small for kernels"):
        ConvEncoder(channels=3, side=side, depth=2, kernels=[4, 4, 4, 4])


def test_the_smallest_image_of_the_encoder():
    assert encoded_side(46, [4] * 4) == 1
    encoder = ConvEncoder(channels=1, side=46, depth=1, kernels=[4] * 4)
    assert encoder(torch.zeros(1, 1, 46, 46)).shape == (1, 8)


def test_the_decoder_halves_its_depth():
    decoder = ConvDecoder(7, channels=3, side=64, depth=2, kernels=[5, 5, 6, 6])
    shapes = [tuple(layer.weight.shape) for layer in decoder.layers]
    # Transposed convolutions keep the input channels first; 32 * depth come from one pixel.
    assert shapes == [(64, 8, 5, 5), (8, 4, 5, 5), (4, 2, 6, 6), (2, 3, 6, 6)]
    assert decoder.input.weight.shape == (64, 7)
    assert decoder(torch.zeros(5, 7)).shape == (5, 3, 64, 64)


def test_the_decoders_last_layer_is_linear_and_the_others_are_not():
    torch.manual_seed(0)
    decoder = ConvDecoder(7, channels=1, side=8, depth=2, kernels=[3, 4], style=RELU)
    feat = torch.randn(3, 7)
    first, last = decoder.layers
    pixel = decoder.input(feat)[:, :, None, None]
    hidden = torch.relu(F.conv_transpose2d(pixel, first.weight, first.bias, stride=2))
    assert hidden.min() == 0
    expected = F.conv_transpose2d(hidden, last.weight, last.bias, stride=2)
    torch.testing.assert_close(decoder(feat), expected)
    assert decoder(feat).min() < 0


@pytest.mark.parametrize("side", [6, 9])
def test_kernels_of_another_side_are_refused(side):
    with pytest.raises(ValueError, match=f"give images of side 8, the env has {side}; change"):
        ConvDecoder(7, channels=3, side=side, depth=2, kernels=[3, 4])
