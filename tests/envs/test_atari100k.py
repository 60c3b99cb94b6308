import sys

import numpy as np
import pytest

from harmony.envs.atari100k import TASKS, Atari100K, check_task
from harmony.errors import EnvError

pytestmark = pytest.mark.sim

SIDE = 8


class FakeAle:
    """Screens of 8 x 8 pixels, of which frame n lights the n-th red one; notes what it is told.

    Args:
        ends_at: frames after which the game is over.
    """

    def __init__(self, ends_at=10_000):
        self.ends_at = ends_at
        self.acts = []
        self.restored = []

    def cloneState(self, *, include_rng):  # noqa: N802 - the simulator's name
        assert include_rng
        return "state"

    def restoreState(self, state):  # noqa: N802 - the simulator's name
        self.restored.append(state)

    def reset_game(self):
        self.acts = []

    def act(self, action):
        self.acts.append(getattr(action, "value", action))
        return len(self.acts)

    def game_over(self):
        return len(self.acts) >= self.ends_at

    def getScreenRGB(self, screen):  # noqa: N802 - the simulator's name
        screen.fill(0)
        screen.reshape(-1, 3)[len(self.acts), 0] = 255


def make_fake(ends_at=10_000, **kwargs):
    env = Atari100K(task="pong", image_size=SIDE, **kwargs)
    env._ale = FakeAle(ends_at)
    env._last, env._before = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    return env


@pytest.fixture(scope="module")
def pong():
    return Atari100K(task="pong")


def lit(observation):
    """Numbers of the frames that a picture of the fake shows."""
    image = observation["image"].reshape(-1, 3)
    assert not image[:, 1:].any()
    return image[:, 0].nonzero()[0].tolist()


def raw_game(task):
    """The simulator itself, without the environment's code."""
    from ale_py import ALEInterface, LoggerMode, roms

    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path(task))
    ale.reset_game()
    return ale


def by_hand(task, start, noops, actions):
    """Picture, reward and end of each agent step under the protocol, and the first picture."""
    import cv2

    def shrink(picture):
        return cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)

    ale = raw_game(task)
    for _ in range(start):  # each reset draws another value of the console's timer
        ale.reset_game()
    for _ in range(noops):
        ale.act(0)
    steps = [(shrink(ale.getScreenRGB()), 0.0, False)]
    minimal = ale.getMinimalActionSet()
    for action in actions:
        frames, rewards = [], []
        while len(frames) < 4 and not ale.game_over():
            rewards.append(ale.act(minimal[action]))
            frames.append(ale.getScreenRGB())
        if len(frames) < 4:
            return steps, sum(rewards)
        steps.append((shrink(np.maximum(frames[2], frames[3])), sum(rewards), ale.game_over()))
    return steps, None


@pytest.mark.parametrize("task", ["breakout", "ms_pacman", "jamesbond", "assault"])
def test_pictures_and_rewards_are_those_of_the_simulator_with_the_protocol_by_hand(task):
    env = Atari100K(task=task)
    actions = np.random.default_rng(2).integers(env.action_space.n, size=400)
    observation, _ = env.reset(seed=6)
    noops = env._ale.getEpisodeFrameNumber()
    drawn = np.random.default_rng(6)
    assert noops == drawn.integers(30) > 0
    steps, rest = by_hand(task, drawn.integers(16), noops, actions)
    np.testing.assert_array_equal(observation["image"], steps[0][0])
    total = 0.0
    for action, (picture, reward, over) in zip(actions, steps[1:], strict=False):
        observation, given, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(observation["image"], picture)
        assert (given, terminated, truncated, info) == (reward, over, False, {})
        total += given
    assert total > 0
    if rest is not None:
        _, given, terminated, _, _ = env.step(actions[len(steps) - 1])
        assert (given, terminated) == (rest, True)
    elif task == "breakout":
        assert terminated


def test_what_was_played_before_does_not_change_an_episode():
    """Assault takes chances from the console's timer, which goes on from reset to reset."""
    used, fresh = Atari100K(task="assault"), Atari100K(task="assault")
    actions = np.random.default_rng(1).integers(used.action_space.n, size=300)

    def play(env, seed):
        return [env.reset(seed=seed)[0]["image"], *(env.step(a)[0]["image"] for a in actions)]

    first = play(used, 3)
    assert not np.array_equal(first, play(used, 4))
    np.testing.assert_array_equal(play(used, 3), first)
    np.testing.assert_array_equal(play(fresh, 3), first)


