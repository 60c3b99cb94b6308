import subprocess
import sys
import types
from pathlib import Path

import pytest

import harmony
from harmony.__main__ import main
from harmony.config.check import check_nodes
from harmony.config.compose import from_job
from harmony.config.run_dir import RunDirectory
from harmony.errors import EnvError
from tests.config import fakes

ROOT = Path(harmony.__file__).parents[1]


class Train(types.ModuleType):
    """Stands in for harmony.train and writes down what it was asked for."""

    def __init__(self):
        super().__init__("harmony.train")
        self.checked, self.ran, self.code = [], [], 0

    def check(self, composed):
        check_nodes(composed, {fakes.RSSM: {"embed_size"}})
        self.checked.append(composed.config["seed"])

    def run(self, composed):
        self.ran.append(composed)
        if composed.config["seed"] == 13:
            raise EnvError("seed 13 brings bad luck")
        RunDirectory.open(composed.config, composed.choices, composed.overrides).close()
        return self.code

    def task(self, cfg):
        return self.run(from_job(cfg))


@pytest.fixture
def train(monkeypatch):
    module = Train()
    monkeypatch.setitem(sys.modules, "harmony.train", module)
    return module


def files():
    return sorted(str(p) for p in Path().rglob("*") if p.is_file())


def test_one_run_is_checked_and_run_with_its_exit_code(train):
    train.code = 143
    assert main(["seed=5"]) == 143
    assert train.checked == [5]
    assert train.ran[0].overrides == ["seed=5"]


@pytest.mark.parametrize(
    "argv",
    [
        ["env=wakler"],
        ["+typo=1"],
        ["algorithm.rssm.deter=abc"],
        ["seed=0,1"],
        ["-m", "seed=0,abc"],
        ["-m", "seed=0,1", "run_dir=x"],
        ["-m", "device=cpu,cuda"],
        ["-m", "seed=0,1", "sweep=a/b"],
        ["--seed=1"],
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(train, capfd, argv):
    assert main(argv) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert train.ran == []
    assert files() == []


def test_interrupt(train, monkeypatch):
    def interrupted(_composed):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", interrupted)
    assert main([]) == 130


def test_a_bug_is_not_hidden(train, monkeypatch):
    def broken(_composed):
        raise ZeroDivisionError

    monkeypatch.setattr(train, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_cfg_job_prints_and_stops(train, capsys):
    assert main(["--cfg", "job", "seed=4"]) == 0
    assert "seed: 4\n" in capsys.readouterr().out
    assert train.checked == []
    assert files() == []


def test_a_sweep_runs_every_combination_below_its_name(train):
    assert main(["-m", "seed=0,1", "harmony=on,off", "sweep=walk"]) == 0
    assert train.checked == [0, 0, 1, 1]
    ran = [(run.config["seed"], run.choices["harmony"], run.overrides) for run in train.ran]
    assert ran == [
        (0, "on", ["seed=0", "harmony=on", "sweep=walk"]),
        (0, "off", ["seed=0", "harmony=off", "sweep=walk"]),
        (1, "on", ["seed=1", "harmony=on", "sweep=walk"]),
        (1, "off", ["seed=1", "harmony=off", "sweep=walk"]),
    ]
    runs = sorted(p.parent.name[:-9] for p in Path("runs/walk").glob("*/run.json"))
    assert runs == [
        "walker-walk-recurrent-off-seed0",
        "walker-walk-recurrent-off-seed1",
        "walker-walk-recurrent-on-seed0",
        "walker-walk-recurrent-on-seed1",
    ]
    assert [p for p in files() if p.startswith("runs/walk/") and p.count("/") == 2] == [
        "runs/walk/multirun.yaml"
    ]


def test_the_same_sweep_again_finds_its_runs(train):
    for _ in range(2):
        assert main(["-m", "seed=0,1", "sweep=walk"]) == 0
    assert len(train.ran) == 4
    assert len(list(Path("runs/walk").glob("*/run.json"))) == 2


def test_a_nameless_sweep_gets_a_new_name(train):
    assert main(["-m", "seed=0,1"]) == 0
    (sweep,) = Path("runs").iterdir()
    assert sweep.name.startswith("sweep-")
    assert {run.config["sweep"] for run in train.ran} == {sweep.name}


def test_a_failed_run_does_not_stop_the_others_but_the_sweep_fails(train, capsys):
    assert main(["-m", "seed=13,1", "sweep=walk"]) == 2
    assert [run.config["seed"] for run in train.ran] == [13, 1]
    assert capsys.readouterr().err.splitlines()[-1] == "error: seed 13 brings bad luck"


@pytest.mark.usefixtures("train")
def test_odd_paths_survive_quoting(tmp_path):
    root = tmp_path / "it's a=b, c"
    assert main(["-m", "seed=0", "sweep=s", 'runs_root="' + str(root) + '"']) == 0
    assert len(list((root / "s").glob("*/run.json"))) == 1


def test_another_launcher_means_a_sweep(train, conf, monkeypatch):
    directory = conf / "hydra" / "launcher"
    directory.mkdir(parents=True)
    (directory / "twin.yaml").write_text(
        "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
    )
    swept = []
    monkeypatch.setattr(
        "harmony.config.sweep.launch", lambda _task, o, runs: swept.append((o, len(runs))) or 0
    )
    assert main(["hydra/launcher=twin", "seed=0,1", "sweep=s"]) == 0
    assert swept == [(["hydra/launcher=twin", "seed=0,1", "sweep=s"], 2)]
    assert train.ran == []


def test_help_and_version_are_quick_and_import_nothing_heavy():
    code = (
        "import sys, time; t = time.process_time(); from harmony.__main__ import main;"
        "main([sys.argv[1]]); heavy = {'torch', 'hydra', 'numpy'} & set(sys.modules);"
        "print('heavy', sorted(heavy), time.process_time() - t < 0.5)"
    )
    for option, text in (("--help", "algorithm"), ("--version", harmony.__version__)):
        done = subprocess.run(
            [sys.executable, "-c", code, option], cwd=ROOT, capture_output=True, text=True
        )
        assert text in done.stdout
        assert done.stdout.endswith("heavy [] True\n")
