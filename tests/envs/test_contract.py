"""What every environment of the package promises, for one or more of each suite."""

import collections
import inspect
import pickle

import gymnasium
import numpy as np
import pytest

from harmony.envs.stream import EpisodeStream
from harmony.errors import EnvError
from tests.envs.factories import FACTORIES, UNSEEDED

every_env = pytest.mark.parametrize("make", FACTORIES)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Decoded clips lie apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pool():
    """Environments that earlier tests have used, by factory: seeds make them as good as new."""
    envs = collections.defaultdict(list)
    yield envs
    for used in envs.values():
        for env in used:
            env.close()


@pytest.fixture(scope="module")
def beginnings():
    """What fresh environments say of what outlives an episode, by factory."""
    return {}


@pytest.fixture
def stream_of(pool, beginnings):
    """Makes streams, over environments of the pool unless a fresh one is asked for.

    What outlives an episode is taken back to how it began.
    """
    lent = []

    def open_stream(make, first_seed=40, fresh=False):
        env = pool[make].pop() if pool[make] and not fresh else make()
        if hasattr(env, "state_dict"):
            env.load_state_dict(beginnings.setdefault(make, env.state_dict()))
        lent.append((make, env))
        return EpisodeStream(env, lambda k: first_seed + k)

    yield open_stream
    for make, env in lent:
        pool[make].append(env)


def actions_for(stream, count, seed=0):
    rng = np.random.default_rng(seed)
    _, (size,) = stream.record_spec["action"]
    if isinstance(stream.action_space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete):
        sizes = np.atleast_1d(getattr(stream.action_space, "nvec", size))
        onehots = [np.eye(n, dtype=np.float32)[rng.integers(n, size=count)] for n in sizes]
        return np.concatenate(onehots, axis=1)
    return rng.uniform(-1, 1, (count, size)).astype(np.float32)


def roll(stream, actions):
    """Records of one episode under the actions, or as many of them as it takes."""
    records = [stream.reset()]
    for action in actions:
        if stream.needs_reset:
            break
        records.append(stream.step(action))
    return records


def go_on(stream, action):
    """The next record: of a new episode where the last one is over."""
    return stream.reset() if stream.needs_reset else stream.step(action)


def same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], strict=True)


@every_env
def test_spaces_and_what_comes_out_agree(make, stream_of):
    stream = stream_of(make)
    env = stream.env
    for name, space in env.observation_space.items():
        if name == "image":
            assert space.dtype == np.uint8
            assert space.shape[0] == space.shape[1]
            assert space.shape[2] == 3
            assert (space.low.min(), space.high.max()) == (0, 255)
        else:
            assert space.dtype == np.float32
            assert len(space.shape) == 1
    observation, info = env.reset(seed=3)
    assert isinstance(info, dict)
    assert env.observation_space.contains(observation)
    for _ in range(3):
        env.action_space.seed(0)
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert type(reward) is float
        assert type(terminated) is type(truncated) is bool
        assert type(info.get("success", True)) is bool
        if terminated or truncated:
            env.reset(seed=4)


@every_env
def test_actions_are_bounded_by_one(make, stream_of):
    space = stream_of(make).action_space
    if isinstance(space, gymnasium.spaces.Box):
        assert space.dtype == np.float32
        assert (space.low == -1).all()
        assert (space.high == 1).all()


@every_env
def test_records_fit_the_spec_and_their_flags_the_episode(make, stream_of):
    stream = stream_of(make)
    records = roll(stream, actions_for(stream, 9))
    for record in records:
        assert {key: (value.dtype, value.shape) for key, value in record.items()} == (
            stream.record_spec
        )
    assert [bool(record["is_first"]) for record in records] == [True] + [False] * (len(records) - 1)
    assert [bool(record["is_last"]) for record in records[:-1]] == [False] * (len(records) - 1)
    assert bool(records[-1]["is_last"]) == stream.needs_reset
    assert not any(record["is_terminal"] for record in records[:-1])
    assert not records[0]["action"].any()
    assert float(records[0]["reward"]) == 0


@every_env
def test_truncation_is_not_termination(make, stream_of):
    stream = stream_of(make)
    last = roll(stream, actions_for(stream, 9))[-1]
    if last["is_last"]:
        assert ("terminated" if last["is_terminal"] else "truncated") in make.ends


@every_env
def test_the_same_seed_gives_the_same_episode_bit_for_bit(make, stream_of):
    first, second = stream_of(make), stream_of(make)
    actions = actions_for(first, 6)
    same(roll(first, actions), roll(second, actions))
    assert first.episode_return == second.episode_return


