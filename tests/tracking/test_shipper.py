import logging
import time

import pytest

from harmony.tracking import shipper
from harmony.tracking.shipper import Point, Shipper, batches, drain, first_line, points_of


class MemorySink:
    """A store like MLflow's: a point that comes twice is kept once; it can be out of order."""

    def __init__(self):
        self.points, self.files, self.calls = [], [], []
        self.up = True
        self.status = None

    def _call(self, name):
        self.calls.append(name)
        if not self.up:
            raise ConnectionError("no route to host\nmore lines")

    def open(self, outbox):
        self._call("open")
        outbox.found("id")
        self.status = outbox.progress.status

    def send(self, points):
        self._call("send")
        assert len(points) <= 1000
        self.points += [point for point in points if point not in self.points]

    def upload(self, path, folder):
        self._call("upload")
        self.files.append((path, folder))

    def close(self, outbox):
        self._call("close")
        self.status = outbox.progress.status


def steps(sink):
    return [point.step for point in sink.points]


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_points_are_numbers_of_chosen_keys_with_the_time_of_the_row():
    row = {"env_step": 7, "time": 12.3456, "loss/a": 1, "loss/b": 2.5, "text": "x", "eval/c": 3.0}
    assert points_of(row, ["loss/*", "text"]) == [
        Point("loss/a", 1.0, 12346, 7),
        Point("loss/b", 2.5, 12346, 7),
    ]
    assert points_of(row, ["*"])[-1] == Point("eval/c", 3.0, 12346, 7)


def test_only_committed_rows_are_sent_and_the_cursor_follows(make_outbox, write_rows):
    outbox, sink = make_outbox(), MemorySink()
    size = write_rows(1, 2)
    outbox.commit(size)
    write_rows(3)
    assert drain(sink, outbox) == 2
    assert sink.points == [Point("loss/a", 0.5, 1001000, 1), Point("loss/a", 1.0, 1002000, 2)]
    assert (outbox.progress.cursor, outbox.progress.sent_rows) == (size, 2)
    assert drain(sink, outbox) == 0
    assert sink.calls == ["send"]


def test_batches_hold_a_thousand_points_at_most(make_outbox, write_rows, monkeypatch):
    monkeypatch.setattr(shipper, "MAX_POINTS", 3)
    outbox = make_outbox()
    two = write_rows(1, **{"loss/b": 0.0})
    four = write_rows(2, **{"loss/b": 0.0})
    nine = write_rows(3, **{f"loss/{i}": 0.0 for i in range(4)})
    outbox.commit(nine)
    made = list(batches(outbox))
    assert [len(batch.points) for batch in made] == [2, 2, 3, 2]
    assert [batch.cursor for batch in made] == [two, four, four, nine]
    assert [batch.rows for batch in made] == [1, 2, 2, 3]


def test_rows_without_chosen_keys_move_the_cursor_without_a_call(make_outbox, info):
    outbox, sink = make_outbox(), MemorySink()
    path = info.run_dir / "metrics.jsonl"
    path.write_text('{"env_step": 1, "other": 2}\n')
    outbox.commit(path.stat().st_size)
    drain(sink, outbox)
    assert outbox.progress.cursor == path.stat().st_size
    assert sink.calls == []


def test_after_a_cut_behind_the_cursor_no_step_comes_twice(make_outbox, write_rows, info):
    sink = MemorySink()
    half, whole = write_rows(1), write_rows(2, 3)
    first = make_outbox()
    first.own(new_attempt=True)
    first.commit(whole)
    drain(sink, first)
    first.release()
    path = info.run_dir / "metrics.jsonl"
    with path.open("r+") as file:
        file.truncate(half)

    second = make_outbox()
    second.own(new_attempt=True)
    second.commit(half)
    second.commit(write_rows(2, 3, 4, time=5000.0))  # played again later
    drain(sink, second)
    assert steps(sink) == [1, 2, 3, 4]


def test_a_file_that_cannot_be_sent_does_not_hold_up_the_others(make_outbox, info, caplog):
    outbox, sink = make_outbox(), MemorySink()
    for name in ("bad", "good"):
        (info.run_dir / name).write_text("x")
    for name in ("bad", "good", "gone"):
        outbox.add(info.run_dir / name, "f")
    upload = sink.upload

    def picky(path, folder):
        if path.endswith("bad"):
            raise ConnectionError("too large")
        upload(path, folder)

    sink.upload = picky
    with pytest.raises(ConnectionError, match="too large"):
        drain(sink, outbox)
    assert sink.files == [(str(info.run_dir / "good"), "f")]
    assert [artifact.path for artifact in outbox.unsent()] == ["bad"]
    assert "gone is gone" in caplog.text


def test_an_outage_leaves_no_gap_and_no_double(make_outbox, write_rows, caplog):
    outbox, sink = make_outbox(), MemorySink()
    sink.up = False
    thread = Shipper(sink, outbox, flush_seconds=0.01)
    with caplog.at_level(logging.INFO, logger="harmony"):
        thread.start()
        outbox.commit(write_rows(1, 2))
        wait_for(lambda: sink.calls.count("open") >= 3)
        sink.up = True
        wait_for(lambda: steps(sink) == [1, 2])
        sink.up = False
        outbox.commit(write_rows(3))
        failed = len(sink.calls)
        wait_for(lambda: len(sink.calls) > failed + 2)
        sink.up = True
        outbox.commit(write_rows(4))
        wait_for(lambda: steps(sink) == [1, 2, 3, 4])
        outbox.end("FINISHED", 1)
        thread.finish(10.0)
    assert not thread.is_alive()
    assert sink.status == "FINISHED"
    assert outbox.complete()
    # one line for each outage and one for each end of it
    assert caplog.text.count("no route to host") == 2
    assert "more lines" not in caplog.text
    assert caplog.text.count("works again") == 2


def test_a_batch_that_was_stored_but_not_confirmed_is_stored_once(make_outbox, write_rows):
    outbox, sink = make_outbox(), MemorySink()
    send = sink.send
    failures = [True]

    def lossy(points):
        send(points)
        if failures:
            failures.pop()
            raise TimeoutError("the answer was lost")

    sink.send = lossy
    outbox.commit(write_rows(1, 2))
    thread = Shipper(sink, outbox, flush_seconds=0.01)
    thread.start()
    outbox.end("FINISHED", 1)
    thread.finish(10.0)
    assert steps(sink) == [1, 2]
    assert sink.calls.count("send") == 2


def test_the_end_waits_a_bounded_time(make_outbox, write_rows):
    outbox, sink = make_outbox(), MemorySink()
    sink.up = False
    outbox.commit(write_rows(1))
    thread = Shipper(sink, outbox, flush_seconds=1.0)
    thread.start()
    outbox.end("FAILED", 1)
    begin = time.monotonic()
    thread.finish(0.2)
    assert time.monotonic() - begin < 2.0
    thread.join(5.0)
    assert not thread.is_alive()
    assert not outbox.complete()


def test_the_thread_waits_for_another_process_to_let_go(make_outbox, write_rows):
    other, outbox, sink = make_outbox(), make_outbox(), MemorySink()
    other.own(new_attempt=False)
    thread = Shipper(sink, outbox, flush_seconds=0.01)
    thread.start()
    outbox.commit(write_rows(1))
    time.sleep(0.1)
    assert sink.calls == []
    other.release()
    wait_for(lambda: steps(sink) == [1])
    thread.finish(5.0)


def test_first_line_of_an_error():
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(ValueError()) == ""
    assert len(first_line(ValueError("x" * 999))) == 300
