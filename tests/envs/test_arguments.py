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
    with pytest.raises(EnvError, match="did you mean a_task, b_task"):
        check_name("zzz", ["a_task", "b_task"], "toys")
