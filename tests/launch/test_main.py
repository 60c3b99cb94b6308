import json
import subprocess
import sys

import pytest

from harmony.errors import RunDirectoryError
from launch import __main__ as module
from launch.__main__ import main, sweep_directory


@pytest.fixture
def called(monkeypatch):
    """What commands are called with."""
    seen = []
    for name in ("status", "logs", "retry", "cancel", "extend"):
        monkeypatch.setattr(
            module.commands,
            name,
            lambda _sweep, *given, name=name, **named: seen.append((name, given, named)) or 0,
        )
    return seen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status"], ("status", (), {"as_json": False})),
        (["status", "--json"], ("status", (), {"as_json": True})),
        (["logs"], ("logs", (None, 20), {"follow": False})),
        (["logs", "3", "--lines", "5", "--follow"], ("logs", (3, 5), {"follow": True})),
        (["retry"], ("retry", ([],), {})),
        (
            ["retry", "hydra.launcher.mem_gb=64", "hydra.launcher.qos=null"],
            ("retry", (["hydra.launcher.mem_gb=64", "hydra.launcher.qos=null"],), {}),
        ),
        (["cancel"], ("cancel", ([],), {})),
        (["cancel", "1", "2"], ("cancel", ([1, 2],), {})),
        (["extend", "seed=5,6", "harmony=on"], ("extend", (["seed=5,6", "harmony=on"],), {})),
    ],
)
def test_commands(make_sweep, called, words, expected):
    command, *rest = words
    assert main([command, str(make_sweep().directory), *rest]) == 0
    assert called == [expected]


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help(capsys, argv):
    assert main(argv) == 0
    out = capsys.readouterr().out
    for command in module._COMMANDS:
        assert f"python -m launch {command}" in out


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["statsu", "x"], "did you mean 'status'"),
        (["logs"], "required: sweep"),
        (["status", "--json"], "required: sweep"),
        (["status", "nowhere"], "no sweep nowhere in"),
        (["logs", "SWEEP", "x"], "invalid int value"),
        (["extend", "SWEEP"], "required: overrides"),
        (["retry", "SWEEP", "--mem-gb", "3"], "unrecognized arguments: --mem-gb"),
        (["status", "SWEEP", "3"], "unrecognized arguments: 3"),
        (["cancel", "SWEEP", "seed=1"], "invalid int value"),
    ],
)
def test_a_mistake_is_one_line(make_sweep, called, capsys, argv, part):
    sweep = make_sweep()
    assert main([str(sweep.directory) if word == "SWEEP" else word for word in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert part in err
    assert called == []


@pytest.mark.parametrize("change", ["3", "seed=5", "hydra.launcher.mem_bg=64"])
def test_what_is_no_setting_of_the_launcher_is_refused_in_one_line(make_sweep, capsys, change):
    sweep = make_sweep()
    before = (sweep.directory / "sweep.json").read_bytes()
    assert main(["retry", str(sweep.directory), change]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {change}: expected hydra.launcher.KEY=VALUE")
    assert err.count("\n") == 1
    assert (sweep.directory / "sweep.json").read_bytes() == before


def test_a_sweep_is_named_or_given_as_a_path(make_sweep, runs_root, monkeypatch):
    sweep = make_sweep()
    assert sweep.directory == runs_root / "walk"
    assert sweep_directory("walk") == sweep.directory
    assert sweep_directory(str(sweep.directory)) == sweep.directory
    with pytest.raises(
        RunDirectoryError, match=r"no sweep wakl in .*did you mean 'walk'\?.*HARMONY"
    ):
        sweep_directory("wakl")
    monkeypatch.chdir(runs_root)
    monkeypatch.delenv("HARMONY_RUNS")
    assert sweep_directory("walk") == sweep.directory


@pytest.mark.parametrize("argv", [["status", "--help"], ["logs", "x", "-h"]])
def test_help_of_a_command(capsys, argv):
    assert main(argv) == 0
    assert capsys.readouterr().out == module.USAGE


@pytest.mark.usefixtures("runs_root")
@pytest.mark.parametrize(
    ("command", "more"),
    [("retry", []), ("retry", ["hydra.launcher.mem_gb=64"]), ("extend", ["seed=5"])],
)
def test_what_adds_to_a_sweep_goes_on_with_the_sweeps_code(
    make_sweep, called, tmp_path, command, more
):
    sweep = make_sweep()
    package = sweep.code / "launch"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, sys\n"
        f"json.dump([sys.argv[1:], __file__], open({str(tmp_path / 'said')!r}, 'w'))\nsys.exit(3)\n"
    )
    with pytest.raises(SystemExit) as caught:
        main([command, "walk", *more])
    assert caught.value.code == 3
    arguments, file = json.loads((tmp_path / "said").read_text())
    assert arguments == [command, str(sweep.directory), *more]
    assert file == str(package / "__main__.py")
    assert called == []


def test_the_sweeps_own_code_does_not_go_on_elsewhere(make_sweep, called, monkeypatch):
    sweep = make_sweep()
    (sweep.code / "launch").mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(sweep.code / "launch" / "__main__.py"))
    assert main(["retry", str(sweep.directory)]) == 0
    assert called == [("retry", ([],), {})]


def test_it_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "launch"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Watch and steer sweeps" in done.stdout
