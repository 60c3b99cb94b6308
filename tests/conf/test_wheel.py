"""An installed wheel carries conf/ and works from anywhere."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [path for top in ("harmony", "launch") for path in (ROOT / top).rglob("__init__.py")]
    found = {path.parent.relative_to(ROOT) for path in inits}
    assert set(listed) == {".".join(path.parts) for path in found} | {"harmony.conf"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the checkout, so that the checkout gets no build directories."""
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("harmony", "launch", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    (source / "README.md").write_text("Its text does not matter here.\n")
    command = [sys.executable, "-m", "pip", "wheel", ".", "-q", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "-w", "out"], cwd=source, check=True, timeout=120
    )
    (built,) = (source / "out").glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_every_yaml_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.endswith(".yaml")}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert held == {f"harmony/{name}" for name in wanted}


@pytest.mark.slow
def test_an_installed_wheel_composes_from_another_directory(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "harmony", "--cfg", "job", "env=metaworld", "size=tiny"],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "_target_: harmony.envs.metaworld.MetaWorld" in done.stdout
