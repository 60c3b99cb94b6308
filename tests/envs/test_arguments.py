import re

import pytest

from harmony.envs.arguments import check_name, check_positive
from harmony.errors import EnvError


def test_counts_of_one_pass_and_zero_is_named():
    check_positive(action_repeat=1, image_size=64)
    with pytest.raises(EnvError, match=r"^env\.image_size: expected 1 or more, got 0$"):
        check_positive(action_repeat=1, image_size=0)


def test_a_typo_names_the_nearest_task():
    with pytest.raises(EnvError, match="3 tasks of toys, got 'walker_wlak'; did you mean walker_w"):
        check_name("walker_wlak", ["walker_walk", "walker_run", "hopper_hop"], "toys")


def test_a_name_like_no_other_still_gets_examples():
    with pytest.raises(EnvError, match=r"got 'zzz'; for example a_task, b_task$"):
        check_name("zzz", ["a_task", "b_task"], "toys")


def test_other_names_are_taken_and_meant_but_not_counted():
    check_name("old_name", ["new_task"], "toys", aliases=["old_name"])
    message = "expected new_task, the only task of toys, got 'old_nam'; did you mean old_name?"
    with pytest.raises(EnvError, match=re.escape(message)):
        check_name("old_nam", ["new_task"], "toys", aliases=["old_name"])


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("pong", "'pong'; pong is a task of env=atari100k; "),
        ("james_bond", "; james_bond is a task of env=atari100k; "),
        ("hunt_cow", "; hunt_cow is a task of env=minedojo; "),
        ("lever_pull", "; lever_pull is a task of env=metaworld, env=metaworld_v2; "),
        ("hopper_hop_", "; did you mean hopper_hop? "),
        ("reach_target", "; reach_target is a task of env=rlbench; "),
        ("walker_wlak", "; did you mean walker_walk? "),
    ],
)
def test_a_task_of_another_suite_names_it_and_the_command_that_lists_the_own(task, told):
    with pytest.raises(EnvError) as raised:
        check_name(task, ["walker_walk", "hopper_hop"], "toys", env="dmc")
    assert str(raised.value).startswith("env.task: expected one of the 2 tasks of toys, got ")
    assert str(raised.value).endswith(
        f"{told}python -m harmony.doctor env=dmc tasks=true lists them"
    )
