"""DreamerV3's world model (2023) against the original."""

import pytest
import torch

from harmony.agent import DreamerAgent
from harmony.models.world_model import Modelled, ModelNoise
from harmony.ops.symlog import symexp
from harmony.types import Latent
from tests.golden.originals import Golden
from tests.golden.table import record, record_error
from tests.golden.v3_agents import close, load, make_agent, worst_gradient
from tests.golden.v3_names import deter_last, embed_order, named, our_name

FILES = [
    "v3/world_model_both_harmony",
    "v3/world_model_image_harmony",
    "v3/world_model_vector_harmony",
    "v3/world_model_vector_noharmony",
]
HARMONISED = [name for name in FILES if not name.endswith("noharmony")]


def shapes_of(golden: Golden) -> dict[str, tuple[int, ...]]:
    image = {"image": (64, 64, 3)} if "in/image_seed" in golden else {}
    return image | {key: (size,) for key, size in golden.meta["vectors"].items()}


def rules(golden: Golden) -> list[str]:
    """Overrides that make our sum of the losses the original's."""
    meta = golden.meta
    scales = {name: meta["effective_scales"].get(name) for name in ("image", "reward", "cont")}
    scales |= {"vector": meta["loss_scales"]["vector"]}
    scales |= {name: meta["effective_scales"][name] for name in ("dyn", "rep")}
    if not meta["harmony"]:
        given = {name: scale for name, scale in scales.items() if scale is not None}
        return [f"algorithm.loss_scales.{name}={scale}" for name, scale in given.items()]
    # The regulariser of the dynamics counts as much as dyn does among dyn and rep.
    shares = {name: scales[name] / (scales["dyn"] + scales["rep"]) for name in ("dyn", "rep")}
    found = [f"algorithm.loss_groups.dynamics.{name}={share}" for name, share in shares.items()]
    found += ["harmony=on", f"algorithm.regularizer_weight.dynamics={shares['dyn']}"]
    # The original harmonises images only and adds vectors as they are; ours counts them among the
    # observations, where nobody says otherwise.
    if "in/image_seed" in golden:
        return [*found, "~algorithm.loss_groups.observation.vector"]
    return [
        *found, "~algorithm.loss_groups.observation", "~algorithm.regularizer_weight.observation"
    ]  # fmt: skip


def make(name: str) -> tuple[Golden, DreamerAgent]:
    """The recording, and an agent with its weights."""
    golden = Golden(name)
    reached = "cont" in golden.meta["grad_heads"]
    agent = make_agent(
        golden,
        shapes_of(golden),
        f"algorithm.cont.stop_gradient={not reached}",
        *rules(golden),
    )
    own, values = parameters_of(agent), named(golden, "param")
    unused = values.keys() - own.keys()
    load(own, {key: value for key, value in values.items() if key not in unused})
    assert own.keys() <= values.keys()
    assert unused == {our_name(key) for key in golden.meta["zero_grads"]}
    return golden, agent


def parameters_of(agent: DreamerAgent) -> dict[str, torch.nn.Parameter]:
    """Those of the world model and the scalars of the harmonizer."""
    return dict(agent.world_model.named_parameters()) | dict(agent.harmonizer.named_parameters())


def make_batch(golden: Golden) -> dict[str, torch.Tensor]:
    """Their action of a step is chosen after its observation; ours led to it."""
    action = torch.cat([golden["in/state/action"].unsqueeze(1), golden["in/action"][:, :-1]], 1)
    flags = {name: golden[f"in/{name}"].bool() for name in ("is_first", "is_terminal")}
    vectors = {key: golden[f"in/{key}"] for key in golden.meta["vectors"]}
    image = {"image": golden.image()} if "in/image_seed" in golden else {}
    return {"action": action, "reward": golden["in/reward"], **flags, **vectors, **image}


def start_of(golden: Golden) -> Latent:
    return Latent(golden["in/state/deter"], golden["in/state/stoch"].flatten(1))


def losses_of(golden: Golden, agent: DreamerAgent) -> Modelled:
    noise = ModelNoise(golden["in/post_u"])
    return agent.world_model.losses(make_batch(golden), noise, start_of(golden))


