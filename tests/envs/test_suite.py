"""What is checked of a suite before its simulator is imported."""

import subprocess
import sys

import pytest

from harmony.envs import dmc, metaworld
from harmony.envs.suite import check_suite, suite_modules, suite_tags
from harmony.errors import EnvError


@pytest.mark.parametrize(
    ("target", "task"),
    [
        ("harmony.envs.dmc.DMC", "walker_walk"),
        ("harmony.envs.metaworld.MetaWorld", "lever_pull"),
        ("harmony.envs.probe.ConstantReward", "none"),
    ],
)
def test_what_is_there_passes(target, task):
    check_suite(target, {"task": task, "action_repeat": 1})
    check_suite(target, {})


@pytest.mark.parametrize(
    ("target", "task", "near"),
    [
        ("harmony.envs.dmc.DMC", "walker_wlak", "walker_walk"),
        ("harmony.envs.metaworld.MetaWorld", "lever_pul", "lever_pull"),
    ],
)
def test_an_unknown_task_is_refused(target, task, near):
    with pytest.raises(EnvError, match=near):
        check_suite(target, {"task": task})


@pytest.mark.parametrize(("module", "extra"), [(dmc, "dmc"), (metaworld, "metaworld")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, extra):
    monkeypatch.setattr(module, "REQUIRES", {"no_such_package": extra})
    with pytest.raises(EnvError, match=rf"no_such_package.*harmony-dream\[{extra}\]"):
        check_suite(f"{module.__name__}.Env", {})


def test_a_suite_may_look_for_its_packages_itself(monkeypatch):
    """With the arguments, which may name another interpreter, and before it looks at the task."""
    asked = []

    def check_packages(arguments):
        asked.append(dict(arguments))
        raise EnvError("env dmc: get it from elsewhere")

    monkeypatch.setattr(dmc, "check_packages", check_packages, raising=False)
    with pytest.raises(EnvError, match="get it from elsewhere"):
        check_suite("harmony.envs.dmc.DMC", {"task": "no_such_task"})
    assert asked == [{"task": "no_such_task"}]


def test_a_suite_says_what_results_must_have_in_common():
    arguments = {"time_limit": 250, "action_repeat": 2}
    newer = suite_tags("harmony.envs.metaworld.MetaWorld", arguments)
    assert newer == {"version": "v3", "reward_version": "v2", "horizon": "500"}
    older = suite_tags("harmony.envs.metaworld_v2.MetaWorldV2", arguments)
    assert older == newer | {"version": "v2"}
    games = {"max_frames": 5400, "action_repeat": 4}
    assert suite_tags("harmony.envs.atari100k.Atari100K", games) == {
        "action_repeat": "4", "sticky_actions": "no", "task.max_frames": "5400",
    }  # fmt: skip
    assert suite_tags("harmony.envs.crafter.Crafter", arguments) == {"time_limit": "250"}
    assert suite_tags("harmony.envs.probe.ConstantReward", {}) == {}


def test_a_suite_names_the_modules_that_it_needs():
    assert suite_modules("harmony.envs.atari100k.Atari100K") == ("ale_py", "cv2")
    assert suite_modules("harmony.envs.probe.ConstantReward") == ()


def test_no_simulator_is_imported():
    code = (
        "import sys; from harmony.envs.suite import check_suite;"
        "check_suite('harmony.envs.dmc.DMC', {'task': 'walker_walk'});"
        "check_suite('harmony.envs.metaworld.MetaWorld', {'task': 'hammer'});"
        "print(sorted({'mujoco', 'dm_control', 'metaworld'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
