"""A run with several environments: what happens when, and that losses and stops change no more."""

import functools
import os
import signal

import numpy as np
import pytest

from harmony.__main__ import main
from harmony.envs.pool import EnvLost
from harmony.envs.probe import encode_action
from harmony.training.seeding import Seeds
from harmony.training.signals import Stopped
from tests import fragile, tiny
from tests.integration.test_kills import assert_same

THREE = (
    "envs.num_envs=3", "training.env_steps=160", "replay.capacity=1000", "replay.min_length=1",
)  # fmt: skip
SPAWN = "envs=spawn"


@pytest.fixture(autouse=True)
def quick_and_closed(monkeypatch):
    # No power fails here, so nothing needs to reach the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    yield
    tiny.close()


def seed_of(env, episode):
    return Seeds(0).integer("env", env, episode)


def make(run_dir, *overrides, stop=None, env=fragile.Fragile, **trouble):
    """A trainer whose episodes end at uneven times, with trouble in those of training."""

    def factory(config, *, evaluation=False):
        given = {key: value for key, value in config["env"].items() if key[0] != "_"}
        seeds = {} if evaluation else trouble
        return functools.partial(env, **given, **seeds, uneven=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harmony.build.env_factory", factory)
        return tiny.trainer(run_dir, *overrides, stop=stop)


def finish(run_dir, *overrides, stops=(), **trouble):
    """The final state of a run that is stopped, and started again, at these counts of questions."""
    for count in stops:
        with pytest.raises(Stopped):
            make(run_dir, *overrides, stop=tiny.StopAt(count), **trouble).run()
        tiny.close()
    trainer = make(run_dir, *overrides, **trouble)
    trainer.run()
    return tiny.final_state(trainer)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("calm"), *THREE)


