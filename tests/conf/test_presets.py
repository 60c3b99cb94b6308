"""What the originals set, counted in agent steps and updates as they count."""

import pytest

from harmony.config.compose import compose
from harmony.config.nodes import instantiate

# Pair: agent steps of a run, of the prefill and between evaluations; agent steps an update; B, T.
ORIGINALS = {
    ("dreamerv2", "metaworld"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv2", "metaworld_v2"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv2", "dmc"): (502_000, 1000, 10_000, 5, 16, 50),
    ("dreamerv2", "rlbench"): (502_000, 10_000, 5000, 5, 50, 50),
    ("dreamerv2", "natural_background"): (502_000, 1000, 10_000, 5, 16, 50),
    ("dreamerv2", "dmc_remastered"): (502_000, 1000, 10_000, 5, 16, 50),
    ("dreamerv3", "metaworld"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv3", "metaworld_v2"): (255_000, 5000, 10_000, 5, 50, 50),
    ("dreamerv3", "minedojo"): (1_002_000, 2000, 10_000, 5, 16, 64),
    ("dreamerv3", "dmc"): (500_000, 1024, 10_000, 2, 16, 64),
    ("dreamerv3", "dmc_remastered"): (500_000, 1024, 10_000, 2, 16, 64),
    ("dreamerv3_2025", "dmc"): (1_100_000, 1024, 20_000, 4, 16, 64),
    ("dreamerv3", "atari100k"): (101_000, 1024, 5000, 1, 16, 64),
    ("dreamerv3", "crafter"): (1_010_000, 1024, 20_000, 2, 16, 64),
    ("dreamerv3_2025", "atari100k"): (110_000, 1024, 5000, 4, 16, 64),
    ("dreamerv3_2025", "crafter"): (1_100_000, 1024, 20_000, 2, 16, 64),
    ("dreamerpro", "dmc"): (500_000, 2500, 5000, 5, 50, 51),
    ("dreamerpro", "natural_background"): (500_000, 2500, 5000, 5, 50, 51),
}
# Pair: episodes of an evaluation, updates before the first step of the policy.
UNUSUAL = {
    ("dreamerv2", "rlbench"): (5, 1),
    ("dreamerv3", "minedojo"): (10, 100),
    ("dreamerv3", "atari100k"): (100, 0),
    ("dreamerv3_2025", "atari100k"): (100, 0),
}


@pytest.mark.parametrize(
    ("pair", "expected"), ORIGINALS.items(), ids=["_".join(pair) for pair in ORIGINALS]
)
def test_steps_updates_and_batches(pair, expected):
    algorithm, env = pair
    config = compose([f"algorithm={algorithm}", f"env={env}"]).config
    repeat, replay = config["env"].get("action_repeat", 1), config["replay"]
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
    # The originals of DreamerV3 train no more before the first step of the policy than after it.
    usual = (10, 0 if "v3" in algorithm else 100)
    assert (evaluation.episodes, training.pretrain_updates) == UNUSUAL.get(pair, usual)


def test_what_only_the_code_behind_the_papers_curves_has():
    """Its continue head sees the latent without gradient, its log term of the KL counts 5/6."""
    algorithm = compose(["algorithm=dreamerv3", "env=metaworld"]).config["algorithm"]
    assert algorithm["cont"]["stop_gradient"] is True
    assert algorithm["regularizer_weight"]["dynamics"] == pytest.approx(0.5 / (0.5 + 0.1))
    assert algorithm["regularizer_weight"]["observation"] == 1.0
    shares = {"dyn": pytest.approx(0.5 / 0.6), "rep": pytest.approx(0.1 / 0.6)}
    assert algorithm["loss_groups"]["dynamics"] == shares
    atari = compose(["algorithm=dreamerv3", "env=atari100k"]).config["algorithm"]
    assert atari["cont"]["stop_gradient"] is False
    assert atari["regularizer_weight"] == algorithm["regularizer_weight"]
    assert compose(["algorithm=dreamerv3"]).config["algorithm"]["regularizer_weight"] == {
        "observation": 1.0, "reward": 1.0, "dynamics": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "chosen"),
    [
        ("dreamerv2", "learned"),
        ("dreamerpro", "learned"),
        ("dreamerv3", "hard"),
        ("dreamerv3_2025", "soft"),
    ],
)
@pytest.mark.parametrize("env", ["atari100k", "crafter", "minedojo", "rlbench"])
def test_suites_with_ends_learn_the_discount_where_the_algorithm_has_no_choice_of_its_own(
    algorithm, chosen, env
):
    pair = [f"algorithm={algorithm}", f"env={env}"]
    assert compose(pair).choices["cont"] == chosen
    assert compose([*pair, "cont=constant"]).choices["cont"] == "constant"
    assert compose([f"algorithm={algorithm}", "env=dmc"]).choices["cont"] == (
        "constant" if chosen == "learned" else chosen
    )


def test_rlbench_squashes_rewards_and_weighs_the_kl_without_harmony():
    algorithm = compose(["env=rlbench"]).config["algorithm"]
    assert algorithm["reward"]["transform"] == "tanh"
    assert algorithm["cont"]["discount"] == 0.99
    assert algorithm["loss_scales"] == {
        "cont": 1.0, "image": 1.0, "vector": 1.0, "reward": 1.0, "kl": 0.1,
    }  # fmt: skip


def test_prototypes_on_plain_dmc_have_no_norm_loss():
    algorithm = compose(["algorithm=dreamerpro", "env=dmc"]).config["algorithm"]
    assert algorithm["loss_groups"]["observation"] == {"swav": 1.0, "temp": 1.0, "norm": 0.0}
    assert algorithm["loss_scales"] == {
        "swav": 1.0, "temp": 1.0, "norm": 0.0, "reward": 1.0, "kl": 1.0,
    }  # fmt: skip


def test_prototypes_with_natural_backgrounds_have_the_originals_scales_and_videos():
    config = compose(["algorithm=dreamerpro", "env=natural_background"]).config
    algorithm, env = config["algorithm"], config["env"]
    assert algorithm["loss_groups"]["observation"] == {"swav": 1.0, "temp": 1.0, "norm": 1.0}
    assert algorithm["loss_scales"] == {
        "swav": 1.0, "temp": 1.0, "norm": 1.0, "reward": 1000.0, "kl": 1.0,
    }  # fmt: skip
    assert (env["grey"], env["new_clip"], env["look"], env["split"]) == (False, True, "stock", True)


def test_a_size_of_the_command_line_wins_over_that_of_the_preset():
    for size, deter in (("paper", 512), ("large", 2048), ("tiny", 200)):
        config = compose(["algorithm=dreamerv3", "env=dmc", f"size={size}"]).config
        assert config["size"]["deter"] == deter
        assert config["algorithm"]["rssm"]["cell"]["deter"] == deter
