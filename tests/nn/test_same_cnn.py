"""Convolutions that halve and double: sides by hand, order of the maps, ranges, errors."""

import pytest
import torch
from torch.nn import functional as F

from harmony.nn.layers import Style
from harmony.nn.same_cnn import (
    BlockDecoder,
    PooledEncoder,
    StridedDecoder,
    StridedEncoder,
    smallest_side,
    stages,
)

PLAIN = Style(act="relu")


def shapes(layers):
    return [tuple(layer.weight.shape) for layer in layers]


def test_how_often_a_side_is_halved():
    assert [stages(side, 4) for side in (8, 16, 32, 64, 128)] == [1, 2, 3, 4, 5]
    assert stages(96, 3) == 5


@pytest.mark.parametrize("side", [4, 2, 12, 48, 63, 65])
def test_other_sides_are_refused_by_strided_layers(side):
    message = f"an image side of 4 times a power of two, got {side}; change env.image_size"
    with pytest.raises(ValueError, match=message):
        StridedEncoder(3, side)
    with pytest.raises(ValueError, match=message):
        StridedDecoder(7, 3, side)


def test_the_smallest_map():
    assert smallest_side(64, 4) == 4
    assert smallest_side(96, 4) == 6
    assert smallest_side(48, 4) == 3
    assert smallest_side(256, 4) == 16


@pytest.mark.parametrize("side", [32, 72, 272, 8])
def test_other_sides_are_refused_by_pooled_layers(side):
    message = rf"side {side} can't be halved 4 times to a side of 3 to 16; change\s+env\.image_size"
    with pytest.raises(ValueError, match=message):
        PooledEncoder(3, side)
    with pytest.raises(ValueError, match=message):
        BlockDecoder(20, 3, side, deter=16)


def test_the_strided_encoder_doubles_its_depth_down_to_four_pixels():
    encoder = StridedEncoder(3, 64, depth=2)
    assert shapes(encoder.layers) == [(2, 3, 4, 4), (4, 2, 4, 4), (8, 4, 4, 4), (16, 8, 4, 4)]
    assert encoder.out_size == 16 * 4 * 4
    assert encoder(torch.zeros(5, 3, 64, 64)).shape == (5, 256)
    # Every layer is normed, so none has a bias of its own.
    assert {name.split(".")[-1] for name, _ in encoder.layers.named_parameters()} == {"weight"}
    assert len(encoder.norms) == 4


def test_the_strided_encoder_by_its_layers():
    torch.manual_seed(0)
    encoder, image = StridedEncoder(1, 8, depth=3, min_side=2), torch.randn(2, 1, 8, 8)
    expected = image
    for layer, norm in zip(encoder.layers, encoder.norms, strict=True):
        expected = F.conv2d(expected, layer.weight, stride=2, padding=1)
        normed = F.layer_norm(expected.permute(0, 2, 3, 1), expected.shape[1:2], eps=1e-3)
        assert norm.norm.eps == 1e-3
        expected = F.silu(normed.permute(0, 3, 1, 2))
    assert len(encoder.layers) == 2
    torch.testing.assert_close(encoder(image), expected.flatten(1))


def test_the_strided_encoder_flattens_channel_row_column():
    encoder = StridedEncoder(1, 4, depth=2, min_side=2, style=PLAIN)
    with torch.no_grad():
        encoder.layers[0].weight.zero_()
        # One pixel of padding: the kernel's entry (1, 1) is each window's upper left pixel.
        encoder.layers[0].weight[0, 0, 1, 1] = 1.0
        encoder.layers[0].weight[1, 0, 2, 2] = 1.0
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert encoder(image).tolist() == [[0, 2, 8, 10, 5, 7, 13, 15]]


def test_the_strided_decoder_halves_its_depth():
    decoder = StridedDecoder(7, 3, 64, depth=2)
    # Transposed convolutions keep the input channels first.
    assert decoder.input.weight.shape == (16 * 4 * 4, 7)
    assert shapes(decoder.layers) == [(16, 8, 4, 4), (8, 4, 4, 4), (4, 2, 4, 4)]
    assert decoder.output.weight.shape == (2, 3, 4, 4)
    assert decoder(torch.zeros(5, 7)).shape == (5, 3, 64, 64)
    # First and last layer are plain and have biases, the others have norms.
    assert decoder.input.bias is not None
    assert decoder.output.bias is not None
    assert all(layer.bias is None for layer in decoder.layers)
    assert len(decoder.norms) == 3


def test_the_strided_decoder_by_its_layers():
    torch.manual_seed(0)
    decoder, feat = StridedDecoder(5, 1, 8, depth=3, min_side=2), torch.randn(2, 5)
    # The first layer gives rows, then columns, then channels.
    x = decoder.input(feat).reshape(2, 2, 2, 6).permute(0, 3, 1, 2)
    x = F.conv_transpose2d(x, decoder.layers[0].weight, stride=2, padding=1)
    x = F.silu(F.layer_norm(x.permute(0, 2, 3, 1), (3,), eps=1e-3).permute(0, 3, 1, 2))
    last = decoder.output
    expected = F.conv_transpose2d(x, last.weight, last.bias, stride=2, padding=1)
    torch.testing.assert_close(decoder(feat), expected)


def test_the_strided_decoder_has_no_bounds():
    decoder = StridedDecoder(5, 1, 8, depth=3)
    with torch.no_grad():
        decoder.output.bias.fill_(7.0)
    assert decoder(torch.zeros(1, 5)).min() > 1


