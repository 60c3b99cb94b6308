"""What the originals set, counted in agent steps and updates as they count."""

import pytest

from harmony.config.compose import compose
from harmony.config.nodes import instantiate

# Pair: agent steps of a run, of the prefill and between evaluations; agent steps an update; B, T.
ORIGINALS = {
    ("dreamerv2", "metaworld"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv2", "dmc"): (502_000, 1000, 10_000, 5, 16, 50),
    ("dreamerv3", "metaworld"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv3", "dmc"): (500_000, 1024, 10_000, 2, 16, 64),
    ("dreamerv3_2025", "dmc"): (1_100_000, 1024, 20_000, 4, 16, 64),
    ("dreamerpro", "dmc"): (500_000, 2500, 5000, 5, 50, 51),
}


@pytest.mark.parametrize(
    ("pair", "expected"), ORIGINALS.items(), ids=["_".join(pair) for pair in ORIGINALS]
)
def test_steps_updates_and_batches(pair, expected):
    algorithm, env = pair
    config = compose([f"algorithm={algorithm}", f"env={env}"]).config
    repeat, replay = config["env"]["action_repeat"], config["replay"]
    training = instantiate(config["training"])
    evaluation = instantiate(config["evaluation"])
    batch_steps = replay["batch_size"] * replay["batch_length"]
    steps = 10_000
    updates = sum(training.updates_due(step, batch_steps) for step in range(1, steps + 1))
    assert (
        training.env_steps / repeat,
        training.prefill_agent_steps,
        evaluation.every_env_steps / repeat,
        steps / updates,
        replay["batch_size"],
        replay["batch_length"],
    ) == expected
    assert evaluation.episodes == 10
    # The originals of DreamerV3 train no more before the first step of the policy than after it.
    assert training.pretrain_updates == (0 if "v3" in algorithm else 100)


def test_what_only_the_code_behind_the_papers_curves_has():
    """Its continue head sees the latent without gradient, its log term of the KL counts 5/6."""
    algorithm = compose(["algorithm=dreamerv3", "env=metaworld"]).config["algorithm"]
    assert algorithm["cont"]["stop_gradient"] is True
    assert algorithm["regularizer_weight"]["dynamics"] == pytest.approx(0.5 / (0.5 + 0.1))
    assert algorithm["regularizer_weight"]["observation"] == 1.0
    shares = {"dyn": pytest.approx(0.5 / 0.6), "rep": pytest.approx(0.1 / 0.6)}
    assert algorithm["loss_groups"]["dynamics"] == shares
    assert compose(["algorithm=dreamerv3"]).config["algorithm"]["regularizer_weight"] == {
        "observation": 1.0, "reward": 1.0, "dynamics": 1.0,
    }  # fmt: skip


def test_prototypes_on_plain_dmc_have_no_norm_loss():
    algorithm = compose(["algorithm=dreamerpro", "env=dmc"]).config["algorithm"]
    assert algorithm["loss_groups"]["observation"] == {"swav": 1.0, "temp": 1.0, "norm": 0.0}
    assert algorithm["loss_scales"] == {
        "swav": 1.0, "temp": 1.0, "norm": 0.0, "reward": 1.0, "kl": 1.0,
    }  # fmt: skip


def test_a_size_of_the_command_line_wins_over_that_of_the_preset():
    for size, deter in (("paper", 512), ("large", 2048), ("tiny", 200)):
        config = compose(["algorithm=dreamerv3", "env=dmc", f"size={size}"]).config
        assert config["size"]["deter"] == deter
        assert config["algorithm"]["rssm"]["cell"]["deter"] == deter
