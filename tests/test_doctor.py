"""The report as a whole: what was asked for, what it says, and the exit code."""

import io
import json
import subprocess
import sys

import pytest

from harmony import doctor, doctor_show
from harmony.doctor import Request, main, parse, works
from harmony.doctor_machine import Fact
from harmony.doctor_suites import Suite
from harmony.errors import ConfigError, EnvError

FACTS = [Fact("python", "3.11"), Fact("slurm", "sinfo failed", fine=False)]
TRIAL = {
    "seconds": 1.25, "image": [64, 64, 3], "colors": 9, "reset_ms": 17.6, "steps_per_s": 21.4,
    "frames_per_s": 42.8, "actions": "Box(-1.0, 1.0, (4,), float32)",
}  # fmt: skip
WORKS = Suite("metaworld", packages={"metaworld": "3.1.1"}, trial=TRIAL)
MISSING = Suite("crafter", "missing", "not installed: crafter", ["pip install x"], {"crafter": ""})
FAILS = Suite("dmc", "fails", "crashed (killed by SIGSEGV): x")


class TestParse:
    def test_defaults(self):
        assert parse([]) == Request([], [], 120.0, as_json=False)

    def test_everything(self):
        asked = parse(["--json", "env=probe,dmc", "timeout=3.5", "render=fast"])
        assert asked == Request(["probe", "dmc"], ["render=fast"], 3.5, as_json=True)

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("env=metawolrd", "env=metawolrd: no such option; did you mean 'metaworld'"),
            ("env=probe,dmcc", "env=dmcc: no such option; did you mean 'dmc'"),
            ("--jsn", "--jsn: no such option; usage: "),
            ("timeout=0", "timeout must be at least 1, got 0"),
            ("timeout=soon", "timeout must be a number"),
            ("env.task=walker_walk", "keys of an env need env=ENV"),
            ("rendr=fast", "rendr"),
            ("tasks=true", "tasks=true needs env=ENV, one env, got 0"),
            ("tasks=yes", "tasks must be false or true, got 'yes'"),
        ],
    )
    def test_a_mistake_is_one_line_and_exit_code_2(self, capsys, argument, message):
        assert main([argument]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    def test_a_task_of_another_suite_is_a_mistake(self):
        with pytest.raises(EnvError, match=r"50 tasks .* walker_walk is a task of env=dmc, "):
            parse(["env=metaworld", "env.task=walker_walk"])
        with pytest.raises(ConfigError, match=r"env\.lenght"):
            parse(["env=probe", "env.lenght=3"])


class TestTasks:
    @pytest.mark.parametrize(
        ("env", "first", "count"),
        [("dmc", "acrobot_swingup", 51), ("metaworld_v2", "assembly", 50), ("minedojo", "", 1)],
    )
    def test_one_a_line_and_nothing_else(self, capsys, env, first, count):
        assert main([f"env={env}", "tasks=true"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == count
        assert lines[0].startswith(first)
        assert main([f"env={env}", "tasks=true", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == lines

    def test_a_suite_without_tasks_says_so(self, capsys):
        assert main(["env=probe", "tasks=true"]) == 2
        assert capsys.readouterr().err == "error: env=probe has no tasks to choose from\n"
        assert main(["env=probe,dmc", "tasks=true"]) == 2


class TestExitCode:
    @pytest.mark.parametrize(
        ("envs", "suites", "expected"),
        [
            (["metaworld"], [WORKS], True),
            (["metaworld", "crafter"], [WORKS, MISSING], False),
            (["dmc"], [FAILS], False),
            ([], [WORKS, MISSING, FAILS], True),
        ],
    )
    def test_only_what_is_named_must_work(self, envs, suites, expected):
        assert works(Request(envs, [], 1.0, as_json=False), FACTS, suites) == expected

    def test_a_store_that_is_named_must_answer(self):
        request = Request([], ["tracking=server"], 1.0, as_json=False)
        silent = Fact("mlflow", "no answer", fine=False, asked=True)
        assert not works(request, [silent], [])
        assert works(request, [silent._replace(fine=True)], [])

    def test_keys_that_only_the_named_env_has(self, monkeypatch, capsys):
        monkeypatch.setattr(doctor, "facts", lambda *_, **__: iter(FACTS))
        monkeypatch.setattr(doctor, "examine", lambda name, given, _: Suite(name, problem=given[0]))
        assert main(["env=probe", "env.length=3"]) == 0
        assert "env.length=3" in capsys.readouterr().out

    def test_of_the_command(self, monkeypatch, capsys):
        monkeypatch.setattr(doctor, "facts", lambda *_, **__: iter(FACTS))
        monkeypatch.setattr(doctor, "examine", lambda name, *_: Suite(name, "fails", "broken"))
        assert main(["env=probe"]) == 1
        assert main([]) == 0
        assert "probe" in capsys.readouterr().out


class TestShow:
    def test_lines_where_there_is_no_terminal(self):
        stream = io.StringIO()
        doctor_show.show(FACTS, [WORKS, MISSING, FAILS], stream)
        assert stream.getvalue().splitlines() == [
            "python  3.11",
            "slurm   PROBLEM: sinfo failed",
            "",
            "metaworld  works    has metaworld 3.1.1",
            "                    64 x 64 x 3; 21 agent steps/s, 43 env steps/s; "
            "reset 18 ms; made in 1.2 s",
            "crafter    missing  not installed: crafter",
            "                    pip install x",
            "dmc        fails    crashed (killed by SIGSEGV): x",
        ]

    def test_tables_on_a_terminal(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        stream = io.StringIO()
        stream.isatty = lambda: True
        doctor_show.show(FACTS, [WORKS, MISSING], stream)
        shown = stream.getvalue()
        assert "21 agent steps/s" in shown
        assert "not installed: crafter" in shown
        assert "\u2502" in shown

    def test_nothing_in_brackets_is_taken_for_markup(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        stream = io.StringIO()
        stream.isatty = lambda: True
        suite = Suite("dmc", "missing", "x", ["pip install 'harmony-dream[dmc]'"])
        doctor_show.show(FACTS, [suite], stream)
        assert "harmony-dream[dmc]" in stream.getvalue()

    def test_one_colour_is_said(self):
        suite = Suite("probe", trial={**TRIAL, "colors": 1})
        assert "64 x 64 x 3, one colour; " in doctor_show.measured(suite)
        assert "no image; " in doctor_show.measured(Suite("x", trial={**TRIAL, "image": None}))

    def test_json(self, monkeypatch, capsys):
        monkeypatch.setattr(doctor, "facts", lambda *_, **__: iter(FACTS))
        monkeypatch.setattr(doctor, "examine", lambda *_: WORKS)
        assert main(["env=metaworld", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["machine"][1] == {
            "name": "slurm", "value": "sinfo failed", "fine": False, "asked": False,
        }  # fmt: skip
        (suite,) = report["suites"]
        assert (suite["name"], suite["state"], suite["trial"]) == ("metaworld", "works", TRIAL)

    def test_help(self, capsys):
        assert main(["--help"]) == 0
        assert "python -m harmony.doctor [env=ENV" in capsys.readouterr().out


def test_a_broken_torch_or_mlflow_does_not_stop_the_command():
    """Both are imported by the processes that are asked, never by the one that reports."""
    program = (
        "import sys; sys.modules.update(torch=None, mlflow=None, mujoco=None)\n"
        "from harmony.doctor import main\n"
        "sys.exit(main(['env=probe', 'timeout=0']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: timeout must be at least 1, got 0\n")


@pytest.mark.slow
def test_the_whole_command_on_this_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path))
    assert main(["env=probe"]) == 0
    shown = capsys.readouterr().out
    assert "probe  works    64 x 64 x 3, one colour; " in shown
    assert list(tmp_path.iterdir()) == []
