"""Numerics of DreamerV3 (2023) against the original."""

import pytest
import torch
from torch import Tensor, nn

from harmony.behavior.return_norm import PercentileNorm, _percentile
from harmony.behavior.targets import NextReward
from harmony.harmonizer import Harmonizer
from harmony.models.heads import ContinueHead
from harmony.models.latents import Categorical
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.nn.outputs import TwoHot
from harmony.ops.straight_through import straight_through_onehot
from harmony.ops.symlog import symexp, symlog
from harmony.ops.unimix import unimix_logit
from tests.golden.originals import Golden
from tests.golden.v3_agents import close

NAME = "v3/ops"
SMALLEST = 1e-8  # of the squared symlog errors that the original counts


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value.sum(), inputs, retain_graph=True)


@pytest.mark.golden
@pytest.mark.parametrize(("function", "key"), [(symlog, "symlog"), (symexp, "symexp")])
def test_symlog_and_symexp(function, key):
    golden = Golden(NAME)
    x = golden[f"{key}/in"].requires_grad_()
    out = function(x)
    close(out, golden[f"{key}/out"], atol=1e-7)
    (grad,) = gradients(out, x)
    elsewhere = x.detach() != 0
    close(grad[elsewhere], golden[f"{key}/grad"][elsewhere], atol=0)
    # Ours differs at 0: the slope there is 1, not what the product with the sign has.
    assert grad[~elsewhere] == 1.0
    assert golden[f"{key}/grad"][~elsewhere] == 0.0


@pytest.mark.golden
@pytest.mark.parametrize("bins", [255, 41])
def test_two_hot(bins):
    golden, scalar = Golden(NAME), TwoHot(bins=bins)
    close(scalar.bin_values, golden[f"twohot{bins}/bins"], rtol=0, atol=2e-6)
    raw = golden[f"twohot{bins}/in/logits"].requires_grad_()
    target = golden[f"twohot{bins}/in/target"]
    close(symlog(target), golden[f"twohot{bins}/out/target_symlog"])
    loss, mean = scalar.loss(raw, target), scalar.pred(raw)
    close(loss, golden[f"twohot{bins}/out/nll"])
    close(mean, golden[f"twohot{bins}/out/mean"])
    if bins == 41:
        close(gradients(loss, raw)[0], golden["twohot41/grad/nll"])
        # Where the mean is exactly 0, the slope of symexp differs as above.
        moved = mean != 0
        assert moved.sum() == len(mean) - 1
        close(gradients(mean, raw)[0][moved], golden["twohot41/grad/mean"][moved])
        assert not golden["twohot41/grad/mean"][~moved].any()


@pytest.mark.golden
@pytest.mark.parametrize("bins", [255, 41])
def test_the_two_bins_of_a_target_and_their_weights(bins):
    golden, scalar = Golden(NAME), TwoHot(bins=bins)
    target = golden[f"twohot{bins}/in/target"]
    raw = torch.zeros(len(target), bins, requires_grad=True)
    # Slope of a cross-entropy: what is predicted, one of all bins, minus what should be.
    (grad,) = gradients(scalar.loss(raw, target), raw)
    close(1 / bins - grad, golden[f"twohot{bins}/out/weights"])


class Fixed(nn.Module):
    """A decoder that gives what it was made with, whatever the feats."""

    def __init__(self, recon: dict[str, Tensor], images: list[str]) -> None:
        super().__init__()
        self.recon, self.images = recon, images

    def forward(self, feat: Tensor | None) -> dict[str, Tensor]:
        assert feat is None
        return self.recon


def reconstruction(recon: dict[str, Tensor], images: list[str]) -> Reconstruction:
    """With the settings of conf/objective/symlog_reconstruction.yaml."""
    return Reconstruction(
        None,
        1,
        {},
        decoder=lambda *_: Fixed(recon, images),
        error_weight=1.0,
        symlog_vectors=True,
    )


@pytest.mark.golden
def test_loss_of_images():
    golden = Golden(NAME)
    mode = golden["image_mse/in/mode"].unsqueeze(1).requires_grad_()
    objective = reconstruction({"image": mode}, ["image"])
    target = {"image": golden["image_mse/in/value"].unsqueeze(1)}
    loss = objective.losses(None, None, target)["image"]
    close(loss.squeeze(1), golden["image_mse/out/nll"])
    close(gradients(loss, mode)[0].squeeze(1), golden["image_mse/grad/mode"])


@pytest.mark.golden
def test_loss_of_vectors():
    golden = Golden(NAME)
    mode = golden["symlog_mse/in/mode"].unsqueeze(1).requires_grad_()
    objective = reconstruction({"vector": mode}, [])
    value = golden["symlog_mse/in/value"]
    loss = objective.losses(None, None, {"vector": value.unsqueeze(1)})["vector"]
    close(loss.squeeze(1), golden["symlog_mse/out/nll"])
    close(symexp(mode.detach()).squeeze(1), golden["symlog_mse/out/mean"])
    # The original counts tiny errors as zero, with their gradients; ours does not.
    grad, expected = gradients(loss, mode)[0].squeeze(1), golden["symlog_mse/grad/mode"]
    counted = (mode.detach().squeeze(1) - symlog(value)).square() >= SMALLEST
    close(grad[counted], expected[counted])
    assert not expected[~counted].any()
    assert grad[~counted].abs().max() <= 2 * SMALLEST**0.5
    assert 0 < (~counted).sum() < 5


