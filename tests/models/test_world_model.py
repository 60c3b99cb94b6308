"""The world model against the original, and against itself step by step."""

from functools import partial

import pytest
import torch

from harmony.harmonizer import FixedScales, Harmonizer
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL
from harmony.models.encoders import Encoder
from harmony.models.heads import DiscountHead, RewardHead
from harmony.models.latents import Categorical, Gaussian, LatentPart
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.world_model import ModelNoise, WorldModel
from harmony.nn.cnn import ConvDecoder, ConvEncoder
from harmony.ops.shift import random_shift
from harmony.types import Latent
from tests import tiny
from tests.golden.originals import Golden, assert_grads, load, uniform_for
from tests.golden.table import record, record_error
from tests.small import make_rssm

WORLD_MODELS = [
    "world_model_categorical_harmony",
    "world_model_categorical_noharmony",
    "world_model_categorical_harmony_stopgrad",
    "world_model_gaussian_harmony",
    "world_model_gaussian_noharmony",
    "world_model_gaussian_noharmony_stopgrad",
]
GROUPS = {"observation": {"image": 1.0}, "reward": {"reward": 1.0}, "dynamics": {"kl": 1.0}}
SHAPES = {"image": (64, 64, 3)}


def make_world_model(golden: Golden) -> WorldModel:
    meta = golden.meta
    rssm_meta = meta["rssm"]
    latent: LatentPart = (
        Categorical(stoch=rssm_meta["stoch"], classes=rssm_meta["discrete"])
        if meta["kind"] == "categorical"
        else Gaussian(stoch=rssm_meta["stoch"], min_std=0.1, std_act="sigmoid2")
    )
    encoder = Encoder(SHAPES, cnn=partial(ConvEncoder, depth=meta["cnn_depth"]))
    rssm = make_rssm(
        encoder.embed_size,
        golden["in/action"].shape[-1],
        deter=rssm_meta["deter"],
        hidden=rssm_meta["hidden"],
        latent=latent,
    )
    decoder = partial(Decoder, cnn=partial(ConvDecoder, depth=meta["cnn_depth"]))
    head = {"layers": meta["reward_head"]["layers"], "units": meta["reward_head"]["units"]}
    return WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=BalancedKL(balance=meta["kl"]["balance"], free_nats=meta["kl"]["free"]),
        objective=Reconstruction(encoder, rssm.feat_size, SHAPES, decoder=decoder),
        reward=RewardHead(
            rssm.feat_size,
            transform=meta["clip_rewards"],
            stop_gradient="reward" not in meta["grad_heads"],
            **head,
        ),
        cont=DiscountHead(
            rssm.feat_size,
            discount=meta["discount"],
            stop_gradient="discount" not in meta["grad_heads"],
            **head,
        ),
    )


def make_harmonizer(golden: Golden) -> FixedScales | Harmonizer:
    theirs = golden.meta["loss_scales"]
    scales = {name: theirs[name] for name in ("image", "reward", "kl")}
    scales["cont"] = theirs["discount"]
    kind = Harmonizer if golden.meta["harmony"] else FixedScales
    return kind(groups=GROUPS, loss_scales=scales)


def make_batch(golden: Golden) -> dict[str, torch.Tensor]:
    flags = {name: golden[f"in/{name}"].bool() for name in ("is_first", "is_last", "is_terminal")}
    plain = {name: golden[f"in/{name}"] for name in ("action", "reward")}
    return {"image": golden.image(), **plain, **flags}


def recorded_noise(golden: Golden) -> torch.Tensor:
    if golden.meta["kind"] == "gaussian":
        return golden["in/post_eps"]
    prob = torch.softmax(golden["out/post/logit"], -1)
    return uniform_for(prob, golden["in/post_stoch"])


def recorded_start(golden: Golden) -> Latent | None:
    if "in/state/deter" not in golden:
        return None
    return Latent(golden["in/state/deter"], golden["in/state/stoch"].flatten(1))