@every_env
def test_another_seed_gives_another_episode(make, stream_of):
    if make.func in UNSEEDED:
        pytest.skip("nothing in it is random")
    first, second = stream_of(make, first_seed=40), stream_of(make, first_seed=92)
    actions = actions_for(first, 6)
    key = next(iter(first.observation_space))
    seen = [record[key] for record in roll(first, actions)]
    # A small world begins in few ways, so one other seed is not enough.
    others = ([record[key] for record in roll(second, actions)] for _ in range(8))
    assert any(not np.array_equal(seen, other) for other in others)


@every_env
def test_a_used_env_equals_a_fresh_one(make, stream_of):
    used, fresh = stream_of(make, first_seed=40), stream_of(make, first_seed=41, fresh=True)
    roll(used, actions_for(used, 6, seed=1))
    if hasattr(used.env, "state_dict"):
        used.env.load_state_dict(fresh.env.state_dict())
    actions = actions_for(used, 6, seed=2)
    same(roll(used, actions), roll(fresh, actions))


@every_env
def test_instances_share_no_state(make, stream_of):
    """Stepping one in between changes nothing in the other."""
    alone, watched, other = (stream_of(make) for _ in range(3))
    actions = actions_for(alone, 5)
    expected = roll(alone, actions)
    other.seed_of = lambda k: 7 + k
    other.reset()
    records = [watched.reset()]
    for action in actions[: len(expected) - 1]:
        go_on(other, -action if other.record_spec["action"][1] != (3,) else action)
        records.append(watched.step(action))
    same(records, expected)


@every_env
def test_a_state_has_the_same_quantities_at_every_step(make, stream_of):
    stream = stream_of(make)
    if not hasattr(stream.env, "state"):
        pytest.skip("tells none")
    states = []
    for seed in (1, 1, 2):
        stream.env.reset(seed=seed)
        told = [stream.env.state()]
        for action in actions_for(stream, 3):
            _, _, *ends, _ = stream.env.step(stream.to_env(action))
            told.append(stream.env.state())
            if any(ends):
                break
        states.append(told)
    assert {
        tuple((name, value.dtype, value.shape) for name, value in state.items())
        for told in states
        for state in told
    } == {tuple((name, np.dtype(np.float64), value.shape) for name, value in told[0].items())}
    assert all(value.ndim == 1 for value in told[0].values())
    same(states[0], states[1])


@every_env
def test_reading_the_state_changes_nothing(make, stream_of):
    asked, left_alone = stream_of(make), stream_of(make)
    if not hasattr(asked.env, "state"):
        pytest.skip("tells none")
    actions = actions_for(asked, 4)
    records, states = [asked.reset()], []
    for action in actions:
        states.append(asked.env.state())
        same([asked.env.state()], [states[-1]])
        if asked.needs_reset:
            break
        records.append(asked.step(action))
    same(records, roll(left_alone, actions))
    # What was told before stays as it was; a step may change nothing, such as one into a wall.
    assert any((states[0][name] != state[name]).any() for state in states for name in state)


@every_env
def test_records_stay_as_they_were(make, stream_of):
    stream = stream_of(make)
    actions = actions_for(stream, 3)
    record = stream.reset()
    before = {key: value.copy() for key, value in record.items()}
    for action in actions:
        go_on(stream, action)
    same([record], [before])


@every_env
@pytest.mark.parametrize("taken", [0, 3])
def test_a_stream_loaded_in_mid_episode_continues_identically(make, stream_of, taken):
    saved, loaded = stream_of(make), stream_of(make)
    roll(saved, actions_for(saved, 4, seed=5))
    for seed in range(6, 16):  # until an episode is still open, where they are short
        roll(saved, actions_for(saved, taken, seed=seed))
        if not saved.needs_reset:
            break
    assert not saved.needs_reset
    state = pickle.loads(pickle.dumps(saved.state_dict()))
    if not getattr(saved.env, "deterministic", True):
        with pytest.raises(EnvError, match=f"episode {saved.episode} can't be brought back"):
            loaded.load_state_dict(state)
        assert (loaded.episode, loaded.needs_reset) == (saved.episode + 1, True)
        return
    loaded.load_state_dict(state)
    same([loaded.record], [saved.record])
    assert (loaded.episode, loaded.episode_length) == (saved.episode, taken)
    assert loaded.success == saved.success
    for action in actions_for(saved, 3, seed=7):
        same([go_on(saved, action)], [go_on(loaded, action)])
    same([saved.reset()], [loaded.reset()])


@every_env
def test_the_factory_can_be_sent_to_another_process(make, stream_of):
    copy = pickle.loads(pickle.dumps(make))
    first, second = stream_of(make), stream_of(copy)
    same([first.reset()], [second.reset()])


@every_env
def test_closing_twice_does_no_harm(make):
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()


@every_env
def test_action_repeat_is_told(make, stream_of):
    argument = inspect.signature(make).parameters.get("action_repeat")
    assert stream_of(make).action_repeat == (argument.default if argument else 1)
