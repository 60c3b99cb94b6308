"""Means between rows."""

import torch

from harmony.training.means import MetricMeans

CPU = torch.device("cpu")


def test_mean_since_the_last_row():
    means = MetricMeans()
    means.add({"loss/image": torch.tensor(1.0), "rare": torch.tensor(5.0)})
    means.add({"loss/image": torch.tensor(3.0)})
    assert means.flush() == {"loss/image": 2.0, "rare": 5.0}
    assert means.flush() == {}


def test_state_roundtrip_in_the_middle_of_a_row():
    one, two = MetricMeans(), MetricMeans()
    one.add({"loss": torch.tensor(1.0)})
    two.load_state_dict(one.state_dict(), CPU)
    for means in (one, two):
        means.add({"loss": torch.tensor(2.0)})
    assert one.flush() == two.flush() == {"loss": 1.5}


def test_a_skipped_update_does_not_spoil_the_mean():
    means = MetricMeans()
    for value in (1.0, float("nan"), 3.0, float("inf")):
        means.add({"loss": torch.tensor(value)})
    assert means.flush() == {"loss": 2.0}
