"""The loop: what happens when, and that stopping, damage and bad numbers change nothing else."""

import itertools
import logging
import types

import pytest

from harmony.errors import CheckpointError, ConfigError
from harmony.training.signals import Stopped
from tests import tiny
from tests.integration.test_kills import assert_same

TWO_UPDATES = "training.updates_per_train=2"


@pytest.fixture(autouse=True)
def quick_and_closed(monkeypatch):
    # No power fails here, so nothing needs to reach the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    yield
    tiny.close()


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The final state of a run that nothing disturbed, and how often it could have stopped."""
    trainer = tiny.trainer(tmp_path_factory.mktemp("calm"))
    trainer.run()
    return tiny.final_state(trainer), trainer.stop.asked


def run_until(run_dir, count):
    """A new process's share of a run: stopped when it asks for the count-th time."""
    trainer = tiny.trainer(run_dir, stop=tiny.StopAt(count))
    try:
        trainer.run()
    except Stopped:
        return None
    return trainer


def record(trainer, monkeypatch):
    """Writes down (what, agent step, env step) of everything that the trainer does."""
    events = []

    def watch(owner, name, what):
        original = getattr(owner, name)

        def watched(*args, **kwargs):
            events.append((what, trainer.progress.agent_step, trainer.progress.env_step))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(trainer.agent, "update", "update")
    watch(trainer.evaluator, "evaluate", "evaluate")
    watch(trainer.evaluator, "evaluate_random", "random")
    watch(trainer.checkpoints, "save", "save")
    watch(trainer.pool.streams[0], "reset", "reset")
    watch(trainer.player, "act_all", "act")
    watch(trainer.journal, "means_row", "means")
    return events


def test_the_schedule_to_the_step(tmp_path, monkeypatch):
    # Episodes of 10 agent steps, action repeat 2; prefill of 12 ends with the second episode.
    trainer = tiny.trainer(tmp_path, TWO_UPDATES)
    events = record(trainer, monkeypatch)
    progress = trainer.run()

    def of(*whats):
        return [event for event in events if event[0] in whats]

    assert of("reset") == [("reset", k, 2 * k) for k in (0, 10, 20, 30, 40)]
    assert of("act") == [("act", k, 2 * k) for k in range(20, 50)]
    # Three before the policy's first step, then two at each multiple of four above twenty.
    trained = [step for step in (24, 28, 32, 36, 40, 44, 48) for _ in range(2)]
    assert of("update") == [("update", k, 2 * k) for k in [20, 20, 20, *trained]]
    assert of("random", "evaluate") == [
        ("random", 20, 40),
        ("evaluate", 20, 40),  # before training,
        ("evaluate", 30, 60),  # at multiples of 30 env steps,
        ("evaluate", 45, 90),
        ("evaluate", 50, 100),  # and at the end
    ]
    assert of("means") == [("means", k, 2 * k) for k in (30, 40, 50)]
    # At the first step at or above a multiple of 25 env steps, and at the end.
    saves = [("save", 13, 26), ("save", 25, 50), ("save", 38, 76), ("save", 50, 100)]
    assert of("save") == [*saves, ("save", 50, 100)]
    assert events.index(("random", 20, 40)) > events.index(("update", 20, 40)) + 2
    assert (progress.agent_step, progress.env_step, progress.episodes) == (50, 100, 5)
    assert (progress.pretrained, trainer.agent.updates) == (3, 17)
    assert trainer.checkpoints.steps() == [38, 50]


def test_a_train_ratio_takes_the_place_of_the_distance(tmp_path, monkeypatch):
    # Six replayed steps an agent step, batches of 2 * 4: three updates in four agent steps.
    trainer = tiny.trainer(tmp_path, "training.train_ratio=6", TWO_UPDATES)
    events = record(trainer, monkeypatch)
    trainer.run()
    steps = [step for what, step, _ in events if what == "update"]
    # floor(3 n / 4) grows at each step that is not 1 above a multiple of four.
    assert steps == [20, 20, 20, *(n for n in range(21, 51) if n % 4 != 1)]


