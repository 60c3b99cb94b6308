"""Views of sequences by hand."""

import pytest
import torch

from harmony.models.views import OneView, ShiftedViews
from harmony.ops.shift import random_shift

CPU = torch.device("cpu")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_one_view_changes_nothing_and_draws_nothing():
    views = OneView()
    batch, image = {"reward": torch.randn(2, 3)}, torch.randn(2, 3, 1, 8, 8)
    generator = seeded()
    noise = views.draw_noise(2, generator, CPU)
    assert views.count == 1
    assert noise.shape == (2, 0)
    assert torch.equal(generator.get_state(), seeded().get_state())
    assert views.repeat(batch) is batch
    assert views.augment(image, noise) is image


def test_two_views_are_all_sequences_twice():
    views = ShiftedViews()
    batch = {"reward": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "flag": torch.tensor([[True]])}
    found = views.repeat(batch)
    assert views.count == 2
    assert found["reward"].tolist() == [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    assert found["flag"].tolist() == [[True], [True]]


def test_offsets_are_uniform_in_both_directions_of_both_axes():
    noise = ShiftedViews(max_shift=3.0).draw_noise(20_000, seeded(), CPU)
    assert noise.shape == (20_000, 2)
    assert noise.abs().max() <= 3
    # Mean 0, variance 3 of a uniform variable in [-3, 3].
    torch.testing.assert_close(noise.mean(0), torch.zeros(2), rtol=0.0, atol=0.05)
    torch.testing.assert_close(noise.var(0), torch.full((2,), 3.0), rtol=0.03, atol=0.0)
    torch.testing.assert_close((noise[:, 0] * noise[:, 1]).mean().item(), 0.0, rtol=0.0, atol=0.1)
    assert torch.equal(noise, ShiftedViews().draw_noise(20_000, seeded(), CPU))


def test_each_sequence_is_shifted_by_its_own_offset_at_all_times():
    views, noise = ShiftedViews(), torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    image = torch.randn(2, 3, 1, 8, 8)
    found = views.augment(image, noise)
    torch.testing.assert_close(found, random_shift(image, noise))
    torch.testing.assert_close(found[0, ..., 1:], image[0, ..., :-1], rtol=0.0, atol=1e-5)
    torch.testing.assert_close(found[1, ..., :-2, :], image[1, ..., 2:, :], rtol=0.0, atol=1e-5)


def test_a_negative_shift_is_refused():
    with pytest.raises(ValueError, match=r"views\.max_shift must be at least 0, got -1"):
        ShiftedViews(max_shift=-1.0)
