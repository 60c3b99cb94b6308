"""The report from the command line."""

import subprocess
import sys

import pytest

from harmony.analysis.comparable import Column
from harmony.report import main, sides
from tests.made_up_runs import SUCCESS, evaluations, write_run


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def sweep(root, *tasks, arms=("on", "off"), seeds=3, **changes):
    for task in tasks:
        for arm in arms:
            for seed in range(seeds):
                rows = evaluations(10.0 * seed, 100.0 * seed + (50 if arm == "on" else 0))
                name = f"{task}-{arm}-{seed}"
                write_run(root / "s" / name, rows, task=task, harmony=arm, seed=seed, **changes)


def error_of(capsys, *arguments):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_from_directories_to_a_table_and_files(root, tmp_path, capsys):
    sweep(root, "walker_walk", "cheetah_run")
    assert main(["s", f"out={tmp_path / 'out'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "eval/return at the end: 12 runs, env=dmc, algorithm=dreamerv2, size=tiny"
    # 50, 150, 250: mean 150, deviation 100, t(2) = 4.3027; Welch's t(4) = 2.7764.
    assert lines[4].startswith("cheetah_run  on           3        100  150.0 (-98.4 to 398.4)")
    assert "+50.0 (-176.7 to 276.7)" in lines[4]
    assert lines[8].startswith("harmony  tasks  runs  scores are     mean")
    assert lines[10].startswith("on           2     6  return / 1000  0.150 (")
    assert (tmp_path / "out" / "report.md").exists()
    assert (tmp_path / "out" / "aggregate.csv").exists()


def test_filters_steps_and_other_metrics(root, capsys):
    sweep(root, "walker_walk", "cheetah_run")
    assert main(["s", "env.task=walker_walk", "at=50", "baseline=none", "seed=1,2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("eval/return at 50 env steps: 4 runs, env=dmc, env.task=walker_walk, ")
    assert "15.0 (-48.5 to 78.5)" in out
    assert "minus" not in out


def test_everything_below_the_root_by_its_experiment(root, capsys):
    sweep(root, "walker_walk", arms=["on"])
    assert main(["experiment=here"]) == 0
    assert "3 runs" in capsys.readouterr().out
    assert "no run is left" in error_of(capsys, "experiment=there")


def test_success_comes_where_the_suite_knows_it(root, capsys):
    for seed, share in enumerate((0.4, 0.5, 0.6)):
        rows = [{"env_step": 100, "eval/return": 1.0, SUCCESS: share}]
        write_run(root / "s" / str(seed), rows, seed=seed)
    assert main(["s"]) == 0
    assert "0.50 (0.25 to 0.75)" in capsys.readouterr().out


def test_unfinished_runs_are_shown_and_count_at_a_step(root, capsys):
    sweep(root, "walker_walk", arms=["on"])
    rows = evaluations(9.0)
    write_run(root / "s" / "late", rows, seed=7, status=None, env_steps=100)
    assert main(["s"]) == 0
    out = capsys.readouterr().out
    assert "3 of 4" in out
    assert "left out: s/late, unfinished (still running, or its process died), at 50 of 100" in out
    assert main(["s", "at=50"]) == 0
    assert "left out" not in capsys.readouterr().out


class TestRefused:
    """What must not be mixed: one line, exit code 2, what differs, and what to do."""

    def test_versions_of_a_suite(self, root, capsys):
        env = {"time_limit": 500, "action_repeat": 1}
        for name in ("metaworld", "metaworld_v2"):
            target = {"_target_": f"harmony.envs.{name}.X", **env}
            changes = {"task": "hammer", "env": name, "config": {"env": target}}
            write_run(root / name, evaluations(1.0, 2.0), **changes)
        error = error_of(capsys, "env.task=hammer")
        assert "metaworld and metaworld_v2 can't stand in one table: suite.version" in error
        assert "choose with suite.version=v3, or show them apart with split=suite.version" in error
        assert main(["suite.version=v3"]) == 0
        assert main(["split=suite.version"]) == 0
        assert "metaworld_v2" in capsys.readouterr().out

    def test_evaluations_of_other_lengths(self, root, capsys):
        sweep(root, "walker_walk", arms=["on"])
        write_run(root / "s" / "b", evaluations(1.0, 2.0), seed=8, episodes=20)
        assert "evaluation.episodes of dmc is 20 and 10" in error_of(capsys, "s")
        assert main(["s", "split=evaluation.episodes"]) == 0
        assert "episodes" in capsys.readouterr().out.splitlines()[2]
        assert main(["s", "ignore=evaluation.episodes"]) == 0
        assert "taken together though they differ: evaluation.episodes" in capsys.readouterr().out

    def test_the_same_seed_twice(self, root, capsys):
        for name in "ab":
            write_run(root / name, evaluations(1.0, 2.0), seed=3)
        assert "a and b are one experiment with the same seed 3" in error_of(capsys, "a", "b")

    def test_runs_of_other_lengths(self, root, capsys):
        write_run(root / "a", evaluations(1.0, 2.0), seed=1)
        write_run(root / "b", evaluations(*range(4)), env_steps=200)
        assert "at=100 compares them there" in error_of(capsys, "seed=0,1")
        assert main(["seed=0,1", "at=100"]) == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope"], "nope is no directory"),
            (["s", "metric=eval/retrun"], "did you mean 'eval/return'?"),
            (["s", "at=75"], "was not evaluated at 75 env steps, the nearest are 50 and 100"),
            (["s", "at=5000"], "no run counts: s/walker_walk-off-0 has reached 100 of 5,000"),
            (["s", "baseline=harmony=fixed"], "no run has it; harmony is off, on here"),
            (["s", "split=suite.verison"], "suite.verison: no run has such a key"),
            (["s", "harmny=on"], "harmny=on: no run has such a key; did you mean 'harmony'?"),
        ],
    )
    def test_mistakes(self, root, capsys, arguments, message):
        sweep(root, "walker_walk", seeds=1)
        assert message in error_of(capsys, *arguments)


def test_what_differs_beside_harmony_keeps_arms_apart(root, capsys):
    write_run(root / "a", evaluations(1.0, 2.0), harmony="off")
    lr = {"config": {"algorithm": {"lr": 0.1}}, "overrides": ["algorithm.lr=0.1"]}
    write_run(root / "b", evaluations(1.0, 2.0), harmony="on", **lr)
    assert main(["harmony=on,off"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[2].split()[:2] == ["lr", "harmony"]
    assert "no difference, since nothing stands beside harmony=off: lr=0.0001; lr=0.1" in out


def test_weights_of_one_arm_are_arms_of_their_own(root, capsys):
    write_run(root / "off", evaluations(1.0, 2.0), harmony="off")
    for weight in (1, 100):
        changes = {
            "config": {"harmony": {"reward": weight}},
            "overrides": [f"harmony.reward={weight}"],
        }
        write_run(root / f"w{weight}", evaluations(1.0, 3.0), harmony="fixed", **changes)
    assert main(["seed=0"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:6]]
    assert rows == [["harmony", "reward"], ["off", "-"], ["fixed", "1"], ["fixed", "100"]]
    assert "fits 2 arms" in error_of(capsys, "seed=0", "baseline=harmony=fixed")
    assert main(["seed=0", "baseline=harmony=fixed,harmony.reward=1"]) == 0


def test_sides():
    columns = [Column(key, key) for key in ("env.task", "harmony", "harmony.reward", "size")]
    place, arm = sides(columns, {})
    assert [column.key for column in arm] == ["harmony", "harmony.reward"]
    place, arm = sides(columns, {"size": "tiny", "harmony": "off"})
    assert [column.key for column in place] == ["env.task", "harmony.reward"]
    place, arm = sides([*columns, Column("env.look", "look")], {"env": "dmc"})
    assert [column.key for column in arm] == ["env.look"]


def test_help(capsys):
    assert main([]) == 0
    assert "python -m harmony.report RUNS" in capsys.readouterr().out
    assert main(["a", "--help"]) == 0


def test_it_needs_neither_torch_nor_mlflow_nor_hydra(root):
    sweep(root, "walker_walk")
    code = (
        "import sys; sys.modules.update(torch=None, mlflow=None, hydra=None, matplotlib=None)\n"
        "from harmony.report import main; sys.exit(main(['s']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 runs" in done.stdout
