import os
import signal
import sys

import psutil
import pytest

from launch import supervisor as module
from launch.supervisor import Supervisor, Task, death, worker_command

# A child that ends with 128 + signal, says so, and tells its supervisor when it listens.
LISTEN = """
import os, signal, sys, time
def end(signum, frame):
    print("got", signum, flush=True)
    sys.exit(128 + signum)
for signum in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, end)
{then}
time.sleep(30)
"""
SAY = "os.kill(os.getppid(), signal.{name})"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.02)


@pytest.fixture
def make(tmp_path):
    """Makes a supervisor of tasks from Python code; `ended` lists what it was told."""

    def supervisor(*codes, slots=4, max_crashes=0, done=(), environment=None):
        tasks = [
            Task(
                key=key,
                command=[sys.executable, "-IS", "-c", code],
                log=tmp_path / "logs" / f"{key}.log",
                finished=lambda key=key: key in done,
            )
            for key, code in enumerate(codes)
        ]
        made = Supervisor(
            tasks,
            slots,
            environment or (lambda slot: {"SLOT": str(slot), "MARK": str(tmp_path / "mark")}),
            max_crashes,
            lambda task: made.told.append(task.key),
        )
        made.told = []
        return made

    return supervisor


def ends(supervisor):
    return [task.end for task in supervisor.tasks]


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("sys.exit(0)", "FINISHED"),
        ("sys.exit(1)", "FAILED"),
        ("raise ValueError", "FAILED"),
        ("sys.exit(2)", "REFUSED"),
        ("sys.exit(140)", "SAVED"),
        ("sys.exit(143)", "KILLED"),
        ("sys.exit(130)", "KILLED"),
        ("sys.exit(255)", "FAILED"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "KILLED"),
        ("os.kill(os.getpid(), signal.SIGUSR2)", "SAVED"),
        ("os.kill(os.getpid(), signal.SIGHUP)", "FAILED"),
    ],
)
def test_what_exit_codes_mean(make, code, end):
    supervisor = make(f"import os, signal, sys; {code}")
    supervisor.run()
    assert ends(supervisor) == [end]
    assert supervisor.told == [0]


@pytest.mark.parametrize(
    ("code", "died"),
    [
        (-9, signal.SIGKILL), (137, signal.SIGKILL), (-11, signal.SIGSEGV), (139, signal.SIGSEGV),
        (-6, signal.SIGABRT), (135, signal.SIGBUS), (132, signal.SIGILL),
        (0, None), (1, None), (9, None), (140, None), (143, None), (-15, None), (255, None),
    ],
)  # fmt: skip
def test_death(code, died):
    assert death(code) == died


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(139)"])
def test_a_death_is_tried_again_so_many_times_and_then_fails(make, how):
    supervisor = make(f"import os, signal; print('start', flush=True); {how}", max_crashes=2)
    supervisor.run()
    assert ends(supervisor) == ["FAILED"]
    assert supervisor.tasks[0].crashes == 3
    assert supervisor.tasks[0].log.read_text() == "start\n" * 3
    assert supervisor.told == [0]


