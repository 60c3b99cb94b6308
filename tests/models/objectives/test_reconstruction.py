"""Reconstruction losses by hand."""

import math
from functools import partial

import pytest
import torch

from harmony.models.decoders import Decoder
from harmony.models.encoders import Encoder
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.nn.cnn import ConvDecoder, ConvEncoder

SIZES = {"vector_layers": 1, "vector_units": 3}
DECODER = partial(Decoder, cnn=partial(ConvDecoder, depth=1, kernels=[3, 4]), **SIZES)


def make(shapes, **others):
    encoder = Encoder(shapes, cnn=partial(ConvEncoder, depth=1, kernels=[4, 3]), **SIZES)
    return Reconstruction(encoder, 5, shapes, decoder=DECODER, **others)


def objective(shapes, *, image=0.0, vector=0.0, **others):
    """Answers the same value everywhere: `image` for images, `vector` for vectors."""
    made = make(shapes, **others)
    with torch.no_grad():
        for name, param in made.decoder.named_parameters():
            if name.startswith(("cnn.layers.1", "outputs")):
                value = image if name.startswith("cnn") else vector
                param.fill_(value if name.endswith("bias") else 0.0)
    return made


def losses(made, feat, obs):
    """It has no use for the embed."""
    return made.losses(feat, torch.empty(0), obs)


def test_half_the_squared_error_summed_over_pixels():
    made = objective({"image": (8, 8, 3)}, image=0.5)
    found = losses(made, torch.zeros(2, 3, 5), {"image": torch.full((2, 3, 3, 8, 8), 0.25)})
    assert set(found) == {"image"}
    # 8 * 8 * 3 values, each off by a quarter.
    torch.testing.assert_close(found["image"], torch.full((2, 3), 0.5 * 192 * 0.25**2))


def test_images_and_vectors_have_one_loss_each():
    shapes = {"image": (8, 8, 3), "pose": (4,), "mask": (8, 8, 1), "speed": (2,)}
    found = losses(
        objective(shapes, image=0.0, vector=1.0),
        torch.zeros(1, 2, 5),
        {
            "image": torch.full((1, 2, 3, 8, 8), 0.1),
            "mask": torch.full((1, 2, 1, 8, 8), 0.2),
            "pose": torch.zeros(1, 2, 4),
            "speed": torch.tensor([[[1.0, 3.0], [1.0, 1.0]]]),
        },
    )
    assert set(found) == {"image", "vector"}
    image = 0.5 * (192 * 0.01 + 64 * 0.04)
    torch.testing.assert_close(found["image"], torch.full((1, 2), image))
    assert found["vector"].tolist() == [[pytest.approx(0.5 * (4 + 4)), pytest.approx(0.5 * 4)]]


def test_the_latent_learns_from_it():
    torch.manual_seed(0)
    feat = torch.randn(1, 2, 5, requires_grad=True)
    loss = losses(make({"image": (8, 8, 3)}), feat, {"image": torch.zeros(1, 2, 3, 8, 8)})
    torch.autograd.backward(loss["image"].sum())
    assert (feat.grad.abs().sum(-1) > 0).all()


def test_the_error_is_taken_in_float32():
    recon = make({"image": (8, 8, 3)})
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses(recon, torch.randn(1, 2, 5), {"image": torch.zeros(1, 2, 3, 8, 8)})
    assert loss["image"].dtype == torch.float32


def test_the_whole_squared_error_with_a_weight_of_one():
    found = losses(
        objective({"image": (8, 8, 3)}, image=0.5, error_weight=1.0),
        torch.zeros(1, 1, 5),
        {"image": torch.full((1, 1, 3, 8, 8), 0.25)},
    )
    torch.testing.assert_close(found["image"], torch.full((1, 1), 192 * 0.25**2))


def test_vectors_on_the_symlog_axis_and_images_not():
    made = objective({"image": (8, 8, 3), "pose": (2,)}, vector=1.0, symlog_vectors=True)
    pose = torch.tensor([[[math.e - 1, 1 - math.e**3]]])  # symlog: 1 and -3
    image = torch.full((1, 1, 3, 8, 8), 0.3)
    found = losses(made, torch.zeros(1, 1, 5), {"image": image, "pose": pose})
    assert found["vector"].item() == pytest.approx(0.5 * (0.0 + 16.0))
    assert found["image"].item() == pytest.approx(0.5 * 192 * 0.09)


def test_nothing_follows_an_update():
    made = make({"image": (8, 8, 3)})
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.after_update(Encoder({"image": (64, 64, 3)}))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
