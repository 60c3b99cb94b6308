"""Adam of DreamerV3 (2023) against the original."""

import pytest
import torch

from harmony.config.compose import compose
from harmony.config.nodes import instantiate
from tests.golden.originals import Golden
from tests.golden.table import record_error
from tests.golden.v3_agents import BASE, close

NAME = "v3/optimizer"


@pytest.mark.golden
@pytest.mark.parametrize("part", ["model", "actor"])
def test_five_steps_on_given_gradients(part):
    golden = Golden(NAME)
    node = compose(BASE).config["algorithm"]["optimizer"][part]
    settings = {key: node[key] for key in ("lr", "eps", "clip")}
    assert settings == golden.meta[part]
    params = {name: torch.nn.Parameter(golden[f"{part}/in/{name}"]) for name in ("a", "b")}
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = instantiate(node)(list(params.values()), part, scaler)
    worst = 0.0
    for step in range(5):
        terms = [(p * golden[f"{part}/in/grad_{name}"][step]).sum() for name, p in params.items()]
        norm = optimizer.step(torch.stack(terms).sum())[f"grad_norm/{part}"]
        close(norm, golden[f"{part}/out/grad_norm"][step], atol=0)
        for name, param in params.items():
            expected = golden[f"{part}/out/{name}"][step]
            close(param, expected, rtol=0, atol=3e-7)  # the last digit of weights around 2
            worst = max(worst, float((param.detach() - expected).abs().max()) / node["lr"])
    record_error(f"{NAME}, {part}", "largest error of a weight, in learning rates", worst)


@pytest.mark.golden
@pytest.mark.parametrize(("part", "binds"), [("model", [1, 2, 4]), ("actor", [1, 2])])
def test_the_clip_binds_where_it_should(part, binds):
    golden = Golden(NAME)
    norms = golden[f"{part}/out/grad_norm"]
    assert torch.nonzero(norms > golden.meta[part]["clip"]).flatten().tolist() == binds


@pytest.mark.golden
def test_the_critic_learns_as_the_actor():
    node = compose(BASE).config["algorithm"]["optimizer"]
    assert node["critic"] == node["actor"]