def told(trainer):
    """Each environment's episodes in the replay, the open one too, as lists of records."""
    index, segments = trainer.replay._episodes, trainer.replay._segments
    starts, lengths = (part.tolist() for part in index.arrays())
    spans = [*zip(starts, lengths, strict=True)]
    spans += [*zip(index.open_starts, index.open_lengths, strict=True)]
    episodes = {env: [] for env in range(trainer.pool.num_envs)}
    for start, length in sorted(spans):
        records = [record for _, part in segments.read(start, length) for record in part]
        if records:
            episodes[start // (10**6 * segments.segment_steps)].append(records)
    return episodes


def check_episode(records, seed):
    """Nothing lost, doubled or mixed up: every picture says when it is, and what led to it."""
    blue = fragile.Fragile(image_size=2).reset(seed=seed)[0]["image"][0, 0, 2]
    for step, record in enumerate(records):
        assert record["image"][0, 0].tolist() == [
            step,
            encode_action(float(record["action"][0])),
            blue,
        ]
        assert record["reward"] == 2 * step  # the action repeat
        assert record["is_first"] == (step == 0)
        assert not record["is_terminal"]
    assert not any(record["is_last"] for record in records[:-1])


def check_replay(trainer):
    """All that was played is there, once; gives the episodes."""
    episodes = told(trainer)
    steps = 0
    for env, its in episodes.items():
        for episode, records in enumerate(its):
            check_episode(records, seed_of(env, episode))
            steps += len(records) - 1
        assert all(records[-1]["is_last"] for records in its[:-1])
        stream = trainer.pool.streams[env]
        assert len(its) == stream.episode + (not stream.needs_reset)
    assert steps == trainer.progress.agent_step
    return episodes


def test_the_schedule_counts_the_steps_of_all(tmp_path, monkeypatch):
    overrides = ("envs.num_envs=4", "training.env_steps=160", "training.train_every_agent_steps=6",
                 "replay.capacity=1000")  # fmt: skip
    trainer = tiny.trainer(tmp_path, *overrides)
    updates, acted = [], []
    update, act_all = trainer.agent.update, trainer.player.act_all
    monkeypatch.setattr(
        trainer.agent,
        "update",
        lambda batch: (updates.append(trainer.progress.agent_step), update(batch))[1],
    )
    monkeypatch.setattr(
        trainer.player,
        "act_all",
        lambda records: (
            acted.append((trainer.progress.agent_step, len(records))),
            act_all(records),
        )[1],
    )
    progress = trainer.run()
    # Twelve random steps are asked for; the four episodes of ten are played to their ends.
    assert acted == [(step, 4) for step in range(40, 80, 4)]
    # 42, 48, 54, 60, 66, 72 and 78 are multiples of six; the rounds end at multiples of four.
    assert updates == [40, 40, 40, 44, 48, 56, 60, 68, 72, 80]
    assert (progress.agent_step, progress.env_step, progress.episodes) == (80, 160, 8)
    assert trainer.player.carry.action.shape == (4, 2)
    rows = [row for row in tiny.rows(tmp_path) if "episode/return" in row]
    # Four episodes end in a round, each at the step that ended it.
    assert [row["env_step"] for row in rows] == [74, 76, 78, 80, 154, 156, 158, 160]


def test_a_train_ratio_counts_the_steps_of_all(tmp_path):
    trainer = tiny.trainer(tmp_path, "envs.num_envs=5", "training.train_ratio=6")
    progress = trainer.run()
    # Fifty steps of the prefill; three updates in four agent steps after it, if there were any.
    assert progress.agent_step == 50
    assert trainer.agent.updates == 3
    more = tiny.trainer(tmp_path / "more", "envs.num_envs=5", "training.train_ratio=6",
                        "training.env_steps=200")  # fmt: skip
    more.run()
    assert more.agent.updates == 3 + 75 - 37


def test_in_the_prefill_who_has_ended_waits_for_the_others(tmp_path):
    trainer = make(tmp_path, *THREE)
    lengths = [10 - seed_of(env, 0) % 4 for env in range(3)]
    assert len(set(lengths)) > 1
    while not trainer.progress.prefilled:
        trainer.next_action()()
    assert trainer.progress.agent_step == sum(lengths)
    assert [stream.episode for stream in trainer.pool.streams] == [1, 1, 1]
    assert [len(its) for its in check_replay(trainer).values()] == [1, 1, 1]


def test_uneven_episodes_are_whole_in_the_replay(tmp_path):
    trainer = make(tmp_path, *THREE)
    trainer.run()
    episodes = check_replay(trainer)
    ends = {env: tuple(len(records) for records in its) for env, its in episodes.items()}
    assert len(set(ends.values())) == 3


def test_tallies_of_all_environments_become_one_score(calm):
    blues = []
    for row in calm["rows"]:
        if "episode/return" not in row:
            continue
        blues.append(row["episode/mean_blue"] * (len(blues) + 1) - sum(blues))
    episodes = {round(blue, 6) for blue in blues}
    drawn = [fragile.Fragile(image_size=2) for _ in range(3)]
    expected = {
        float(env.reset(seed=seed_of(number, episode))[0]["image"][0, 0, 2])
        for number, env in enumerate(drawn)
        for episode in range(5)
    }
    assert len(blues) > 3
    assert episodes <= expected
    progress = calm["state"]["progress"]
    assert progress["tallied"] == progress["episodes"] == len(blues)
    assert progress["tallies"] == {"blue": pytest.approx(sum(blues))}


def test_workers_change_nothing(calm, tmp_path):
    assert_same(finish(tmp_path, *THREE, SPAWN), calm)


@pytest.mark.parametrize("stops", [(4,), (10,), (61,), (7, 30, 50, 12)])
def test_stopped_and_continued_equals_calm_bit_for_bit(calm, tmp_path, stops):
    assert_same(finish(tmp_path, *THREE, stops=stops), calm)


@pytest.mark.parametrize("stops", [(58, 20)])
def test_stopped_and_continued_with_workers(calm, tmp_path, stops):
    assert_same(finish(tmp_path, *THREE, SPAWN, stops=stops), calm)


def test_stopped_and_continued_with_a_ratio_and_the_stream(tmp_path):
    overrides = (*THREE, "training.train_ratio=6", "replay.sequences=stream")
    calm = finish(tmp_path / "calm", *overrides, "replay.capacity=60")
    assert_same(
        finish(tmp_path / "stopped", *overrides, "replay.capacity=60", stops=(60, 15)), calm
    )


class PulledPlug(Exception):  # noqa: N818
    """The process is gone without a word."""


@pytest.mark.parametrize("where", [(), (SPAWN,)])
def test_a_killed_process_goes_on_from_its_last_checkpoint(calm, tmp_path, where):
    def pull():
        if trainer.stop.asked >= 70:
            raise PulledPlug

    trainer = make(tmp_path, *THREE, *where)
    check = trainer.stop.check
    trainer.stop.check = lambda: (check(), pull())
    with pytest.raises(PulledPlug):
        trainer.run()
    assert trainer.progress.agent_step > trainer.checkpoints.steps()[-1]
    tiny.close()
    assert_same(finish(tmp_path, *THREE, *where), calm)


def test_lost_workers_in_mid_run(tmp_path):
    trouble = {
        "die": [seed_of(0, 1)],
        "raises": [seed_of(1, 2), seed_of(2, 0)],
        "hang": [seed_of(2, 2)],
    }
    overrides = (*THREE, SPAWN, "envs.timeout_s=4.0")
    trainer = make(tmp_path, *overrides, **trouble)
    progress = trainer.run()
    assert progress.env_step >= 160
    assert trainer.pool.restarts == 4
    rows = tiny.rows(tmp_path)
    assert [row["env/restarts"] for row in rows if "env/restarts" in row][-1] == 4
    episodes = check_replay(trainer)
    # They end with the record before the third step, as if by a time limit.
    for env, episode in ((0, 1), (1, 2), (2, 0), (2, 2)):
        assert len(episodes[env][episode]) == 3
        assert episodes[env][episode][-1]["is_last"]
    given_up = sum(len(its) for its in episodes.values()) - progress.episodes
    assert given_up == 4 + len(trainer.pool.open)


def test_stopped_and_continued_with_lost_workers(tmp_path):
    # The losses belong to their seeds here, so that a run that is stopped meets the same ones.
    trouble = {"die": [seed_of(0, 1)], "raises": [seed_of(1, 1), seed_of(2, 0)]}
    one = finish(tmp_path / "calm", *THREE, SPAWN, **trouble)
    assert one["state"]["envs"]["restarts"] == 3
    assert_same(finish(tmp_path / "stopped", *THREE, SPAWN, stops=(40, 30), **trouble), one)


def test_stopped_and_continued_with_lost_simulators_in_the_process(tmp_path):
    refuses = [seed_of(0, 1), seed_of(1, 1), seed_of(2, 0), seed_of(2, 1)]
    trouble = {"env": fragile.Refusing, "refuses": refuses}
    trainer = make(tmp_path / "calm", *THREE, **trouble)
    trainer.run()
    assert trainer.pool.restarts == 4
    episodes = check_replay(trainer)
    for env, episode in ((0, 1), (1, 1), (2, 0), (2, 1)):
        assert len(episodes[env][episode]) == 3
        assert episodes[env][episode][-1]["is_last"]
    rows = [row["env/restarts"] for row in tiny.rows(tmp_path / "calm") if "env/restarts" in row]
    assert rows[-1] == 4
    calm = tiny.final_state(trainer)
    assert_same(finish(tmp_path / "stopped", *THREE, stops=(40, 30), **trouble), calm)
    # Workers lose the same episodes.
    assert_same(finish(tmp_path / "spawned", *THREE, SPAWN, **trouble), calm)


def test_workers_killed_from_outside(tmp_path):
    class Killer(tiny.StopAt):
        def check(self):
            super().check()
            if self.asked in (5, 60, 75):
                os.kill(trainer.pool._envs[self.asked % 3]._process.pid, signal.SIGKILL)

    trainer = make(tmp_path, *THREE, SPAWN, stop=Killer())
    trainer.run()
    assert trainer.pool.restarts == 3
    check_replay(trainer)


def test_too_many_losses_end_the_run(tmp_path):
    seeds = [seed_of(1, episode) for episode in range(2)]
    trainer = make(tmp_path, *THREE, SPAWN, "envs.max_crashes=2", raises=seeds)
    with pytest.raises(EnvLost, match=rf"ValueError: the arm of seed {seeds[1]} fell off$"):
        trainer.run()


def test_the_command_ends_with_the_workers_own_error(tmp_path, monkeypatch, capsys):
    seeds = [seed_of(0, episode) for episode in range(3)]
    factory = functools.partial(fragile.Fragile, image_size=8, length=10, raises=seeds)
    monkeypatch.setattr("harmony.build.env_factory", lambda *_, **__: factory)
    assert main([*tiny.overrides_of(SPAWN), f"run_dir={tmp_path / 'run'}"]) == 1
    why = f"ValueError: the arm of seed {seeds[2]} fell off"
    shown = " ".join(" ".join(capsys.readouterr()).split())
    assert f"error: env 0, episode 2: its worker raised {why}" in shown
    error = (tmp_path / "run" / "error.txt").read_text()
    assert "in _trouble" in error
    assert why in error
    assert (tmp_path / "run" / "envs" / "env-0.log").read_text().count("Traceback") == 3


def test_the_command_ends_with_the_simulators_own_words(tmp_path, monkeypatch, capsys):
    seeds = [seed_of(0, episode) for episode in range(3)]
    factory = functools.partial(fragile.Refusing, image_size=8, length=10, refuses=seeds)
    monkeypatch.setattr("harmony.build.env_factory", lambda *_, **__: factory)
    assert main([*tiny.overrides_of(), f"run_dir={tmp_path / 'run'}"]) == 1
    shown = " ".join(" ".join(capsys.readouterr()).split())
    assert "error: env 0, episode 2: env fragile: step() gave no answer; 3 times in a row" in shown
    assert f"no licence for {seeds[2]}" in shown
    assert "SimulatorError" in (tmp_path / "run" / "error.txt").read_text()


def test_no_environment_is_refused_before_a_directory_is_made(tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert main(["env=probe", "envs.num_envs=0", f"run_dir={run_dir}"]) == 2
    assert capsys.readouterr().err == "error: envs.num_envs must be at least 1, got 0\n"
    assert not run_dir.exists()


def test_the_key_where_one_would_look_for_it_names_the_right_one(capsys):
    assert main(["env=probe", "env.num_envs=4"]) == 2
    assert "did you mean 'envs.num_envs'?" in capsys.readouterr().err


def test_random_actions_are_drawn_in_the_order_of_the_environments(tmp_path):
    trainer = tiny.trainer(tmp_path, "envs.num_envs=3")
    trainer.next_action()()
    rng = Seeds(0).numpy("prefill")
    expected = [rng.uniform(-np.ones(2), np.ones(2)).astype(np.float32) for _ in range(3)]
    for env, its in told(trainer).items():
        assert its[0][1]["action"].tolist() == expected[env].tolist()
