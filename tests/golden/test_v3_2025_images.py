"""DreamerV3 (2025): encoder and decoder of two images against the original's."""

from functools import partial

import pytest
import torch

from harmony.models.decoders import Decoder
from harmony.models.encoders import Encoder
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.nn.same_cnn import BlockDecoder, PooledEncoder
from harmony.ops.images import image_to_float
from tests.golden.originals import Golden, assert_grads, load
from tests.golden.table import record, record_error
from tests.golden.v3_2025_names import Layout, image_map, params, part

pytestmark = pytest.mark.golden


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-5, "atol": 1e-6, **kwargs})


def close_grad(ours, theirs):
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


IMAGE_SHAPES = {"image": (64, 64, 3), "depth": (64, 64, 1)}
IMAGE_LAYOUT = Layout(deter=16, image=(4, 4, 4), image_keys={"image": 3, "depth": 1})


def image_parts():
    golden = Golden("v3_2025/image")
    encoder = Encoder(IMAGE_SHAPES, cnn=partial(PooledEncoder, depth=1))
    decoder = partial(Decoder, cnn=partial(BlockDecoder, deter=16, depth=1, units=6, blocks=4))
    objective = Reconstruction(encoder, 36, IMAGE_SHAPES, decoder=decoder, error_weight=1.0)
    weights = params(golden, "param", IMAGE_LAYOUT)
    load(encoder, part(weights, "encoder"))
    load(objective, part(weights, "objective"))
    obs = {key: image_to_float(golden.image(key)) for key in IMAGE_SHAPES}
    return golden, encoder, objective, obs


def test_image_encoder():
    golden, encoder, _, obs = image_parts()
    found = encoder(obs)
    close(found, image_map(golden["out/encoder/tokens"], IMAGE_LAYOUT), rtol=1e-4)
    cotangent = image_map(golden["in/encoder/cotangent"], IMAGE_LAYOUT)
    torch.autograd.backward((found * cotangent).sum())
    grads = part(params(golden, "grad", IMAGE_LAYOUT), "encoder")
    largest = assert_grads(encoder, grads, 1e-4)
    record_error(golden.name, "largest gradient error of a parameter, encoder", largest)


def test_image_decoder():
    golden, _, objective, obs = image_parts()
    deter = golden["in/decoder/deter"].requires_grad_()
    stoch = golden["in/decoder/stoch"].requires_grad_()
    feat = torch.cat([stoch.flatten(2), deter], -1)
    decoded = objective.decoder(feat)
    for key in IMAGE_SHAPES:
        # Images lie around zero here.
        image = decoded[key].movedim(-3, -1) + 0.5
        close(image[:, :, ::8, ::8], golden[f"out/decoder/{key}_coarse"])
        close(image[:, :, [0, 1, 62, 63]], golden[f"out/decoder/{key}_rows_0_63"])
    loss = objective.losses(feat, feat, obs)["image"]
    # Ours has one loss for all images.
    expected = golden["out/decoder/image_loss"] + golden["out/decoder/depth_loss"]
    close(loss, expected)
    record(golden.name, "loss image and depth", expected.mean(), loss.mean())
    torch.autograd.backward(loss.sum())
    close_grad(deter.grad, golden["grad/in/deter"])
    close_grad(stoch.grad, golden["grad/in/stoch"])
    grads = part(params(golden, "grad", IMAGE_LAYOUT), "objective")
    largest = assert_grads(objective, grads, 1e-4)
    record_error(golden.name, "largest gradient error of a parameter, decoder", largest)