def their_losses(golden: Golden) -> dict[str, torch.Tensor]:
    """Under our names: one loss for all vectors."""
    losses = golden.group("out/loss")
    vectors = [losses.pop(key) for key in golden.meta["vectors"]]
    return losses | ({"vector": torch.stack(vectors).sum(0)} if vectors else {})


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_losses_and_gradients_equal_the_originals(name):
    golden, agent = make(name)
    modelled = losses_of(golden, agent)
    expected = their_losses(golden)
    total = agent.harmonizer(modelled.losses)
    torch.autograd.backward(total)

    assert modelled.losses.keys() == expected.keys()
    for key, value in expected.items():
        close(modelled.losses[key], value)
        record(name, f"loss/{key}, mean", value.mean(), modelled.losses[key].detach().mean())
    close(total, golden["out/total"])
    record(name, "total", golden["out/total"], total.detach())

    own, grads = parameters_of(agent), named(golden, "grad")
    # A scalar that no loss uses has no gradient there and does not exist here.
    grads = {key: gradient for key, gradient in grads.items() if key in own or gradient.any()}
    assert grads.keys() == own.keys()
    error = worst_gradient(own, grads)
    norm = torch.nn.utils.get_total_norm([param.grad for param in own.values()])
    close(norm, golden["out/grad_norm"])
    record(name, "global gradient norm", golden["out/grad_norm"], norm)
    record_error(name, "largest relative gradient error", error)


@pytest.mark.golden
@pytest.mark.parametrize("name", HARMONISED)
def test_scales_equal_the_originals(name):
    golden, agent = make(name)
    metrics = agent.harmonizer.metrics(losses_of(golden, agent).losses)
    numbers = {"reward": 1, "observation": 2, "dynamics": 3}
    for group in agent.harmonizer.harmonized:
        number = numbers[group]
        close(metrics[f"harmony/coef/{group}"], golden[f"out/metric/coeff{number}"])
        # Ours is the paper's sigma, theirs its root.
        close(metrics[f"harmony/sigma/{group}"].sqrt(), golden[f"out/metric/sigma{number}"])


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_what_leads_to_the_losses_equals_the_originals(name):
    golden, agent = make(name)
    rssm, batch = agent.world_model.rssm, make_batch(golden)
    with torch.no_grad():
        embed = agent.world_model.encoder(agent.world_model.observations(batch))
        observed = rssm.observe(
            embed, batch["action"], batch["is_first"], golden["in/post_u"], start_of(golden)
        )
        feat = rssm.get_feat(observed.latent)
        check_heads(golden, agent, feat)
    close(embed, embed_order(golden["out/embed"]))
    close(observed.latent.deter, golden["out/post/deter"])
    assert torch.equal(observed.latent.stoch, golden["in/post_stoch"].flatten(2))
    close(feat, deter_last(golden["out/feat"]))
    for side in ("post", "prior"):
        stats = getattr(observed, side)
        close(rssm.latent._split(stats), golden[f"out/{side}/logit"])
        close(rssm.latent.entropy(stats), golden[f"out/{side}_ent"])
    for divergence in rssm.latent.kl_sides(observed.post, observed.prior):
        close(divergence, golden["out/kl_value"])


def check_heads(golden: Golden, agent: DreamerAgent, feat: torch.Tensor) -> None:
    world_model = agent.world_model
    close(world_model.reward.pred(feat), golden["out/reward_mean"])
    logit = world_model.cont._logit(feat)
    close(torch.sigmoid(logit), golden["out/cont_prob"])
    assert torch.equal((logit > 0).float(), golden["out/cont_mode"])
    for key, recon in world_model.objective.decoder(feat).items():
        if key == "image":
            coarse = recon[..., ::16, ::16].movedim(2, -1) + 0.5
            close(coarse, golden["out/decoded_coarse"])
        else:
            close(symexp(recon), golden[f"out/decoded/{key}"])


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_the_first_state_equals_the_originals(name):
    golden, agent = make(name)
    rssm = agent.world_model.rssm
    with torch.no_grad():
        first = rssm.initial(3, agent.device)
        stats = rssm.latent._split(rssm.prior_stats(first.deter[:1]))
    close(first.deter, golden["out/initial/deter"])
    close(stats, golden["out/initial/logit_before_mode"])
    assert torch.equal(first.stoch, golden["out/initial/stoch"].flatten(1))


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_step_by_step_as_a_policy_it_comes_to_the_originals_states(name):
    golden, agent = make(name)
    batch, latent = make_batch(golden), start_of(golden)
    with torch.no_grad():
        embed = agent.world_model.encoder(agent.world_model.observations(batch))
        for t in range(embed.shape[1]):
            latent = agent.world_model.rssm.obs_step(
                latent,
                batch["action"][:, t],
                embed[:, t],
                batch["is_first"][:, t],
                golden["in/post_u"][:, t],
            )
            close(latent.deter, golden["out/post/deter"][:, t])
            assert torch.equal(latent.stoch, golden["in/post_stoch"][:, t].flatten(1))


@pytest.mark.golden
def test_the_recordings_reach_what_they_are_for():
    golden, agent = make("v3/world_model_vector_noharmony")
    losses = losses_of(golden, agent).losses
    assert (losses["dyn"] == 1.0).sum() == golden.meta["free_binds"] == 5
    assert (golden["in/action"].abs() > 1).any()
    assert not golden["in/is_first"][:2, 0].any()
    assert golden["in/is_first"][1, 3]
    assert "cont" not in Golden("v3/world_model_image_harmony").meta["grad_heads"]