RATIO_AND_STREAM = ("training.train_ratio=6", "replay.sequences=stream", "replay.batch_length=7")


@pytest.mark.parametrize("count", [14, 52, 71])
def test_stopped_and_continued_with_a_ratio_and_the_stream(tmp_path, count):
    def finish(run_dir, stop):
        trainer = tiny.trainer(run_dir, *RATIO_AND_STREAM, stop=tiny.StopAt(stop))
        try:
            trainer.run()
        except Stopped:
            return finish(run_dir, 10**6)
        return tiny.final_state(trainer)

    assert_same(finish(tmp_path / "stopped", count), finish(tmp_path / "calm", 10**6))


def test_rows_carry_what_they_should(calm):
    rows = calm[0]["rows"]
    by_step = [row["env_step"] for row in rows]
    assert by_step == sorted(by_step)
    episodes = [row for row in rows if "episode/return" in row]
    assert [row["env_step"] for row in episodes] == [20, 40, 60, 80, 100]
    assert {row["episode/length"] for row in episodes} == {10.0}
    # Eleven records an episode (the first has no action); thirty fit two episodes.
    assert [row["replay/steps"] for row in episodes] == [11.0, 22.0, 22.0, 22.0, 22.0]
    means = [row for row in rows if "loss/total" in row]
    # Three updates of the pretraining, then those at agent steps 24 and 28, 32 to 40, 44 and 48.
    assert [row["updates"] for row in means] == [5, 8, 10]
    assert {row["nonfinite/skipped_updates"] for row in means} == {0}
    assert [row["env_step"] for row in rows if "eval/return" in row] == [40, 60, 90, 100]
    assert [row["env_step"] for row in rows if "eval/random_return" in row] == [40]


def test_the_random_evaluation_is_optional(tmp_path, monkeypatch):
    trainer = tiny.trainer(tmp_path, "evaluation.random_episodes=0")
    events = record(trainer, monkeypatch)
    assert trainer.run().random_return is None
    assert not [event for event in events if event[0] == "random"]


def test_a_prefill_that_can_not_be_sampled_from_is_given_up(tmp_path):
    # Episodes have eleven records, so sequences of twelve can't be drawn.
    trainer = tiny.trainer(tmp_path, "replay.batch_length=12")
    with pytest.raises(ConfigError, match=r"got none in 20 \(the last has 11\): lower replay"):
        trainer.run()
    assert not trainer.progress.prefilled
    assert trainer.progress.agent_step == 200


def test_sequences_longer_than_an_episode_are_joined_where_min_length_allows(tmp_path):
    trainer = tiny.trainer(
        tmp_path, "replay.batch_length=12", "replay.min_length=4", "training.env_steps=42"
    )
    assert trainer.run().prefilled
    assert trainer.agent.updates == 3


STOPS = {
    "before the first step": 1,
    "in the prefill, in mid-episode": 4,
    "after a checkpoint": 14,
    "before the pretraining": 21,
    "in the pretraining": 23,
    "in the random evaluation": 30,
    "in the first evaluation": 40,
    "in training, in mid-episode": 52,
    "in an evaluation in training": 60,
    "with an older checkpoint gone": 90,
    "in the last evaluation": 105,
}


@pytest.mark.parametrize("count", STOPS.values(), ids=STOPS.keys())
def test_stopped_and_continued_equals_calm_bit_for_bit(calm, tmp_path, count):
    assert run_until(tmp_path, count) is None
    assert_same(tiny.final_state(run_until(tmp_path, 10**6)), calm[0])


@pytest.mark.parametrize("count", [13, 17])
def test_stopped_again_and_again_equals_calm_bit_for_bit(calm, tmp_path, count):
    # More than eleven, since an evaluation that is cut short begins again.
    stops = 0
    while (trainer := run_until(tmp_path, count)) is None:
        stops += 1
    assert stops >= calm[1] // count
    assert_same(tiny.final_state(trainer), calm[0])