def test_random_play_loses_lives_without_an_end():
    env = Atari100K(task="breakout")
    rng, terminated, lives = np.random.default_rng(0), False, []
    env.reset(seed=0)
    while not terminated:
        *_, terminated, truncated, _ = env.step(rng.integers(4))
        lives.append(env._ale.lives())
        assert not truncated
    assert sorted(set(lives)) == [0, 1, 2, 3, 4, 5]
    assert terminated == (lives[-1] == 0)


def test_the_picture_is_made_smaller_by_averaging_areas(pong):
    def weights(size, side):
        """Share of each pixel in each smaller one, (side, size)."""
        edges = np.arange(side + 1) * size / side
        starts = np.maximum.outer(edges[:-1], np.arange(size))
        ends = np.minimum.outer(edges[1:], np.arange(size) + 1)
        return np.clip(ends - starts, 0, None) * side / size

    image = pong.reset(seed=4)[0]["image"]
    screen = pong._ale.getScreenRGB().astype(np.float64)
    expected = np.einsum("ij,jkc,lk->ilc", weights(210, 64), screen, weights(160, 64))
    np.testing.assert_allclose(image, expected, atol=1.0)


def test_the_picture_is_upright_and_in_red_green_blue(pong):
    """Pong: brown field, orange player left, green player right, scores at the top."""
    image = pong.reset(seed=0)[0]["image"].astype(int)
    for _ in range(30):
        image = pong.step(0)[0]["image"].astype(int)
    red, green, blue = np.moveaxis(image, -1, 0)
    assert (red[30:55, 20:40] > blue[30:55, 20:40] + 40).all()
    assert (image[:8] - image[40, 2]).any(axis=(1, 2)).any()
    assert (green[15:58, 54:60] > red[15:58, 54:60] + 10).any()
    assert not (green[15:58, 4:12] > red[15:58, 4:12] + 10).any()


def test_no_action_ever_sticks(pong):
    assert pong._ale.getFloat("repeat_action_probability") == 0.0


def test_a_step_shows_the_last_two_frames_and_the_first_picture_one():
    env = make_fake(max_noops=0)
    assert lit(env.reset(seed=0)[0]) == [0]
    assert lit(env.step(0)[0]) == [3, 4]
    assert lit(env.step(0)[0]) == [7, 8]
    assert lit(env.reset(seed=0)[0]) == [0]


def test_a_repeat_of_one_shows_one_frame():
    env = make_fake(max_noops=0, action_repeat=1)
    env.reset(seed=0)
    assert [lit(env.step(0)[0]) for _ in range(2)] == [[1], [2]]


def test_rewards_are_summed_without_clipping_and_noops_give_none():
    env = make_fake(max_noops=0)
    env.reset(seed=0)
    assert env.step(0)[1] == 1 + 2 + 3 + 4
    assert env.step(0)[1] == 5 + 6 + 7 + 8


def test_actions_are_the_games_own():
    env = make_fake(max_noops=0)
    env.reset(seed=0)
    for action in range(6):
        env.step(action)
    # Nothing, fire, right, left, and fire while moving right and left.
    assert env._ale.acts == [code for code in (0, 1, 3, 4, 11, 12) for _ in range(4)]


@pytest.mark.parametrize(
    ("ends_at", "shown", "reward"), [(5, [3, 5], 5), (6, [3, 6], 11), (7, [7], 18), (8, [7, 8], 26)]
)
def test_the_end_of_the_game_ends_the_repeat(ends_at, shown, reward):
    env = make_fake(ends_at=ends_at, max_noops=0)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    observation, given, terminated, truncated, _ = env.step(0)
    assert (lit(observation), given) == (shown, reward)
    assert (terminated, truncated) == (True, False)
    assert len(env._ale.acts) == ends_at


def test_zero_to_29_raw_frames_without_action_as_the_seed_says():
    env = make_fake()
    counts = []
    for seed in range(1000):
        observation, _ = env.reset(seed=seed)
        counts.append(len(env._ale.acts))
        assert set(env._ale.acts) <= {0}
        assert lit(observation) == [counts[-1]]
    assert set(counts) == set(range(30))
    assert abs(np.mean(counts) - 14.5) < 1
    env.reset(seed=7)
    assert len(env._ale.acts) == counts[7]