@pytest.mark.golden
def test_loss_of_the_continue_head():
    golden = Golden(NAME)
    head = ContinueHead(1, layers=0, units=1)
    with torch.no_grad():
        head.output.weight.fill_(1.0)
    logit = golden["binary/in/logit"].requires_grad_()
    is_terminal = golden["binary/in/value"] == 0
    loss = head.losses(logit.reshape(1, -1, 1), is_terminal.unsqueeze(0))["cont"]
    close(loss[0], golden["binary/out/nll"])
    close(gradients(loss, logit)[0], golden["binary/grad/logit"])
    # Imagination: the first entry is the truth, the others the mode.
    discount = head.discount(logit.detach().reshape(1, -1, 1), torch.tensor([False]))
    close(discount[0, 1:] / head.gamma, golden["binary/out/mode"][1:])


@pytest.mark.golden
def test_categories_mixed_with_the_uniform_distribution():
    golden, latent = Golden(NAME), Categorical(stoch=4, classes=6, unimix=0.01)
    logit = golden["unimix/in/logit"].requires_grad_()
    other = golden["unimix/in/logit2"].requires_grad_()
    cotangent, onehot = golden["unimix/in/cot"], golden["unimix/in/onehot"]
    stats, prior = logit.flatten(1), other.flatten(1)

    mixed = unimix_logit(logit, 0.01)
    close(mixed, golden["unimix/out/logit"])
    close(gradients(mixed * cotangent, logit)[0], golden["unimix/grad/logit"])
    entropy = latent.entropy(stats)
    close(entropy, golden["unimix/out/entropy"])
    close(gradients(entropy, logit)[0], golden["unimix/grad/entropy"])
    log_prob = (mixed * onehot).sum((-2, -1))
    close(log_prob, golden["unimix/out/log_prob"])
    close(gradients(log_prob, logit)[0], golden["unimix/grad/log_prob"])
    left, right = latent.kl_sides(stats, prior)
    close(left, golden["unimix/out/kl"])
    close(right, golden["unimix/out/kl"])
    close(gradients(left, logit)[0], golden["unimix/grad/kl_p"])
    close(gradients(right, other)[0], golden["unimix/grad/kl_q"])


@pytest.mark.golden
def test_samples_and_their_gradients():
    golden, latent = Golden(NAME), Categorical(stoch=4, classes=6, unimix=0.01)
    logit, uniform = golden["unimix/in/logit"].requires_grad_(), golden["unimix/in/u"]
    sample = latent.sample(logit.flatten(1), uniform)
    close(sample, golden["unimix/out/sample"].flatten(1), rtol=0, atol=1e-6)
    weighted = sample * golden["unimix/in/cot"].flatten(1)
    close(gradients(weighted, logit)[0], golden["unimix/grad/sample"])
    # That the classes are those of the mixture, not of the softmax, shows somewhere else too.
    mixed = straight_through_onehot(unimix_logit(logit, 0.01), uniform)
    assert torch.equal(sample, mixed.flatten(1))


@pytest.mark.golden
@pytest.mark.parametrize("tag", ["fresh", "given"])
def test_return_scale_over_six_updates(tag):
    golden = Golden(NAME)
    norm = PercentileNorm(low=5.0, high=95.0, decay=0.99, limit=1.0)
    states = golden[f"moments_{tag}/out/state"]
    norm.low.copy_(states[0, 0])
    norm.high.copy_(states[0, 1])
    for call, x in enumerate(golden[f"moments_{tag}/in/x"]):
        scale = norm(x)
        percentiles = [_percentile(x.flatten().sort().values, p) for p in norm.percents]
        close(torch.stack(percentiles), golden[f"moments_{tag}/out/percentiles"][call])
        close(torch.stack([norm.low, norm.high]), states[call + 1])
        close(scale, golden[f"moments_{tag}/out/offset_invscale"][call, 1])
        # The original subtracts this from returns and baselines alike, so ours leaves it out.
        close(norm.low, golden[f"moments_{tag}/out/offset_invscale"][call, 0])


@pytest.mark.golden
def test_lambda_returns_and_weights():
    golden = Golden(NAME)
    gamma, convention = golden.meta["discount"], NextReward(return_lambda=golden.meta["lam"])
    reward = golden["lambda_return/in/reward"].requires_grad_()
    value = golden["lambda_return/in/value"].requires_grad_()
    discount = gamma * golden["lambda_return/in/cont"].T
    found = convention.targets(reward.T, discount, value[1:].T)
    close(found.critic.T, golden["lambda_return/out/ret"])
    assert found.actor is found.critic
    weighted = found.critic.T * golden["lambda_return/in/cot"]
    to_reward, to_value = gradients(weighted, reward, value)
    close(to_reward, golden["lambda_return/grad/reward"])
    close(to_value, golden["lambda_return/grad/value"])
    weight = convention.weight(discount, gamma)
    close(weight.T, golden["lambda_return/out/weight"][:-1])


@pytest.mark.golden
@pytest.mark.parametrize(("tag", "regularizer"), [("reg", 1.0), ("noreg", 0.0)])
def test_harmonised_losses(tag, regularizer):
    golden = Golden(NAME)
    harmonizer = Harmonizer(
        groups={"reward": {"reward": 1.0}},
        loss_scales={"reward": 1.0},
        regularizer_weight={"reward": regularizer},
    )
    log_sigma = harmonizer.log_sigma["reward"]
    for i, loss in enumerate(golden["harmony/in/loss"]):
        with torch.no_grad():
            log_sigma.copy_(golden["harmony/in/s"][i])
        total = harmonizer({"reward": loss.expand(2, 3)})
        close(total, golden[f"harmony/out/{tag}"][i])
        (grad,) = gradients(total, log_sigma)
        close(grad, golden[f"harmony/grad_s/{tag}"][i])