def test_a_finished_run_has_nothing_left_to_do(calm, tmp_path):
    run_until(tmp_path, 10**6)
    trainer = run_until(tmp_path, 10**6)
    assert trainer.agent.updates == 10
    assert_same(tiny.final_state(trainer), calm[0])


def test_a_killed_process_goes_on_from_its_last_checkpoint(calm, tmp_path):
    class PulledPlug(Exception):  # noqa: N818
        pass

    def pull():
        if trainer.stop.asked == 70:
            raise PulledPlug

    trainer = tiny.trainer(tmp_path)
    original = trainer.stop.check
    trainer.stop.check = lambda: (original(), pull())
    with pytest.raises(PulledPlug):
        trainer.run()
    # Rows and records after the checkpoint are there and must be cut back.
    assert trainer.progress.agent_step > trainer.checkpoints.steps()[-1]
    assert_same(tiny.final_state(run_until(tmp_path, 10**6)), calm[0])


def test_checkpoints_by_time_change_no_number(calm, tmp_path, monkeypatch):
    ticks = itertools.count(step=61.0)
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks))
    monkeypatch.setattr("harmony.training.loop.time", clock)
    trainer = tiny.trainer(tmp_path, "checkpoint.every_minutes=1.0")
    saved = []
    original = trainer.checkpoints.save
    monkeypatch.setattr(
        trainer.checkpoints, "save", lambda step, state: (saved.append(step), original(step, state))
    )
    trainer.run()
    # After each of 58 actions (20 steps, 3 updates, 5 evaluations, 30 steps), and at the end.
    assert len(saved) == 59
    assert_same(tiny.final_state(trainer), calm[0])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(calm, tmp_path, caplog):
    assert run_until(tmp_path, 80) is None
    newest = sorted((tmp_path / "checkpoints").glob("checkpoint-*.ckpt"))
    assert len(newest) == 2
    flip_a_byte(newest[-1])
    with caplog.at_level(logging.WARNING):
        trainer = run_until(tmp_path, 10**6)
    assert any(newest[-1].name in record.message for record in caplog.records)
    assert_same(tiny.final_state(trainer), calm[0])


def test_all_checkpoints_damaged_is_refused(tmp_path):
    assert run_until(tmp_path, 80) is None
    for path in (tmp_path / "checkpoints").glob("checkpoint-*.ckpt"):
        flip_a_byte(path)
    with pytest.raises(CheckpointError, match="all 2 are damaged"):
        tiny.trainer(tmp_path)


def test_a_checkpoint_of_another_size_is_refused_in_one_line(tmp_path):
    assert run_until(tmp_path, 5) is None
    with pytest.raises(CheckpointError, match=r"^the checkpoint does not fit this agent") as caught:
        tiny.trainer(tmp_path, "size.deter=9")
    assert "\n" not in str(caught.value)


def test_a_tracker_hears_only_of_rows_that_a_checkpoint_covers(tmp_path):
    offsets = []

    class Tracker(tiny.NullTracker):
        def commit(self, offset):
            newest = trainer.checkpoints.load_latest()[1]
            offsets.append((offset, newest["metrics_offset"]))

    trainer = tiny.trainer(tmp_path, tracker=Tracker())
    trainer.run()
    assert len(offsets) == 5
    assert all(told == covered for told, covered in offsets)
    assert offsets[-1][0] == (tmp_path / "metrics.jsonl").stat().st_size


def test_old_segments_go_once_no_checkpoint_needs_them(tmp_path):
    run_until(tmp_path, 10**6)
    held = sorted(int(path.stem[-6:]) for path in (tmp_path / "replay").glob("segment-*.npy"))
    # 55 records, 8 a segment. Agent step 38 is record 41; its oldest episode began at record 11.
    assert held == [1, 2, 3, 4, 5, 6]
