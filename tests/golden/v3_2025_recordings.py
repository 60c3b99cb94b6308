"""Recordings of DreamerV3 (2025) in which actor and critic learn, loaded into our parts."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.imagination import ImaginationNoise
from harmony.behavior.targets import Targets
from harmony.models.world_model import Modelled, ModelNoise, WorldModel
from harmony.types import Batch, Latent, Rollout
from tests.golden.originals import Golden, load
from tests.golden.v3_2025_agents import make_behavior, make_harmonizer, make_world_model
from tests.golden.v3_2025_names import Layout, params

NAMES = ["behavior_continuous", "behavior_discrete"]
SHAPES = {"vec": (5,)}
LAYOUT = Layout(deter=16, vector=14)


class Recording(NamedTuple):
    """A file and what was loaded from it."""

    golden: Golden
    world_model: WorldModel
    behavior: ActorCritic
    last: int
    """Imagination starts from so many states at the end of each sequence."""


def load_recording(name: str) -> Recording:
    """Weights, normaliser and recorded values of a file."""
    golden = Golden(f"v3_2025/{name}")
    config, discrete = golden.meta["agent_config"], name == "behavior_discrete"
    action_size = 4 if discrete else 2
    world_model = make_world_model(config, SHAPES, action_size)
    feat_size = world_model.rssm.feat_size
    behavior = make_behavior(config, feat_size, action_size, discrete=discrete)
    weights = params(golden, "param", LAYOUT)
    ours = {**dict(world_model.named_parameters()), **dict(behavior.named_parameters())}
    assert set(weights) == set(ours)
    load(world_model, weights)
    load(behavior, weights)
    behavior.return_norm.low.copy_(golden["in/state/retnorm/lo/value"])
    behavior.return_norm.high.copy_(golden["in/state/retnorm/hi/value"])
    return Recording(golden, world_model, behavior, config["imag_last"] or 5)


def make_batch(golden: Golden) -> Batch:
    """Actions that led to a step, as ours; the original shifts them itself."""
    flags = {key: golden[f"in/{key}"].bool() for key in ("is_first", "is_last", "is_terminal")}
    action = golden["in/prevact"]
    if action.ndim == 2:
        action = F.one_hot(action.long(), 4).float()
    return {"vec": golden["in/vec"], "reward": golden["in/reward"], "action": action, **flags}


def carried(golden: Golden) -> Latent:
    """The states before the sequences."""
    return Latent(golden["in/carry/deter"], golden["in/carry/stoch"].flatten(1))


def observe(rec: Recording) -> Modelled:
    """The world model's pass over the batch."""
    noise = ModelNoise(rec.golden["in/post_uniform"])
    return rec.world_model.losses(make_batch(rec.golden), noise, carried(rec.golden))


def imagination_noise(golden: Golden) -> ImaginationNoise:
    """Time first; the original draws one action more, at the last state, which nothing uses."""
    discrete = "in/action_uniform" in golden
    action = golden["in/action_uniform"].unsqueeze(-1) if discrete else golden["in/action_eps"]
    latent = golden["in/prior_uniform"]
    return ImaginationNoise(action[:, :-1].transpose(0, 1), latent.transpose(0, 1))


def imagine(rec: Recording, modelled: Modelled) -> tuple[Rollout, Targets]:
    """Ours starts from all states; the recording may start from the last ones."""
    ends = Latent(*(x[:, -rec.last :] for x in modelled.latent.detach()))
    terminal = modelled.batch["is_terminal"][:, -rec.last :].flatten()
    noise = imagination_noise(rec.golden)
    return rec.behavior.imagine(rec.world_model, ends.flatten_time(), terminal, noise)


def replay_loss(rec: Recording, modelled: Modelled, targets: Targets) -> Tensor:
    """As `ActorCritic.replay_loss`, of the states that imagination started from."""
    feat = rec.world_model.rssm.get_feat(modelled.latent)[:, -rec.last :]
    batch = {key: value[:, -rec.last :] for key, value in modelled.batch.items()}
    critics = (rec.behavior.critic, rec.behavior.slow_critic)
    return rec.behavior.replay_value(*critics, feat, batch, targets.critic[:, 0])


def all_losses(rec: Recording) -> list[Tensor]:
    """Of model, actor and critic, in the order of `DreamerAgent.update`, with the same weights."""
    config = rec.golden.meta["agent_config"]
    modelled = observe(rec)
    model_loss = make_harmonizer(config, set(modelled.losses))(modelled.losses)
    rollout, targets = imagine(rec, modelled)
    actor_loss, _ = rec.behavior.actor_loss(rollout, targets)
    critic_loss, _ = rec.behavior.critic_loss(rollout, targets)
    return [model_loss, actor_loss, critic_loss + replay_loss(rec, modelled, targets)]
