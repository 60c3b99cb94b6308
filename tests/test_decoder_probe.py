"""A probe looks and touches nothing."""

import pytest
import torch

from harmony.decoder_probe import DecoderProbe, NoProbe
from harmony.models.encoders import Encoder
from tests import tiny
from tests.integration.test_kills import assert_same

SHAPES = {"pose": (2,)}
UPDATES = 4


def without_the_probe(state):
    return {name: value for name, value in state.items() if not name.startswith("probe.")}


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_a_run_with_a_probe_is_the_run_without_it(algorithm):
    """Bit for bit: weights, optimizers, random streams and metrics."""
    agents = [
        tiny.agent(f"algorithm={algorithm}", f"probe={probe}") for probe in ("none", "decoder")
    ]
    for seed in range(UPDATES):
        given = tiny.batch(f"algorithm={algorithm}", seed=seed)
        plain, probed = (agent.update(given) for agent in agents)
        assert set(probed) - set(plain) == {"probe/loss", "grad_norm/probe"}
        assert_same(plain, {name: probed[name] for name in plain})
    plain, probed = (agent.snapshot() for agent in agents)
    assert any(name.startswith("probe.") for name in probed["modules"])
    assert not any(name.startswith("probe.") for name in plain["modules"])
    assert_same(dict(plain["modules"]), without_the_probe(probed["modules"]))
    assert set(probed["optimizers"]) - set(plain["optimizers"]) == {"probe"}
    assert_same(plain["optimizers"], {n: probed["optimizers"][n] for n in plain["optimizers"]})
    assert_same(plain["generators"], probed["generators"])


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_it_learns_to_see_what_the_latent_holds(algorithm):
    agent = tiny.agent(
        f"algorithm={algorithm}", "probe=decoder", "algorithm.optimizer.probe.lr=1e-2"
    )
    given = tiny.batch(f"algorithm={algorithm}")
    given["image"] //= 4  # dark, which is easily learned
    losses = [agent.update(given)["probe/loss"].item() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_it_has_the_decoder_that_the_algorithm_names():
    for algorithm in tiny.ALGORITHMS:
        agent = tiny.agent(f"algorithm={algorithm}", "probe=decoder")
        own, probes = agent.world_model.objective.decoder, agent.probe.decoder
        assert own is not probes
        if own is not None:
            assert {n: p.shape for n, p in own.named_parameters()} == {
                n: p.shape for n, p in probes.named_parameters()
            }


def make():
    torch.manual_seed(0)
    return DecoderProbe(Encoder(SHAPES), 3, SHAPES)


def test_its_loss_is_half_the_squared_error():
    probe = make()
    with torch.no_grad():
        probe.decoder.outputs["pose"].weight.zero_()
        probe.decoder.outputs["pose"].bias.copy_(torch.tensor([1.0, 2.0]))
    pose = torch.tensor([[[1.0, 0.0], [3.0, 2.0]]])
    loss = probe.loss(torch.randn(1, 2, 3), {"pose": pose})
    assert loss.item() == pytest.approx((0.5 * 4 + 0.5 * 4) / 2)


def test_no_probe_is_nothing():
    probe = NoProbe(Encoder(SHAPES), 3, SHAPES)
    assert probe.decoder is None
    assert probe.state_dict() == {}
    assert list(probe.parameters()) == []
    assert probe.loss(torch.randn(1, 2, 3), {}).item() == 0.0