def test_a_death_may_be_followed_by_a_good_end(make):
    code = (
        "import os, signal, pathlib; mark = pathlib.Path(os.environ['MARK'])\n"
        "if not mark.exists(): mark.touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    supervisor = make(code, max_crashes=1)
    supervisor.run()
    assert ends(supervisor) == ["FINISHED"]


def test_an_error_of_its_own_is_not_tried_again(make):
    supervisor = make("print('x', flush=True); raise ValueError", max_crashes=5)
    supervisor.run()
    assert supervisor.tasks[0].log.read_text().count("x\n") == 1


def test_one_that_dies_takes_no_other_along(make):
    supervisor = make(
        "import time; time.sleep(0.3); print('whole')",
        "import os; os.kill(os.getpid(), 9)",
        "raise ValueError",
        "print('whole')",
    )
    supervisor.run()
    assert ends(supervisor) == ["FINISHED", "FAILED", "FAILED", "FINISHED"]
    assert sorted(supervisor.told) == [0, 1, 2, 3]
    assert supervisor.tasks[0].log.read_text() == "whole\n"


def test_slots_are_full_and_never_more(make, tmp_path):
    code = (
        "import os, time, pathlib; slot = pathlib.Path(os.environ['MARK'] + os.environ['SLOT'])\n"
        "slot.mkdir(); time.sleep(0.15); slot.rmdir()"  # fails where two are in one slot
    )
    most, folder = 0, tmp_path

    def environment(slot):
        nonlocal most
        most = max(most, slot)
        return {"SLOT": str(slot), "MARK": str(folder / "mark")}

    supervisor = make(*[code] * 5, slots=2, environment=environment)
    supervisor.run()
    assert ends(supervisor) == ["FINISHED"] * 5
    assert most == 1


def test_what_has_finished_is_not_started(make):
    supervisor = make("raise ValueError", "print('new')", done=[0])
    supervisor.run()
    assert ends(supervisor) == ["FINISHED", "FINISHED"]
    assert not supervisor.tasks[0].log.exists()
    assert supervisor.told == [1]


def test_output_is_added_to_the_log(make):
    supervisor = make("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    log = supervisor.tasks[0].log
    log.parent.mkdir()
    log.write_text("before\n")
    supervisor.run()
    assert log.read_text() == "before\nout\nerr\n"


@pytest.mark.parametrize(
    ("name", "end"), [("SIGUSR2", "SAVED"), ("SIGTERM", "KILLED"), ("SIGINT", "KILLED")]
)
def test_a_signal_reaches_every_run_and_nothing_starts_after_it(make, name, end):
    waits = LISTEN.format(then="open(os.environ['MARK'], 'w').close()")
    says = LISTEN.format(
        then=f"while not os.path.exists(os.environ['MARK']): time.sleep(0.01)\n{SAY}".format(
            name=name
        )
    )
    before = signal.getsignal(signal.Signals[name])
    supervisor = make(waits, says, "print('late')", slots=2)
    supervisor.run()
    assert supervisor.asked == signal.Signals[name]
    assert ends(supervisor) == [end, end, None]
    assert not supervisor.tasks[2].log.exists()
    assert supervisor.tasks[0].log.read_text() == f"got {signal.Signals[name].value}\n"
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_terminal_that_is_closed_ends_the_runs_unless_a_nohup_was_asked_for(make):
    closes = LISTEN.format(then="os.kill(os.getppid(), signal.SIGHUP); time.sleep(0.3)")
    supervisor = make(closes, "print('late')", slots=1)
    supervisor.run()
    assert supervisor.asked == signal.SIGTERM
    assert ends(supervisor) == ["KILLED", None]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        nohup = make("import os, signal; os.kill(os.getppid(), signal.SIGHUP)", "print('late')")
        nohup.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (nohup.asked, ends(nohup)) == (None, ["FINISHED", "FINISHED"])


def test_the_end_outweighs_the_wish_to_go_on(make):
    stubborn = """
import os, signal, sys, time
seen = []
def note(signum, frame):
    seen.append(signum)
    print(signal.Signals(signum).name, flush=True)
    if signum == signal.SIGUSR2:
        os.kill(os.getppid(), signal.SIGTERM)
    else:
        os.kill(os.getppid(), signal.SIGUSR2)  # too late: it is not passed on
        time.sleep(0.2)
        sys.exit(143)
signal.signal(signal.SIGUSR2, note); signal.signal(signal.SIGTERM, note)
os.kill(os.getppid(), signal.SIGUSR2)
time.sleep(30)
"""
    supervisor = make(stubborn)
    supervisor.run()
    assert supervisor.asked == signal.SIGTERM
    assert supervisor.tasks[0].log.read_text() == "SIGUSR2\nSIGTERM\n"
    assert ends(supervisor) == ["KILLED"]


def test_a_second_ctrl_c_is_passed_on(make):
    patient = """
import os, signal, sys, time
seen = []
def note(signum, frame):
    seen.append(signum)
    print(signal.Signals(signum).name, flush=True)
    if len(seen) == 2:
        sys.exit(130)
    os.kill(os.getppid(), signum)
signal.signal(signal.SIGINT, note)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(30)
"""
    supervisor = make(patient)
    supervisor.run()
    assert (supervisor.asked, supervisor.asked_times) == (signal.SIGINT, 2)
    assert supervisor.tasks[0].log.read_text() == "SIGINT\nSIGINT\n"
    assert ends(supervisor) == ["KILLED"]


@pytest.mark.parametrize("later", ["SIGTERM", "SIGUSR2"])
def test_another_signal_after_a_ctrl_c_is_no_second_ctrl_c(make, later):
    saves = f"""
import os, signal, sys, time
def note(signum, frame):
    print(signal.Signals(signum).name, flush=True)
    os.kill(os.getppid(), signal.{later})
    time.sleep(0.3)  # a second SIGINT would interrupt this
    sys.exit(130)
for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(signum, note)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(30)
"""
    supervisor = make(saves)
    supervisor.run()
    assert (supervisor.asked, supervisor.asked_times) == (signal.SIGINT, 1)
    assert supervisor.tasks[0].log.read_text() == "SIGINT\n"
    assert ends(supervisor) == ["KILLED"]


@pytest.mark.parametrize(
    ("name", "max_crashes", "end"),
    [("SIGTERM", 3, "KILLED"), ("SIGUSR2", 3, "SAVED"), ("SIGUSR2", 0, "FAILED")],
)
def test_a_death_after_a_signal_is_not_tried_again_here(make, name, max_crashes, end):
    dies = """
import os, signal, time
signal.signal(signal.{name}, lambda *_: os.kill(os.getpid(), 9))
os.kill(os.getppid(), signal.{name})
time.sleep(30)
"""
    supervisor = make(dies.format(name=name), max_crashes=max_crashes)
    supervisor.run()
    assert supervisor.tasks[0].crashes == 1
    assert ends(supervisor) == [end]


def test_what_can_not_be_started_fails_alone(make):
    supervisor = make("import time; time.sleep(0.2)", "")
    supervisor.tasks[1].command = ["/no/such/program"]
    supervisor.run()
    assert ends(supervisor) == ["FINISHED", "FAILED"]
    assert sorted(supervisor.told) == [0, 1]


def test_no_run_is_left_behind_when_the_supervisor_itself_breaks(make):
    waits = LISTEN.format(then="open(os.environ['MARK'], 'w').close()")
    fails = "import os, time\nwhile not os.path.exists(os.environ['MARK']): time.sleep(0.01)"
    supervisor = make(waits, fails)

    def broken(_task):
        raise OSError("no space left")

    supervisor.ended = broken
    with pytest.raises(OSError, match="no space left"):
        supervisor.run()
    assert supervisor.tasks[0].log.read_text() == f"got {signal.SIGTERM.value}\n"
    children = psutil.Process(os.getpid()).children(recursive=True)
    assert not [child for child in children if "-IS" in child.cmdline()]


def test_no_task_at_all(make):
    make().run()


def test_worker_command(tmp_path):
    spec = tmp_path / "0.json"
    assert worker_command(spec) == [sys.executable, "-u", "-m", "launch.worker", str(spec)]
    assert worker_command(spec, ["srun", "--ntasks=1"], "/opt/python") == [
        "srun", "--ntasks=1", "/opt/python", "-u", "-m", "launch.worker", str(spec),
    ]  # fmt: skip
