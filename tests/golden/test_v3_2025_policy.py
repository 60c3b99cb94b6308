"""DreamerV3 (2025): acting for three steps with resets, against the original's."""

import pytest
import torch
from torch.nn import functional as F

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.decoder_probe import NoProbe
from harmony.harmonizer import FixedScales
from harmony.training.precision import Precision
from harmony.types import Carry
from tests.golden.originals import Golden, load
from tests.golden.v3_2025_agents import make_behavior, make_world_model
from tests.golden.v3_2025_names import Layout, params

SHAPES = {"image": (64, 64, 3), "vec": (3,)}
LAYOUT = Layout(deter=16, vector=14, image=(4, 4, 4))
HEAD = {"layers": 1, "units": 14, "outscale": 0.0, "bins": 255}
CONFIG = {  # sizes of the recording; policies don't use the rest
    "dyn": {
        "rssm": {
            "deter": 16, "hidden": 12, "stoch": 4, "classes": 5, "blocks": 2, "dynlayers": 1,
            "imglayers": 2, "unimix": 0.01, "free_nats": 1.0,
        }
    },
    "enc": {"simple": {"depth": 1, "mults": [2, 3, 4, 4], "layers": 3, "units": 14}},
    "dec": {"simple": {"depth": 1, "mults": [2, 3, 4, 4], "layers": 3, "units": 14, "bspace": 2}},
    "rewhead": HEAD, "conhead": HEAD, "value": HEAD, "horizon": 333, "contdisc": True,
    "policy": {"layers": 3, "units": 14, "outscale": 0.01},
    "retnorm": {"perclo": 5.0, "perchi": 95.0, "rate": 0.01, "limit": 1.0},
    "imag_loss": {"lam": 0.95, "actent": 3e-4, "slowreg": 1.0},
    "repl_loss": {"lam": 0.95, "slowreg": 1.0},
    "slowvalue": {"every": 1, "rate": 0.02}, "loss_scales": {"repval": 0.3}, "imag_length": 15,
}  # fmt: skip


def make_agent(golden, *, discrete):
    action_size = 4 if discrete else 2
    world_model = make_world_model(CONFIG, SHAPES, action_size)
    behavior = make_behavior(CONFIG, world_model.rssm.feat_size, action_size, discrete=discrete)
    weights = params(golden, "param", LAYOUT)
    trained = {**dict(world_model.named_parameters()), **dict(behavior.named_parameters())}
    # A policy needs neither decoder, heads, prior nor critics.
    others = ("objective.", "reward.", "cont.", "rssm.prior", "critic.", "slow_critic.")
    assert set(weights) == {key for key in trained if not key.startswith(others)}
    load(world_model, {**dict(world_model.named_parameters()), **weights})
    load(behavior, {**dict(behavior.named_parameters()), **weights})
    generator = torch.Generator()
    return DreamerAgent(
        world_model=world_model,
        harmonizer=FixedScales(groups={}, loss_scales={}),
        behavior=behavior,
        probe=NoProbe(world_model.encoder, world_model.rssm.feat_size, SHAPES),
        optimizers=Optimizers(None, None, None),
        precision=Precision(),
        generators=Generators(generator, generator, generator),
    )


@pytest.mark.golden
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_acting_equals_the_original(kind, mode, monkeypatch):
    # The original samples in evaluations too.
    golden, discrete = Golden(f"v3_2025/policy_step_{kind}"), kind == "discrete"
    agent = make_agent(golden, discrete=discrete)
    images, carry = golden.image(), agent.initial(3)
    if discrete:
        # The original's first action is the number 0, which is a choice, and it counts where an
        # episode does not begin. Ours is none; a real episode begins, and masks both.
        carry = Carry(carry.latent, F.one_hot(torch.zeros(3, dtype=torch.long), 4).float())
    latent, actor = agent.world_model.rssm.latent, agent.behavior.actor
    for k, t in enumerate(golden["in/image_steps"].int().tolist()):
        obs = {
            "image": images[:, t],
            "vec": golden[f"in/{k}/vec"],
            "is_first": golden[f"in/{k}/is_first"].bool(),
        }
        draw = (
            golden[f"in/{k}/action_uniform"].unsqueeze(-1)
            if discrete
            else golden[f"in/{k}/action_eps"]
        )
        post = golden[f"in/{k}/post_uniform"]
        monkeypatch.setattr(latent, "draw_noise", lambda *_, post=post: post)
        monkeypatch.setattr(actor, "draw_noise", lambda *_, draw=draw: draw)
        action, carry = agent.act(obs, carry, mode, torch.Generator())
        assert torch.equal(carry.latent.stoch, golden[f"out/{k}/stoch"].flatten(1))
        torch.testing.assert_close(
            carry.latent.deter, golden[f"out/{k}/deter"], rtol=1e-4, atol=1e-6
        )
        expected = golden[f"out/{k}/action"]
        if discrete:
            expected = F.one_hot(expected.long(), 4).float()
        torch.testing.assert_close(action, expected, rtol=1e-4, atol=1e-6)
        assert torch.equal(carry.action, action)
