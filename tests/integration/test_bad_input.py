"""What a user gets wrong: one line that says what would be right, exit code 2, nothing left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harmony.__main__ import main
from harmony.filelock import FileLock

ROOT = Path(__file__).parents[2]
SMALL = ["env=probe", "debug=smoke", "tracking=none", "device=cpu"]
CASES = {
    "env=metawrold": "did you mean 'metaworld'",
    "env=metaworld env.task=lever_pul": "did you mean lever_pull",
    "env=dmc env.task=walker_wlk": "did you mean walker_walk",
    "algorithm.rssm.cell.detr=200": "did you mean 'deter'",
    "algorithm.rssm.hiden=200": "did you mean 'hidden'",
    "+algorithm.rssm.cell.detr=200": "GRUCell has no argument 'detr'; did you mean 'deter'",
    "algorithm=dreamerv3 algorithm.style.act=gelu": "act",
    "algorithm=dreamerv3 size=12m": "algorithm=dreamerv3 has no size=12m; take one of paper,",
    "algorithm=dreamerv4": "did you mean 'dreamerv3'",
    "objective=prototypes env.observation=vector": "take objective=reconstruction",
    "env.image_size=48 algorithm=dreamerv3": "an image side of 4 times a power of two, got 48",
    "env.image_size=48": "change algorithm.decoder.cnn.kernels or env.image_size",
    "replay.sequences=streams": "replay.sequences",
    "+typo=1": "no key 'typo'",
    "precision=fp12": "did you mean",
    "precision=fp16": "needs a CUDA device",
    "seed=-1": "seed must be at least 0, got -1",
    "seed=one": "seed",
    "algorithm.objective=null": "expected Callable[..., Reconstruction | Prototypes], got null",
    "harmony=fixed harmony.rewrd=3": "did you mean 'reward'",
    "replay.capacity=1000000000000": "lower replay capacity",
    "training.env_steps=0": "training.env_steps must be at least 1, got 0",
    "algorithm.behavior.horizon=1": "horizon must be at least 2, got 1",
    "algorithm.loss_scales.image=null": "image",
    "init_from=/nowhere": "init_from=/nowhere does not exist",
    "run_dir=/proc/nowhere/run": "can't write the run directory",
    "device=tpu": "device must be auto, cpu, cuda or cuda:N, got 'tpu'",
}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs the command and gives the one line that it says."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_left(case, tmp_path, capsys):
    root = tmp_path / "runs"
    line = refused([*SMALL, *case.split(), f"runs_root={root}"], capsys)
    assert CASES[case] in line
    assert not root.exists()


def test_cuda_without_cuda(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    line = refused([*SMALL, "device=cuda", f"runs_root={tmp_path / 'runs'}"], capsys)
    assert "needs a CUDA device that is not here" in line
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run that has ended."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    assert main([*SMALL, "training.env_steps=100", f"run_dir={run_dir}"]) == 0
    return run_dir


def test_a_run_directory_of_another_configuration(finished, capsys):
    steps = "training.env_steps=100"
    line = refused([*SMALL, steps, "seed=5", "harmony=off", f"run_dir={finished}"], capsys)
    assert "seed (has 0, got 5)" in line
    assert "is another run" in line


def test_a_run_can_only_grow(finished, capsys):
    line = refused([*SMALL, "training.env_steps=50", f"run_dir={finished}"], capsys)
    assert "can only grow, it was 100, got 50" in line


def test_a_run_directory_of_a_live_process(finished, capsys):
    lock = FileLock(finished / "run.lock")
    assert lock.acquire(wait=False)
    (finished / "run.lock").write_text('{"pid": 4242, "host": "elsewhere"}')
    try:
        line = refused([*SMALL, "training.env_steps=100", f"run_dir={finished}"], capsys)
    finally:
        lock.release()
    assert "in use by process 4242 on elsewhere" in line


def test_a_directory_that_holds_something_else(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("don't touch")
    line = refused([*SMALL, f"run_dir={tmp_path}"], capsys)
    assert "thesis.tex" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_weights_of_another_size(finished, tmp_path, capsys):
    arguments = [*SMALL, f"init_from={finished}", "size.deter=24", f"runs_root={tmp_path / 'r'}"]
    line = refused(arguments, capsys)
    assert "don't fit this agent" in line
    assert not (tmp_path / "r").exists()


def command(root: Path, arguments: list[str], **variables: str) -> tuple[int, list[str], float]:
    """Exit code, lines on stderr and seconds of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HARMONY_RUNS": str(root), **variables}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "harmony", *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines(), time.monotonic() - begin


@pytest.mark.sim
@pytest.mark.parametrize(
    ("backend", "expected"), [("nonsense", "egl, osmesa or glfw"), ("glfw", "libegl1")]
)
def test_a_way_of_rendering_that_cannot_work(backend, expected, tmp_path):
    arguments = ["debug=smoke", "tracking=none", "env.task=cartpole_swingup"]
    variables = {"MUJOCO_GL": backend, "DISPLAY": ""}
    code, lines, _ = command(tmp_path / "runs", arguments, **variables)
    assert code == 2
    assert len(lines) == 1
    assert expected in lines[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_leaves_the_old_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", disk], check=True)
    try:
        # The replay's files are small; it is the third checkpoint that finds the disk full.
        arguments = [
            *SMALL, "evaluation.video=false", "replay.segment_steps=16", "replay.capacity=200",
            "checkpoint.every_env_steps=100", "training.env_steps=100_000",
            f"run_dir={disk / 'run'}",
        ]  # fmt: skip
        code, lines, _ = fill_while_running(disk, arguments)
        assert code == 2
        assert lines[-1].startswith("error: ")
        assert "full" in lines[-1]
        kept = sorted((disk / "run" / "checkpoints").glob("checkpoint-*.ckpt"))
        assert kept
        from harmony.training.checkpoint import read_checkpoint

        assert all("agent" in read_checkpoint(path) for path in kept)
    finally:
        subprocess.run(["umount", disk], check=True)


def fill_while_running(disk: Path, arguments: list[str]) -> tuple[int, list[str], float]:
    """Fills the disk once two checkpoints are there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [sys.executable, "-m", "harmony", *arguments],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    begin = time.monotonic()
    while len(list(disk.glob("run/checkpoints/checkpoint-*.ckpt"))) < 2:
        assert run.poll() is None
        assert time.monotonic() - begin < 120
        time.sleep(0.05)
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass  # it is full now, which is the point
    _, errors = run.communicate(timeout=120)
    return run.returncode, errors.splitlines(), time.monotonic() - begin
