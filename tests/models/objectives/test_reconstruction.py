"""Reconstruction losses by hand."""

import pytest
import torch

from harmony.models.decoders import Decoder
from harmony.models.objectives.reconstruction import Reconstruction

SIZES = {"depth": 1, "kernels": [3, 4], "vector_layers": 1, "vector_units": 3}


def objective(shapes, **values):
    """Answers the same value everywhere: `image` for images, `vector` for vectors."""
    decoder = Decoder(5, shapes, **SIZES)
    with torch.no_grad():
        for name, param in decoder.named_parameters():
            if name.startswith(("cnn.layers.1", "outputs")):
                value = values["image" if name.startswith("cnn") else "vector"]
                param.fill_(value if name.endswith("bias") else 0.0)
    return Reconstruction(decoder)


def test_half_the_squared_error_summed_over_pixels():
    found = objective({"image": (8, 8, 3)}, image=0.5).losses(
        torch.zeros(2, 3, 5), {"image": torch.full((2, 3, 3, 8, 8), 0.25)}
    )
    assert set(found) == {"image"}
    # 8 * 8 * 3 values, each off by a quarter.
    torch.testing.assert_close(found["image"], torch.full((2, 3), 0.5 * 192 * 0.25**2))


def test_images_and_vectors_have_one_loss_each():
    shapes = {"image": (8, 8, 3), "pose": (4,), "mask": (8, 8, 1), "speed": (2,)}
    found = objective(shapes, image=0.0, vector=1.0).losses(
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
    recon = Reconstruction(Decoder(5, {"image": (8, 8, 3)}, **SIZES))
    loss = recon.losses(feat, {"image": torch.zeros(1, 2, 3, 8, 8)})
    torch.autograd.backward(loss["image"].sum())
    assert (feat.grad.abs().sum(-1) > 0).all()


def test_the_error_is_taken_in_float32():
    recon = Reconstruction(Decoder(5, {"image": (8, 8, 3)}, **SIZES))
    with torch.autocast("cpu", torch.bfloat16):
        loss = recon.losses(torch.randn(1, 2, 5), {"image": torch.zeros(1, 2, 3, 8, 8)})
    assert loss["image"].dtype == torch.float32
