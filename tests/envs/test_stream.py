import gymnasium
import numpy as np
import pytest

from harmony.envs.probe import ActionReward, CountingEnv, ObservationReward
from harmony.envs.stream import EpisodeStream
from harmony.errors import EnvError


def make(length=3, **kwargs):
    return EpisodeStream(CountingEnv(length=length, image_size=2, **kwargs), lambda k: 100 + k)


def same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], strict=True)


class Tape(ActionReward):
    """Shows a tape that runs on across episodes, as a video in the background does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.position = 0

    def reset(self, *, seed=None, options=None):
        self.position += 1
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.position += 1
        return super().step(action)

    def _color(self, answer):
        del answer
        return (self.position,) * 3

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


class Watched(ActionReward):
    """Remembers the actions that it got."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def step(self, action):
        self.seen.append(action)
        return super().step(action)


class Vague(ActionReward):
    """Not deterministic: the reward depends on how many steps this object ever took."""

    taken = 0

    def _reward(self, answer):
        del answer
        Vague.taken += 1
        return float(Vague.taken)


def test_an_episode_step_by_step():
    stream = make(length=2)
    assert (stream.needs_reset, stream.episode, stream.record) == (True, 0, None)
    first = stream.reset()
    assert (bool(first["is_first"]), bool(first["is_last"]), float(first["reward"])) == (
        True,
        False,
        0,
    )
    assert first["action"].tolist() == [0, 0]
    assert stream.record is first
    middle = stream.step(np.array([0.5, -0.5]))
    assert middle["action"].tolist() == [0.5, -0.5]
    assert middle["image"][0, 0, :2].tolist() == [1, 191]
    assert not middle["is_first"]
    assert not middle["is_last"]
    last = stream.step(np.array([1.0, 0.0]))
    assert bool(last["is_last"])
    assert not last["is_terminal"]
    assert float(last["reward"]) == 2
    assert (stream.needs_reset, stream.episode, stream.record) == (True, 1, None)
    assert (stream.episode_return, stream.episode_length, stream.success) == (3.0, 2, None)
    stream.reset()
    assert (stream.episode, stream.episode_return, stream.episode_length) == (1, 0.0, 0)


def test_termination_is_terminal_and_last():
    stream = make(length=1, terminates=True)
    stream.reset()
    record = stream.step(np.zeros(2))
    assert bool(record["is_terminal"])
    assert bool(record["is_last"])


def test_records_fit_their_spec_in_its_order():
    stream = make()
    records = [stream.reset(), stream.step(np.zeros(2))]
    assert list(stream.record_spec) == [
        *("image", "action", "reward", "is_first", "is_last", "is_terminal")
    ]
    for record in records:
        assert {key: (value.dtype, value.shape) for key, value in record.items()} == (
            stream.record_spec
        )
        assert list(record) == list(stream.record_spec)


def test_episode_k_has_its_own_seed_and_an_open_one_may_be_given_up():
    stream = make()
    blues = [int(stream.reset()["image"][0, 0, 2]) for _ in range(3)]
    assert stream.episode == 2
    env = CountingEnv(image_size=2)
    expected = [int(env.reset(seed=100 + k)[0]["image"][0, 0, 2]) for k in range(3)]
    assert blues == expected


def test_success_is_any_step():
    stream = EpisodeStream(ActionReward(image_size=2), lambda k: k)
    stream.reset()
    assert stream.success is None
    seen = []
    for value in (0.0, 1.0, 0.0):
        stream.step(np.array([value, 0.0]))
        seen.append(stream.success)
    assert seen == [False, True, True]


def test_discrete_actions_are_one_hot():
    stream = EpisodeStream(ActionReward(discrete=True, num_actions=3, image_size=2), lambda k: k)
    assert stream.reset()["action"].tolist() == [0, 0, 0]
    record = stream.step(np.array([0.0, 0.0, 1.0]))
    assert (record["action"].tolist(), float(record["reward"])) == ([0, 0, 1], -1.0)
    assert float(stream.step(np.array([1.0, 0.0, 0.0]))["reward"]) == 1.0


def test_multi_discrete_actions_are_one_hot_in_each_component():
    env = Watched(nvec=[3, 3, 4, 5, 3], image_size=2)
    stream = EpisodeStream(env, lambda k: k)
    assert stream.record_spec["action"] == (np.dtype(np.float32), (18,))
    assert stream.reset()["action"].tolist() == [0] * 18
    choices = [2, 0, 3, 4, 1]
    onehots = [np.eye(n)[k] for n, k in zip([3, 3, 4, 5, 3], choices, strict=True)]
    record = stream.step(np.concatenate(onehots))
    (seen,) = env.seen
    assert (seen.dtype, seen.shape, seen.tolist()) == (np.int64, (5,), choices)
    assert env.action_space.contains(seen)
    assert record["action"].tolist() == np.concatenate(onehots).tolist()
    with pytest.raises(ValueError, match="expected 18 finite action values"):
        stream.step(np.array(choices, np.float32))


def test_choices_may_be_counted_from_elsewhere():
    env = Watched(discrete=True, image_size=2)
    env.action_space = gymnasium.spaces.Discrete(2, start=5)
    stream = EpisodeStream(env, lambda k: k)
    stream.reset()
    stream.step(np.array([0.0, 1.0]))
    assert env.seen == [6]
    env = Watched(nvec=[2, 2], image_size=2)
    env.action_space = gymnasium.spaces.MultiDiscrete([2, 3], start=[5, -1])
    stream = EpisodeStream(env, lambda k: k)
    stream.reset()
    stream.step(np.array([0.0, 1.0, 0.0, 0.0, 1.0]))
    assert env.seen[0].tolist() == [6, 1]


