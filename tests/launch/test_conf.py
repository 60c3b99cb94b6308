import dataclasses

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from harmony.config.compose import COMPOSING_ERRORS
from harmony.config.conf_dir import find_conf_dir
from launch import conf
from launch.local import LocalLauncher
from launch.slurm import SlurmLauncher, register

LAUNCHERS = ("slurm", "slurm_dev", "local", "sites/example")


@pytest.fixture(autouse=True)
def registered():
    register()


def params(*overrides):
    with initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    return OmegaConf.to_container(cfg.hydra.launcher, resolve=False)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_launcher_composes_with_all_keys_of_its_schema(name):
    found = params(f"hydra/launcher={name}")
    schema = conf.LocalConf if name == "local" else conf.SlurmConf
    assert {field.name for field in dataclasses.fields(schema)} == set(found)


def test_there_is_a_test_for_every_launcher():
    folder = find_conf_dir() / "hydra" / "launcher"
    assert {str(p.relative_to(folder)) for p in folder.rglob("*.yaml")} == {
        f"{name}.yaml" for name in LAUNCHERS
    }


def test_what_the_files_say_wins_over_the_schema():
    slurm, dev = params("hydra/launcher=slurm"), params("hydra/launcher=slurm_dev")
    assert (slurm["timeout_min"], slurm["gpus_per_node"], slurm["mem_gb"]) == (1440, 1, 32)
    assert slurm["additional_parameters"] == {"requeue": True}
    assert (dev["timeout_min"], dev["gpus_per_node"], dev["mem_gb"]) == (20, None, 3)
    assert dev["additional_parameters"] == {"requeue": True}
    site = params("hydra/launcher=sites/example", "hydra.launcher.mem_gb=64")
    assert (site["partition"], site["mem_gb"]) == ("gpu", 64)
    assert site["setup"] == ["module purge", "module load cuda/12.6"]
    assert params("hydra/launcher=local")["slots"] == 1


@pytest.mark.parametrize(
    "override",
    [
        "hydra.launcher.timeout_mins=5",
        "hydra.launcher.timeout_min=soon",
        "hydra.launcher.runs_per_gpu=two",
        "hydra.launcher.wait=perhaps",
        "hydra.launcher.srun_args=x",
    ],
)
def test_a_wrong_key_or_value_is_refused(override):
    with pytest.raises(COMPOSING_ERRORS):
        params("hydra/launcher=slurm", override)


def test_the_targets_are_our_launchers():
    made = Plugins.instance().class_name_to_class
    assert made[conf.SLURM_TARGET] is SlurmLauncher
    assert made[conf.LOCAL_TARGET] is LocalLauncher
    assert params("hydra/launcher=slurm")["_target_"] == conf.SLURM_TARGET
    assert params("hydra/launcher=local")["_target_"] == conf.LOCAL_TARGET
