import contextlib
import io
import os

from harmony.tracking import terminal
from harmony.tracking.terminal import Terminal, clock, describe

ROW = {
    "env_step": 2_000,
    "episode/return": 123.44,
    "loss/image": 5432.1,
    "loss/reward": 0.0123,
    "loss/kl": 3.0,
    "harmony/sigma/observation": 812.0,
    "harmony/sigma/reward": 0.1,
    "harmony/sigma/dynamics": 3.5,
    "time/frames_per_s": 1234.4,
    "time/updates_per_s": 5.25,
    "eval/success": 0.5,
    "something/else": 1.0,
}


def test_a_row_is_one_plain_line_in_a_fixed_order(monkeypatch):
    now = iter([0.0, 10.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    shown = Terminal(10_000, interactive=False, stream=stream)
    shown.update({"env_step": 1_000})
    shown.update(ROW)
    shown.message("checkpoint saved")
    shown.close()
    first, second, third = stream.getvalue().splitlines()
    assert first == "1,000/10,000 env steps"
    # 1,000 steps took 10 s, 8,000 are left: 80 s
    assert second == (
        "2,000/10,000 env steps  return 123.4  success 50%  image 5432  reward 0.0123  kl 3  "
        "sigma obs 812  rew 0.1  dyn 3.5  frames/s 1,234  updates/s 5.25  left 0:01:20"
    )
    assert third == "checkpoint saved"


def test_a_stream_that_is_no_terminal_gets_lines():
    stream = io.StringIO()
    shown = Terminal(10, stream=stream)
    shown.update({"env_step": 10})
    shown.close()
    assert stream.getvalue() == "10/10 env steps\n"


def test_the_bar_keeps_the_last_value_of_each_metric(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    stream = io.StringIO()
    shown = Terminal(10_000, interactive=True, stream=stream)
    shown.update(ROW)
    shown.update({"env_step": 4_000, "episode/return": 7.0})
    shown.message("[not markup]")
    shown.close()
    text = stream.getvalue()
    assert "[not markup]" in text
    assert "40 %" in text
    assert "4,000" in text
    assert "return 7.0" in text
    assert "updates/s" in text


def test_a_reader_that_leaves_does_not_end_the_run():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", closefd=True) as stream:
        shown = Terminal(100, stream=stream)
        shown.message("one")
        os.close(reader)
        for _ in range(2):
            shown.message("two")
        shown.close()
        with contextlib.suppress(BrokenPipeError):
            stream.flush()  # what could not be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert shown._gone


def test_describe_ignores_what_is_not_shown():
    assert describe({"env_step": 1, "x": 2.0}) == ""


def test_clock():
    assert clock(0) == "0:00:00"
    assert clock(3_725.4) == "1:02:05"
    assert clock(100_000) == "27:46:40"
