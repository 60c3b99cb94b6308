"""The tasks of every suite."""

import subprocess
import sys

import pytest

from harmony.config.compose import compose
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.envs.tasks import envs_with, tasks_of

COUNTS = {
    "atari100k": 26,
    "crafter": 2,
    "dmc": 51,
    "dmc_remastered": 20,
    "metaworld": 50,
    "metaworld_v2": 50,
    "minedojo": 1,
    "natural_background": 51,
    "probe": 0,
    "rlbench": 2,
}


@pytest.mark.parametrize("env", list_groups(find_conf_dir())["env"])
def test_each_suite_has_its_tasks_and_the_one_that_it_begins_with(env):
    tasks = tasks_of(env)
    assert len(set(tasks)) == len(tasks)
    if tasks:
        assert compose([f"env={env}"]).config["env"]["task"] in tasks


@pytest.mark.parametrize("env", COUNTS)
def test_they_are_as_many_as_the_documents_say(env):
    assert len(tasks_of(env)) == COUNTS[env]


def test_the_suites_of_a_task():
    assert envs_with("walker_walk") == ["dmc", "dmc_remastered", "natural_background"]
    assert envs_with("cup_catch") == ["dmc", "dmc_remastered", "natural_background"]
    assert envs_with("reach_target") == ["rlbench"]
    assert envs_with("fly") == []


def test_no_simulator_is_imported():
    code = (
        "import sys; from harmony.envs.tasks import envs_with; envs_with('fly'); "
        "print({'mujoco', 'dm_control', 'ale_py', 'crafter', 'metaworld'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
