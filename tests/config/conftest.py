import shutil
import sys
from pathlib import Path

import pytest

import harmony
from harmony.config.nodes import Constructor
from tests.config import fakes


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    """A small conf tree of the test's own, found as that of a checkout; the cwd is empty."""
    project = tmp_path / "project"
    shutil.copytree(Path(__file__).parent / "conf", project / "conf")
    monkeypatch.setattr(harmony, "__file__", str(project / "harmony" / "__init__.py"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HARMONY_RUNS", raising=False)
    return project / "conf"


@pytest.fixture(autouse=True)
def named_fakes(monkeypatch):
    monkeypatch.setitem(sys.modules, "harmony.fakes", fakes)
    Constructor.of.cache_clear()
    yield
    Constructor.of.cache_clear()
