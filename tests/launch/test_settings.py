"""What is said of settings of a launcher that are none, or of another type."""

import shutil

import pytest

import harmony
from harmony.config.conf_dir import find_conf_dir
from harmony.config.sweep import expand
from harmony.errors import ConfigError
from launch.slurm import register

LAUNCHER = "hydra.launcher."


def refusal(*overrides):
    register()
    with pytest.raises(ConfigError) as caught:
        expand(list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("timeout_min=24:00:00", "timeout_min: expected a whole number of minutes, got 24:00:00"),
        ("timeout_min=1.5", "timeout_min: expected a whole number of minutes, got 1.5"),
        ("timeout_min=null", "timeout_min: expected a value, got null; leave it out for"),
        ("signal_delay_s=3m", "signal_delay_s: expected a whole number of seconds, got 3m"),
        ("mem_gb=32G", "mem_gb: expected a whole number of GB, got 32G"),
        ("mem_gb=0.5", "mem_gb: expected a whole number of GB, got 0.5"),
        ("cpus_per_task=many", "cpus_per_task: expected a whole number, got many"),
        (
            "gpus_per_node=a100:2",
            "gpus_per_node: expected a whole number, got a100:2; name a kind of GPU with "
            "hydra.launcher.gres=gpu:a100:2 hydra.launcher.gpus_per_node=null, or with "
            "hydra.launcher.constraint=...",
        ),
        ("gpus_per_node=gpu:2", "hydra.launcher.gres=gpu:2 "),
        (
            "setup=module load cuda",
            "setup: expected a list, got module load cuda; write "
            "'hydra.launcher.setup=[\"module load cuda\"]'",
        ),
        ("wait=yes_please", "wait: expected true or false, got yes_please"),
        ("srun_args=[--cpu-bind=none]", "twice: 'hydra.launcher.srun_args=[\"--cpu-bind=none\"]'"),
        (
            "partition=debug,long",
            "partition=debug,long: a sweep has one value of it; quote a value with commas twice: "
            "'hydra.launcher.partition=\"debug,long\"'",
        ),
    ],
)
def test_a_value_of_another_type_is_named_with_its_key_and_unit(override, said):
    text = refusal("hydra/launcher=slurm", "seed=0,1", "size=micro", LAUNCHER + override)
    assert text.startswith(LAUNCHER + override.partition("=")[0])
    assert said in text
    assert "size=micro" not in text


@pytest.mark.parametrize("before", [[], ["hydra/launcher=basic"]])
def test_a_setting_without_a_launcher(before):
    text = refusal(*before, "seed=0,1", "hydra.launcher.timeout_min=5")
    assert text.startswith("hydra.launcher.timeout_min: add hydra/launcher=slurm (or local)")


def test_the_cures_are_accepted():
    register()
    cures = ['partition="debug,long"', 'srun_args=["--cpu-bind=none"]', "gres=gpu:a100:2"]
    cures += ["gpus_per_node=null", 'setup=["module load cuda"]', "mem_gb=7"]
    assert expand(["hydra/launcher=slurm", *(LAUNCHER + cure for cure in cures)])


def test_a_value_in_a_site_s_file(tmp_path, monkeypatch):
    conf = shutil.copytree(find_conf_dir(), tmp_path / "conf")
    monkeypatch.setattr(harmony, "__file__", str(tmp_path / "harmony" / "__init__.py"))
    site = conf / "hydra" / "launcher" / "sites" / "ours.yaml"
    site.write_text("defaults: [slurm@_here_]\ntimeout_min: 24h\n")
    text = refusal("hydra/launcher=sites/ours", "seed=0,1")
    assert "timeout_min: expected a whole number of minutes, got 24h" in text
