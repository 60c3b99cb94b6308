"""The examples start what they should."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.mlflow_server.__main__ import parser

EXAMPLES = Path(__file__).parents[3] / "launch" / "mlflow_server" / "examples"
UNIT = EXAMPLES / "harmony-mlflow.service"
BATCH = EXAMPLES / "mlflow_server.sbatch"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_sound(tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/harmony/.venv/bin/python", sys.executable))
    done = run("systemd-analyze", "verify", str(copy))
    assert UNIT.name not in done.stderr
    assert done.returncode == 0


def test_the_unit_s_command_is_understood():
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    python, *rest = shlex.split(line)
    assert python.endswith("bin/python")
    assert rest[:2] == ["-m", "launch.mlflow_server"]
    found = parser().parse_args(rest[2:])
    assert found.foreground
    assert found.dir == Path("/var/lib/harmony-mlflow")  # StateDirectory makes it


def test_the_batch_script_is_sound():
    done = run("bash", "-n", str(BATCH))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_batch_script_starts_a_server_that_signals_reach(tmp_path):
    fake = tmp_path / "python"
    fake.write_text('#!/bin/bash\necho "$@"\n')
    fake.chmod(0o755)
    environ = {
        "PYTHON": str(fake),
        "SLURM_SUBMIT_DIR": "/shared/my project",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        ["bash", str(BATCH)], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    arguments = done.stdout.strip()
    place = "--dir /shared/my project/runs/mlflow_server"
    assert arguments == f"-m launch.mlflow_server start --foreground {place} --port 0"
    assert 'exec "$PYTHON"' in BATCH.read_text()
