import subprocess
import sys
from pathlib import Path

import pytest

from harmony.config.compose import as_yaml, compose
from harmony.errors import ConfigError


def test_returns_plain_resolved_values_choices_and_overrides():
    composed = compose(["seed=3", "size=large", "hydra/launcher=basic"])
    assert composed.config["seed"] == 3
    assert composed.config["runs_root"] == "./runs"
    assert composed.config["algorithm"]["rssm"]["deter"] == 16
    assert type(composed.config["algorithm"]["rssm"]["cell"]) is dict
    assert composed.choices == {
        "env": "walker",
        "algorithm": "recurrent",
        "harmony": "on",
        "size": "large",
    }
    assert composed.overrides == ["seed=3", "size=large"]
    assert composed.launcher == "basic"


def test_preset_follows_the_pair_and_command_line_wins():
    composed = compose(["env=hopper", "env.time_limit=9"])
    assert composed.config["seed"] == 7
    assert composed.choices["preset"] == "recurrent_hopper"
    assert compose(["env=hopper", "env.time_limit=9", "seed=1"]).config["seed"] == 1


def test_bare_off_is_a_name():
    assert compose(["harmony=off"]).config["harmony"] == {"regularizer": 0.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env=wakler", "env=wakler: no such option; did you mean 'walker'? (has: hopper, walker)"),
        ("preset=nope", "preset=nope: no such option (has: recurrent_hopper)"),
        ("hydra/launcher=slurn", "hydra/launcher=slurn: no such option (has: none)"),
        (
            "algorithm.rssm.detr=200",
            "algorithm.rssm.detr: algorithm.rssm has no key 'detr'; did you mean 'deter'? "
            "(has: cell, deter)",
        ),
        (
            "algorithm.rsm.deter=200",
            "algorithm.rsm.deter: algorithm has no key 'rsm'; did you mean 'rssm'? (has: rssm)",
        ),
        ("env.rate=1", "env.rate: there is no such key; did you mean 'training.rate'?"),
        ("seed.x=1", "seed.x: seed is a value, it has no keys"),
        ("env=hopper", "env.time_limit is not set; give env.time_limit=VALUE"),
        ("seed=0,1", "seed=0,1: several values; add -m to run each, seed=[0,1] for a list"),
        ("seed=range(3)", "seed=range(3): several values; add -m to run each"),
        ("+seed=1", "+seed: it exists already; leave out the +"),
        ("+env=walker", "+env=: it is chosen already; write env=OPTION"),
        ("++env=walker", "++env=walker: write it without ++"),
        ("env@foo=walker", "env@foo: options can't be put elsewhere; use env=OPTION"),
        ("algorithm=/recurrent", "algorithm=/recurrent: an option is a bare name"),
        ("~seed=3", "~seed: its value is another one"),
        ("env=null", "env=null: an option must be a name"),
        ("run_dir=a=b", "run_dir=a=b: not a readable override"),
        ("seed=[1", "seed=[1: not a readable override"),
        ("seed", "seed: not a readable override"),
        ("hydra.run.dir=x", "hydra.run.dir=x: the run decides where it writes"),
        ("hydra.sweep.dir=x", "hydra.sweep.dir=x: the run decides where it writes"),
    ],
)
def test_a_mistake_is_one_line_with_the_right_names(override, message):
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_unknown_top_level_key_names_keys_and_groups():
    with pytest.raises(ConfigError, match=r"no key 'seeed'; did you mean 'seed'\?.* size, "):
        compose(["seeed=1"])


def test_broken_interpolation_is_named(conf):
    (conf / "harmony" / "on.yaml").write_text("regularizer: ${nowhere.x}\n")
    with pytest.raises(ConfigError, match="nowhere"):
        compose([])


def test_yaml_reads_back_the_same(tmp_path):
    from omegaconf import OmegaConf

    config = {"a": "1e-4", "b": 1e-5, "c": "on", "d": [1, None, True], "e": {}, "f": 2.0}
    (tmp_path / "x.yaml").write_text(as_yaml(config))
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "x.yaml")) == config


def test_composing_does_not_import_torch():
    code = "import sys, harmony.config.check, harmony.config.sweep; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n"