def test_the_pooled_encoder_halves_by_maxima():
    encoder = PooledEncoder(3, 64, depth=2)
    # Depth times 2, 3, 4 and 4.
    assert shapes(encoder.layers) == [(4, 3, 5, 5), (6, 4, 5, 5), (8, 6, 5, 5), (8, 8, 5, 5)]
    assert encoder.out_size == 8 * 4 * 4
    assert encoder(torch.zeros(5, 3, 64, 64)).shape == (5, 128)
    assert all(layer.bias is not None for layer in encoder.layers)


def test_the_pooled_encoder_by_its_layers():
    torch.manual_seed(0)
    encoder = PooledEncoder(1, 12, depth=2, multiples=[1, 2], kernel=3)
    image = torch.randn(2, 1, 12, 12)
    expected = image
    for layer in encoder.layers:
        x = F.conv2d(expected, layer.weight, layer.bias, padding=1)
        side = x.shape[-1] // 2
        x = x.reshape(2, -1, side, 2, side, 2).amax((3, 5))
        root = (x.square().mean(1, keepdim=True) + 1e-4).sqrt()
        expected = F.silu(x / root)
    assert expected.shape == (2, 4, 3, 3)
    torch.testing.assert_close(encoder(image), expected.flatten(1))


def make_block_decoder(**others):
    torch.manual_seed(0)
    sizes = {"deter": 6, "depth": 2, "multiples": [1, 2], "units": 5, "blocks": 2, **others}
    return BlockDecoder(10, 3, 12, **sizes)


def test_the_block_decoder_doubles_back():
    decoder = make_block_decoder()
    # 2 * 2 channels of 3 x 3 pixels, half of them of each block of deter.
    assert decoder.from_deter.weight.shape == (2, 3, 18)
    assert decoder.stoch_in.weight.shape == (10, 4)
    assert decoder.from_stoch.weight.shape == (36, 10)
    assert shapes(decoder.layers) == [(2, 4, 5, 5)]
    assert decoder.output.weight.shape == (3, 2, 5, 5)
    assert decoder(torch.zeros(7, 10)).shape == (7, 3, 12, 12)


def test_images_of_the_block_decoder_are_bounded():
    decoder = make_block_decoder()
    found = decoder(100 * torch.randn(20, 10))
    assert found.min() >= -0.5
    assert found.max() <= 0.5
    with torch.no_grad():
        decoder.output.weight.zero_()
    assert torch.equal(decoder(torch.randn(1, 10)), torch.zeros(1, 3, 12, 12))
    with torch.no_grad():
        decoder.output.bias.fill_(1.0)
    expected = torch.sigmoid(torch.tensor(1.0)) - 0.5
    torch.testing.assert_close(decoder(torch.randn(1, 10)), expected.expand(1, 3, 12, 12))


def test_images_of_the_block_decoder_leave_half_precision():
    with torch.autocast("cpu", torch.bfloat16):
        assert make_block_decoder()(torch.randn(2, 10)).dtype == torch.float32


def silent(decoder, *names):
    """Without parts of the first map."""
    for name in names:
        for weight in getattr(decoder, name).parameters():
            torch.nn.init.zeros_(weight)
    return decoder


def first_map(decoder, feat):
    """(N, C, 3, 3), before norm and activation."""
    seen = []
    hook = decoder.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    decoder(feat)
    hook.remove()
    return seen[0]


def test_each_block_of_deter_gives_channels_of_its_own():
    decoder = silent(make_block_decoder(), "from_stoch")
    feat = torch.zeros(1, 10)
    feat[0, 4:7] = 1.0  # stoch comes first, then deter; its first block
    found = first_map(decoder, feat)
    assert found.shape == (1, 4, 3, 3)
    assert (found[0, :2] != 0).all()
    assert (found[0, 2:] == 0).all()
    # Rows, columns, then the block's channels.
    expected = decoder.from_deter.weight[0].sum(0).reshape(3, 3, 2).permute(2, 0, 1)
    torch.testing.assert_close(found[0, :2], expected)


def test_stoch_reaches_the_map_through_a_hidden_layer():
    decoder, feat = silent(make_block_decoder(), "from_deter"), torch.randn(2, 10)
    x = feat[:, :4] @ decoder.stoch_in.weight.T + decoder.stoch_in.bias
    hidden = F.silu(x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt())
    flat = hidden @ decoder.from_stoch.weight.T + decoder.from_stoch.bias
    expected = flat.reshape(2, 3, 3, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(first_map(decoder, feat), expected)


def test_the_block_decoder_from_its_first_map():
    decoder, feat = make_block_decoder(), torch.randn(2, 10)

    def normed(x):
        return F.silu(x / (x.square().mean(1, keepdim=True) + 1e-4).sqrt())

    def doubled(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    x = normed(first_map(decoder, feat))
    (layer,) = decoder.layers
    x = normed(F.conv2d(doubled(x), layer.weight, layer.bias, padding=2))
    last = decoder.output
    raw = F.conv2d(doubled(x), last.weight, last.bias, padding=2)
    torch.testing.assert_close(decoder(feat), torch.sigmoid(raw) - 0.5)


def test_even_kernels_are_refused():
    message = "kernel must be odd, so that maps keep their side, got 4"
    with pytest.raises(ValueError, match=message):
        PooledEncoder(3, 64, kernel=4)
    with pytest.raises(ValueError, match=message):
        make_block_decoder(kernel=4)


def test_blocks_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"blocks=3 must divide the 4 channels of the first map"):
        make_block_decoder(blocks=3)