def test_a_game_that_is_over_before_the_frames_without_action_are_begins_again():
    env = make_fake(ends_at=5, max_noops=1000)
    shown = {tuple(lit(env.reset(seed=seed)[0])) for seed in range(50)}
    assert shown == {(n,) for n in range(5)}


def test_without_a_seed_the_generator_goes_on():
    env = make_fake()

    def counts(seed):
        env.reset(seed=seed)
        found = [len(env._ale.acts)]
        for _ in range(5):
            env.reset()
            found.append(len(env._ale.acts))
        return found

    assert counts(3) == counts(3)
    assert len(set(counts(3))) > 2


@pytest.mark.parametrize(("max_frames", "steps"), [(8, 2), (9, 3), (12, 3)])
def test_the_cap_truncates_after_a_whole_agent_step_and_noops_do_not_count(max_frames, steps):
    env = make_fake(max_frames=max_frames)
    for seed in (1, 2):
        env.reset(seed=seed)
        assert env._ale.acts
        flags = [env.step(0)[2:4] for _ in range(steps)]
        assert flags == [(False, False)] * (steps - 1) + [(False, True)]


def test_a_game_that_ends_at_the_cap_has_ended():
    env = make_fake(ends_at=8, max_noops=0, max_frames=8)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (True, False)]


def test_the_papers_cap_for_chopper_command_is_1350_agent_steps():
    env = make_fake(max_noops=0, max_frames=5400)
    env._ale.getScreenRGB = lambda _: None
    env.reset(seed=0)
    flags = [env.step(0)[2:4] for _ in range(1350)]
    assert flags == [(False, False)] * 1349 + [(False, True)]


def test_scores_of_an_evaluation(pong):
    assert pong.scores([-21.0, 15.0], [{}, {}]) == {"eval/human_normalized": 0.5}
    assert pong.scores([21.0], [{}])["eval/human_normalized"] == pytest.approx(42 / 36)


def test_james_bond_by_both_names():
    one, other = Atari100K(task="james_bond"), Atari100K(task="jamesbond")
    assert one.task == other.task == "jamesbond"
    np.testing.assert_array_equal(one.reset(seed=1)[0]["image"], other.reset(seed=1)[0]["image"])
    assert one.scores([303.0], [{}]) == {"eval/human_normalized": 1.0}


def test_check_task_knows_names_and_aliases():
    for task in (*TASKS, "james_bond"):
        check_task(task)
    assert len(TASKS) == 26
    with pytest.raises(EnvError, match=r"tasks of Atari 100K, got 'mspacman'; .*ms_pacman"):
        check_task("mspacman")
    with pytest.raises(EnvError, match="got 'Pong'; did you mean pong"):
        check_task("Pong")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "tetris"}, "got 'tetris'"),
        ({"max_frames": 0}, r"env\.max_frames: expected 1 or more, got 0"),
        ({"action_repeat": 0}, r"env\.action_repeat: expected 1 or more, got 0"),
        ({"max_noops": -1}, r"env\.max_noops: expected 0 or more, got -1"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(EnvError, match=message):
        Atari100K(**{"task": "pong", **arguments})


@pytest.mark.parametrize("package", ["ale_py", "cv2"])
def test_a_missing_package_says_how_to_get_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvError, match=rf"{package}' is missing; pip .*'harmony-dream\[atari\]'"):
        Atari100K(task="pong")


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_game_resets_and_steps_and_repeats_itself(task):
    def episode(env):
        images = [env.reset(seed=11)[0]["image"]]
        rng, total = np.random.default_rng(0), 0.0
        for _ in range(300):
            observation, reward, *_ = env.step(rng.integers(env.action_space.n))
            images.append(observation["image"])
            total += reward
        return np.stack(images), total

    used, fresh = Atari100K(task=task), Atari100K(task=task)
    for seed in (10, 12, 13):
        used.reset(seed=seed)
        for action in range(used.action_space.n):
            used.step(action)
    (images, total), (others, other_total) = episode(used), episode(fresh)
    np.testing.assert_array_equal(images, others)
    assert total == other_total
    assert images.std() > 5
    assert used.action_space.n == len(raw_game(task).getMinimalActionSet())