@pytest.mark.golden
@pytest.mark.parametrize("name", WORLD_MODELS)
def test_losses_and_gradients_equal_the_originals(name):
    golden = Golden(name)
    world_model, harmonizer = make_world_model(golden), make_harmonizer(golden)
    params = golden.named("param")
    load(world_model, params)
    load(harmonizer, params)

    modelled = world_model.losses(
        make_batch(golden), ModelNoise(recorded_noise(golden)), recorded_start(golden)
    )
    total = harmonizer(modelled.losses)
    torch.autograd.backward(total)

    stoch = golden["in/post_stoch"].flatten(2)
    torch.testing.assert_close(modelled.latent.stoch, stoch, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        modelled.latent.deter, golden["out/post/deter"], rtol=1e-4, atol=1e-6
    )
    for ours, theirs in {
        "kl": "kl",
        "image": "image",
        "reward": "reward",
        "cont": "discount",
    }.items():
        expected = golden[f"out/loss/{theirs}"]
        torch.testing.assert_close(modelled.losses[ours].mean(), expected, rtol=1e-4, atol=1e-7)
        record(name, f"loss/{ours}, mean", expected, modelled.losses[ours].mean())
    torch.testing.assert_close(
        modelled.metrics["model/kl"], golden["out/model_kl"], rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(total, golden["out/total"], rtol=1e-4, atol=1e-6)
    record(name, "mean KL before free nats", golden["out/model_kl"], modelled.metrics["model/kl"])
    record(name, "total", golden["out/total"], total)
    grads = golden.named("grad")
    error = assert_grads(world_model, grads, 1e-4)
    if golden.meta["harmony"]:
        error = max(error, assert_grads(harmonizer, grads, 1e-4))
    own = [param.grad for part in (world_model, harmonizer) for param in part.parameters()]
    norm = torch.nn.utils.get_total_norm(own)
    record(name, "global gradient norm", golden["out/grad_norm"], norm)
    record_error(name, "largest relative gradient error", error)


@pytest.mark.parametrize("latent", [Categorical(stoch=3, classes=4), Gaussian(stoch=3)])
def test_observe_equals_repeated_obs_steps(latent):
    torch.manual_seed(0)
    rssm = make_rssm(7, 2, deter=5, hidden=6, latent=latent)
    embed, action = torch.randn(2, 6, 7), torch.randn(2, 6, 2)
    is_first = torch.zeros(2, 6, dtype=torch.bool)
    is_first[:, 0] = True
    is_first[1, 3] = True
    noise = latent.draw_noise((2, 6), torch.Generator().manual_seed(1), embed.device)

    observed = rssm.observe(embed, action, is_first, noise)

    # Any state before a first step must not matter, so begin with one that is not zero.
    state = Latent(torch.randn(2, 5), torch.randn(2, latent.size))
    for t in range(6):
        state = rssm.obs_step(state, action[:, t], embed[:, t], is_first[:, t], noise[:, t])
        torch.testing.assert_close(observed.latent.deter[:, t], state.deter)
        torch.testing.assert_close(observed.latent.stoch[:, t], state.stoch)
    torch.testing.assert_close(observed.prior, rssm.prior_stats(observed.latent.deter))


def test_the_prior_of_a_step_is_where_imagination_goes():
    torch.manual_seed(0)
    latent = Gaussian(stoch=3)
    rssm = make_rssm(7, 2, deter=5, hidden=6, latent=latent)
    start = Latent(torch.randn(4, 5), torch.randn(4, 3))
    step = rssm.img_step(start, torch.randn(4, 2), torch.zeros(4, 3))
    torch.testing.assert_close(step.stoch, latent.mode(rssm.prior_stats(step.deter)))


def test_an_episode_border_inside_a_sequence_hides_what_came_before():
    golden = Golden("world_model_categorical_noharmony")
    world_model = make_world_model(golden)
    batch, noise = make_batch(golden), recorded_noise(golden)
    batch["is_first"][:, 3] = True
    latent = world_model.losses(batch, ModelNoise(noise)).latent
    tail = {name: value[:, 3:] for name, value in batch.items()}
    torch.testing.assert_close(
        latent.deter[:, 3:], world_model.losses(tail, ModelNoise(noise[:, 3:])).latent.deter
    )


def test_open_loop_video_shows_truth_model_and_error():
    golden = Golden("world_model_categorical_noharmony")
    world_model = make_world_model(golden)
    batch = make_batch(golden)
    video = world_model.open_loop(batch, recorded_noise(golden), 2, world_model.objective.decoder)
    assert video.shape == (5, 3 * 64, 3 * 64, 3)
    assert video.dtype == torch.uint8
    # The truth is at the top, sequences side by side, and survives the trip through floats.
    torch.testing.assert_close(video[4, :64, 64:128], batch["image"][1, 4])


@pytest.mark.golden
def test_parameter_counts_are_the_originals():
    shapes = {"image": (64, 64, 3)}
    encoder = Encoder(shapes)
    rssm = make_rssm(encoder.embed_size, 4, deter=1024, hidden=1024, latent=Categorical())
    counts = {
        "encoder": encoder,
        "rssm": rssm,
        "decoder": Decoder(rssm.feat_size, shapes),
        "reward": RewardHead(rssm.feat_size),
    }
    found = {k: sum(p.numel() for p in module.parameters()) for k, module in counts.items()}
    expected = {
        "encoder": 1_551_312,
        "rssm": 13_125_632,
        "decoder": 11_152_275,
        "reward": 1_301_201,
    }
    assert found == expected
    for part, count in expected.items():
        record("parameters_metaworld", f"{part}, weights", count, found[part])


def make_with_views(algorithm):
    agent = tiny.agent(f"algorithm={algorithm}")
    return agent.world_model, tiny.batch(f"algorithm={algorithm}")


def test_two_views_are_modelled_as_two_batches():
    world_model, batch = make_with_views("dreamerpro")
    noise = world_model.draw_noise(batch, torch.Generator().manual_seed(0))
    assert noise.latent.shape == (4, 4, world_model.rssm.latent.noise_size)
    assert noise.view.shape == (4, 2)
    modelled = world_model.losses(batch, noise)
    assert modelled.latent.deter.shape[:2] == (4, 4)
    assert modelled.losses["reward"].shape == (4, 4)
    for name in ("reward", "action", "is_first"):
        assert torch.equal(modelled.batch[name], torch.cat([batch[name], batch[name]]))
    image = world_model.observations(modelled.batch)["image"]
    torch.testing.assert_close(modelled.obs["image"], random_shift(image, noise.view))
    # Each view is filtered by itself: the model sees two batches of other pictures.
    embed = world_model.encoder({"image": modelled.obs["image"][2:]})
    second = world_model.rssm.observe(embed, batch["action"], batch["is_first"], noise.latent[2:])
    torch.testing.assert_close(modelled.latent.deter[2:], second.latent.deter)


def test_views_without_noise_are_not_shifted():
    """How names of losses are found before anything is random."""
    world_model, batch = make_with_views("dreamerpro")
    noise = world_model.draw_noise(batch, torch.Generator().manual_seed(0))
    modelled = world_model.losses(batch, ModelNoise(noise.latent))
    plain = world_model.observations(batch)["image"]
    assert torch.equal(modelled.obs["image"], torch.cat([plain, plain]))


def test_one_view_is_the_batch():
    world_model, batch = make_with_views("dreamerv3")
    noise = world_model.draw_noise(batch, torch.Generator().manual_seed(0))
    assert noise.latent.shape[:2] == (2, 4)
    modelled = world_model.losses(batch, noise)
    assert modelled.batch is batch
    assert torch.equal(modelled.obs["image"], world_model.observations(batch)["image"])


@pytest.mark.parametrize("algorithm", ["dreamerv3", "dreamerv3_2025"])
def test_losses_of_every_step_are_not_averaged(algorithm):
    world_model, batch = make_with_views(algorithm)
    noise = world_model.draw_noise(batch, torch.Generator().manual_seed(0))
    losses = world_model.losses(batch, noise).losses
    assert {name: tuple(loss.shape) for name, loss in losses.items()} == dict.fromkeys(
        ("image", "reward", "cont", "dyn", "rep"), (2, 4)
    )


def test_open_loop_feats_are_filtered_first_and_imagined_after():
    world_model, batch = make_with_views("dreamerv3")
    rssm = world_model.rssm
    noise = rssm.latent.draw_noise((2, 4), torch.Generator().manual_seed(0), torch.device("cpu"))
    found = world_model.open_loop_feats(batch, noise, 2)
    with torch.no_grad():
        embed = world_model.encoder(world_model.observations(batch))
        seen = rssm.observe(embed, batch["action"], batch["is_first"], noise).latent
        torch.testing.assert_close(found[:, :2], rssm.get_feat(seen)[:, :2])
        latent = Latent(seen.deter[:, 1], seen.stoch[:, 1])
        for t in (2, 3):
            latent = rssm.img_step(latent, batch["action"][:, t], noise[:, t])
            torch.testing.assert_close(found[:, t], rssm.get_feat(latent))
    # Pictures of the later steps are not seen.
    batch["image"][:, 2:] = 0
    assert torch.equal(world_model.open_loop_feats(batch, noise, 2), found)