def test_a_step_needs_an_open_episode():
    stream = make(length=1)
    with pytest.raises(RuntimeError, match=r"expected reset\(\) before step"):
        stream.step(np.zeros(2))
    stream.reset()
    stream.step(np.zeros(2))
    with pytest.raises(RuntimeError, match=r"expected reset\(\) before step"):
        stream.step(np.zeros(2))


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0]), np.array([np.inf, 0])])
def test_a_bad_action_is_refused_before_the_env_sees_it(action):
    stream = make()
    stream.reset()
    with pytest.raises(ValueError, match="expected 2 finite action values"):
        stream.step(action)
    assert stream.episode_length == 0


def test_the_callers_action_array_may_be_reused():
    stream = make()
    stream.reset()
    action = np.array([0.5, 0.5], np.float32)
    record = stream.step(action)
    action[:] = -1
    record["action"][:] = 9
    assert stream.state_dict()["actions"].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("steps", [0, 1, 4, 5, 6])
def test_a_loaded_stream_continues_as_the_saved_one(steps):
    def make_random():
        return EpisodeStream(ObservationReward(length=5, image_size=2), lambda k: 3 * k)

    saved, rng = make_random(), np.random.default_rng(0)
    saved.reset()
    for _ in range(steps):
        if saved.needs_reset:
            saved.reset()
        saved.step(rng.uniform(-1, 1, 2))
    loaded = make_random()
    loaded.reset()
    loaded.load_state_dict(saved.state_dict())
    names = ("episode", "needs_reset", "success")
    for name in names:
        assert getattr(loaded, name) == getattr(saved, name)
    if saved.record is not None:
        same(loaded.record, saved.record)
    for _ in range(7):
        if saved.needs_reset:
            same(saved.reset(), loaded.reset())
        action = rng.uniform(-1, 1, 2)
        same(saved.step(action), loaded.step(action))
        assert saved.episode_return == loaded.episode_return


def test_state_is_numbers_and_arrays():
    stream = EpisodeStream(Tape(image_size=2), lambda k: k)
    stream.reset()
    stream.step(np.array([0.25, 0.5]))
    state = stream.state_dict()
    assert state.pop("actions").tolist() == [[0.25, 0.5]]
    assert state == {
        "episode": 0,
        "open": True,
        "seed": 0,
        "episode_return": 0.25,
        "env": {"position": 0},
    }


@pytest.mark.parametrize("steps", [0, 2, 3, 4])
def test_state_that_outlives_an_episode_is_that_of_its_beginning(steps):
    saved = EpisodeStream(Tape(length=3, image_size=2), lambda k: k)
    saved.reset()
    for _ in range(steps):
        if saved.needs_reset:
            saved.reset()
        saved.step(np.zeros(2))
    loaded = EpisodeStream(Tape(length=3, image_size=2), lambda k: k)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.env.position == saved.env.position
    for _ in range(4):
        if saved.needs_reset:
            same(saved.reset(), loaded.reset())
        same(saved.step(np.zeros(2)), loaded.step(np.zeros(2)))


def test_state_of_another_env_is_refused():
    saved = EpisodeStream(Tape(image_size=2), lambda k: k)
    with pytest.raises(EnvError, match=r"load_state_dict\(\); got CountingEnv"):
        make().load_state_dict(saved.state_dict())


def test_an_episode_that_cannot_be_replayed_is_told_and_passed_over():
    saved = EpisodeStream(Vague(image_size=2), lambda k: k)
    saved.reset()
    saved.step(np.zeros(2))
    loaded = EpisodeStream(Vague(image_size=2), lambda k: k)
    with pytest.raises(EnvError, match=r"episode 0 can't be brought back: expected return 1\.0"):
        loaded.load_state_dict(saved.state_dict())
    assert (loaded.episode, loaded.needs_reset) == (1, True)
    loaded.reset()
    assert loaded.episode == 1


def test_an_env_that_says_it_cannot_repeat_itself_is_not_asked_to():
    saved, loaded = (EpisodeStream(Watched(image_size=2), lambda k: k) for _ in range(2))
    loaded.env.deterministic = False
    saved.reset()
    saved.step(np.zeros(2))
    with pytest.raises(EnvError, match="episode 0 can't be brought back: its simulator does not"):
        loaded.load_state_dict(saved.state_dict())
    assert (loaded.episode, loaded.needs_reset, loaded.env.seen) == (1, True, [])
    loaded.reset()
    assert loaded.episode == 1


def test_an_episode_that_ends_too_early_is_told_and_passed_over_once():
    saved, loaded = make(length=5), make(length=2)
    saved.reset()
    for _ in range(3):
        saved.step(np.zeros(2))
    with pytest.raises(EnvError, match=r"after 3 steps, got 3\.0 after 2"):
        loaded.load_state_dict(saved.state_dict())
    assert (loaded.episode, loaded.needs_reset) == (1, True)


def test_spaces_that_make_no_record_are_refused():
    env = CountingEnv(image_size=2)
    env.observation_space = env.observation_space["image"]
    with pytest.raises(TypeError, match="expected a Dict observation space"):
        EpisodeStream(env, lambda k: k)
    env = CountingEnv(image_size=2)
    env.action_space = gymnasium.spaces.MultiDiscrete([[2, 2]])
    with pytest.raises(TypeError, match=r"expected a Box \(A,\), Discrete or one-dimensional"):
        EpisodeStream(env, lambda k: k)


def test_action_repeat_is_that_of_the_env_below_wrappers():
    env = gymnasium.wrappers.TimeLimit(CountingEnv(action_repeat=4, image_size=2), 2)
    stream = EpisodeStream(env, lambda k: k)
    assert stream.action_repeat == 4
    stream.reset()
    stream.step(np.zeros(2))
    assert bool(stream.step(np.zeros(2))["is_last"])
