import itertools

import numpy as np
import pytest

from harmony.envs.dmc import DMC
from harmony.envs.natural_background import (
    NaturalBackground,
    _texture,
    is_background,
    show_behind,
    tags,
)
from harmony.envs.render import RenderQuality
from harmony.envs.stream import EpisodeStream
from tests.envs.films import make_film

pytestmark = pytest.mark.sim

FAST = RenderQuality(0, 0, cast_shadows=False, reflection=False)
REFLECTING = RenderQuality(0, 0, cast_shadows=False, reflection=True)
FAITHFUL = RenderQuality(512, 4, cast_shadows=True, reflection=True)
MODULE = "harmony.envs.natural_background"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Six clips of five frames; frame i of clip k has the shade 4 + 40 k + 8 i."""
    for clip in range(6):
        make_film(tmp_path / "clips" / f"{clip}.avi", [4 + 40 * clip + 8 * i for i in range(5)])
    return str(tmp_path / "clips")


@pytest.fixture
def shown(monkeypatch):
    """The frames of `folder` that were shown so far, in order, as (clip, index)."""
    seen = []

    def spy(image, frame):
        shade = int(frame[0, 0, 0])
        seen.append((shade // 40, shade % 40 // 8))
        return show_behind(image, frame)

    monkeypatch.setattr(f"{MODULE}.show_behind", spy)
    return seen


def make(folder=None, task="cartpole_swingup", render=FAST, **kwargs):
    return NaturalBackground(task=task, render=render, clips=folder, **kwargs)


def play(env, steps, seed=None):
    env.reset(seed=seed)
    for _ in range(steps):
        env.step(np.zeros(env.action_space.shape, np.float32))


class TestMask:
    def test_blue_must_be_above_both_others(self):
        pixels = [
            ((1, 2, 3), True),
            ((0, 0, 1), True),
            ((200, 200, 255), True),
            ((3, 2, 3), False),  # as red
            ((2, 3, 3), False),  # as green
            ((9, 0, 8), False),
            ((0, 9, 8), False),
            ((0, 0, 0), False),
            ((255, 255, 255), False),
        ]
        image = np.array([[color for color, _ in pixels]], np.uint8)
        assert is_background(image).tolist() == [[masked for _, masked in pixels]]

    def test_the_frame_stands_behind_in_colour_or_grey(self):
        image = np.array([[(1, 2, 3), (3, 2, 1)]], np.uint8)
        colored = np.array([[(50, 60, 70), (80, 90, 100)]], np.uint8)
        assert show_behind(image, colored).tolist() == [[[50, 60, 70], [3, 2, 1]]]
        grey = np.array([[[5], [6]]], np.uint8)
        result = show_behind(image, grey)
        assert result.tolist() == [[[5, 5, 5], [3, 2, 1]]]
        assert result.dtype == np.uint8
        assert image.tolist() == [[[1, 2, 3], [3, 2, 1]]]


# Mean share of masked pixels that the benchmark's own copy of the suite has as episodes begin: the
# cameras of walker and hopper follow the body down, which moves the floor in the picture.
SHARES = {
    "cheetah_run": 0.83,
    "walker_walk": 0.59,
    "hopper_hop": 0.74,
    "cartpole_swingup": 0.97,
    "reacher_easy": 0.91,
    "finger_spin": 0.93,
    "ball_in_cup_catch": 0.99,
    "pendulum_swingup": 0.99,
}
STOCK_SHARES = {
    "cheetah_run": 0.96,
    "walker_walk": 0.92,
    "hopper_hop": 0.97,
    "cartpole_swingup": 0.98,
}
CASES = [
    *(("original", task, share) for task, share in SHARES.items()),
    *(("stock", task, share) for task, share in STOCK_SHARES.items()),
]


def masked_share(monkeypatch, folder, task, look, render):
    shares = []
    monkeypatch.setattr(
        f"{MODULE}.show_behind",
        lambda image, _: shares.append(is_background(image).mean()) or image,
    )
    env = make(folder, task, render, look=look)
    rng = np.random.default_rng(0)
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(8):
            env.step(rng.uniform(-1, 1, env.action_space.shape))
    env.close()
    return np.mean(shares)


@pytest.mark.parametrize(("look", "task", "share"), CASES)
def test_the_masked_share_is_the_benchmarks(monkeypatch, folder, task, look, share):
    """With the plain picture too, since reflection stays on."""
    got = masked_share(monkeypatch, folder, task, look, FAST)
    assert got == pytest.approx(share, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("look", "task", "share"), CASES)
def test_the_masked_share_of_the_full_picture(monkeypatch, folder, task, look, share):
    got = masked_share(monkeypatch, folder, task, look, FAITHFUL)
    assert got == pytest.approx(share, abs=0.03)


class TestLook:
    def test_the_floor_of_a_runner_stays_and_others_floors_do_not(self, tmp_path):
        """The lowest row of the picture is floor in both."""
        make_film(tmp_path / "red" / "red.avi", [200], color=(1, 0, 0))
        for task, stays in (("hopper_hop", True), ("cartpole_swingup", False)):
            image = make(str(tmp_path / "red"), task, grey=False).reset(seed=0)[0]["image"]
            background = (image[-1] == image[0, 0]).all(axis=-1)
            assert background.mean() == (0 if stays else 1), task

    def test_only_colours_differ_from_the_stock_suite(self, folder):
        """Where the picture is not bluish in either look, both show the same."""
        reference = DMC(task="finger_spin", render=REFLECTING).reset(seed=3)[0]["image"]
        image = make(folder, "finger_spin").reset(seed=3)[0]["image"]
        body = reference[..., 0] > reference[..., 2].astype(int) + 40
        assert body.sum() > 100
        assert (image[body] == reference[body]).all()

    def test_tasks_without_the_common_textures_work(self, folder):
        env = make(folder, "lqr_lqr_2_1")
        play(env, 1, seed=0)

    @pytest.mark.parametrize(("task", "dark"), [("walker_walk", 25), ("pendulum_swingup", 102)])
    def test_the_lines_between_the_tiles_are_dark(self, folder, task, dark):
        floor = _texture(make(folder, task)._env.physics.model, "grid")
        assert (floor[[0, -1]] == floor[1, 1]).all()
        assert (floor[:, [0, -1]] == floor[1, 1]).all()
        assert floor[1, 1].tolist() == [25, 25, dark]
        assert (floor[1:-1, 1:-1, 0] == 51).mean() == 0.5

    def test_two_looks_do_not_disturb_each_other(self, folder):
        alone = make(folder, "reacher_easy", look="stock").reset(seed=1)[0]["image"]
        stock = make(folder, "reacher_easy", look="stock")
        make(folder, "reacher_easy").reset(seed=1)
        np.testing.assert_array_equal(stock.reset(seed=1)[0]["image"], alone)


def test_physics_and_rewards_are_those_of_the_plain_task(folder):
    env, plain = make(folder, "cheetah_run"), DMC(task="cheetah_run", render=FAST)
    env.reset(seed=4)
    plain.reset(seed=4)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 6)):
        assert env.step(action)[1:] == plain.step(action)[1:]
    assert env.observation_space == plain.observation_space
    for name, value in env.state().items():
        np.testing.assert_array_equal(value, plain.state()[name])


class TestPlaying:
    def test_one_frame_in_each_agent_step_the_reset_included(self, folder, shown):
        env = make(folder, num_frames=30)
        play(env, 7, seed=1)
        assert len(shown) == 8
        for (clip, frame), later in itertools.pairwise(shown):
            assert later == (clip, frame + 1) if frame < 4 else later[1] == 0

    def test_episodes_go_on_where_the_last_one_ended_and_wrap(self, folder, shown):
        env = make(folder, num_frames=30)
        for seed in range(4):
            play(env, 9, seed=seed)
        assert shown[:10] == shown[30:]
        assert sorted(shown[:30]) == [(clip, frame) for clip in range(6) for frame in range(5)]

    def test_the_first_seed_draws_clips_and_first_frame(self, folder, shown):
        firsts = []
        for seed in (1, 1, 2, 3):
            shown.clear()
            play(make(folder, num_frames=30), 9, seed=seed)
            firsts.append(tuple(shown))
        assert firsts[0] == firsts[1]
        assert len(set(firsts)) == 3

    def test_without_a_seed_it_begins_somewhere(self, folder, shown):
        env = make(folder, num_frames=30)
        play(env, 2)
        assert len(shown) == 3
        assert env.state_dict()["seed"] >= 0

    def test_the_position_outlives_episodes_in_the_state(self, folder, shown):
        used, loaded = make(folder, num_frames=30), make(folder, num_frames=30)
        assert used.state_dict().items() >= {"seed": -1, "position": 0}.items()
        play(used, 3, seed=5)
        state = used.state_dict()
        assert state["seed"] == 5
        shown.clear()
        play(used, 4, seed=6)
        expected = list(shown)
        shown.clear()
        loaded.load_state_dict(state)
        play(loaded, 4, seed=6)
        assert shown == expected
        assert loaded.state_dict() == used.state_dict()

    def test_a_stream_that_is_loaded_shows_the_same_video(self, folder):
        def stream():
            return EpisodeStream(make(folder, num_frames=30), lambda k: 10 + k)

        action = np.zeros(1, np.float32)
        saved, loaded = stream(), stream()
        for _ in range(2):
            saved.reset()
            for _ in range(3):
                saved.step(action)
        loaded.load_state_dict(saved.state_dict())
        for one, other in zip(
            (saved.record, saved.step(action), saved.reset()),
            (loaded.record, loaded.step(action), loaded.reset()),
            strict=True,
        ):
            np.testing.assert_array_equal(one["image"], other["image"])

    def test_a_new_clip_in_each_episode_from_a_frame_that_its_seed_draws(self, folder, shown):
        env = make(folder, new_clip=True)
        for seed in range(12):
            play(env, 6, seed=seed)
        episodes = [shown[7 * k : 7 * k + 7] for k in range(12)]
        for episode in episodes:
            first = episode[0][1]
            assert [frame for _, frame in episode] == [(first + t) % 5 for t in range(7)]
            assert len({clip for clip, _ in episode}) == 1
        assert len({clip for (clip, _), *_ in episodes}) > 3
        assert len({frame for (_, frame), *_ in episodes}) > 2
        shown.clear()
        play(make(folder, new_clip=True), 6, seed=7)
        assert shown == episodes[7]

    def test_at_most_a_hundred_clips_are_drawn_from(self, folder, monkeypatch):
        monkeypatch.setattr(f"{MODULE}._MAX_CLIPS", 2)
        assert [path.name for path in make(folder, new_clip=True)._paths] == ["0.avi", "1.avi"]
        assert len(make(folder)._paths) == 6

    def test_episodes_of_an_evaluation_follow_from_their_seeds_alone(self, folder, shown):
        used = make(folder, num_frames=30, evaluation=True)
        play(used, 9, seed=1)
        play(used, 3, seed=2)
        shown.clear()
        play(used, 9, seed=1)
        again = list(shown)
        shown.clear()
        play(make(folder, num_frames=30, evaluation=True), 9, seed=1)
        assert shown == again

    def test_training_and_evaluation_can_have_clips_of_their_own(self, folder):
        train, evaluation = make(folder, split=True), make(folder, split=True, evaluation=True)
        assert [path.name for path in evaluation._paths] == ["4.avi"]
        assert len(train._paths) == 5
        assert not set(train._paths) & set(evaluation._paths)
        assert make(folder)._paths == make(folder, evaluation=True)._paths

    def test_colours_are_shown_as_they_are(self, tmp_path):
        make_film(tmp_path / "red" / "red.avi", [200] * 2, color=(1, 0.5, 0))
        for grey, expected in ((False, (200, 100, 0)), (True, (118, 118, 118))):
            image = make(str(tmp_path / "red"), grey=grey).reset(seed=0)[0]["image"]
            np.testing.assert_allclose(image[0, 0], expected, atol=4)


def test_results_with_other_clips_or_looks_are_told_apart():
    keys = {"look": "stock", "grey": False, "new_clip": True, "split": True, "num_frames": 1000}
    expected = {
        "look": "stock", "grey": "false", "new_clip": "true", "split": "true", "num_frames": "1000",
    }  # fmt: skip
    assert tags({"clips": None, **keys}) == {"clips": "stand-ins", **expected}
    assert tags({"clips": "/data/kinetics/", **keys})["clips"] == "kinetics"


def test_the_vector_comes_beside_the_picture(folder):
    env = make(folder, observation="both")
    observation, _ = env.reset(seed=0)
    assert list(observation) == ["image", "proprio"]
    assert env.observation_space.contains(observation)
