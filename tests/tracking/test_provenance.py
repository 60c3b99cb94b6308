import re
import subprocess
from importlib import metadata

import pytest

from harmony.tracking import provenance
from harmony.tracking.provenance import git_commit


def test_everything_is_text_and_the_important_is_there():
    found = provenance.provenance()
    assert all(isinstance(value, str) for value in found.values())
    assert set(found) == {
        *("git_commit", "git_dirty", "git_diff", "hostname", "cpu", "cores", "ram_gb", "gpu"),
        *("harmony", "python", "torch", "numpy", "gymnasium", "mujoco", "metaworld", "mlflow"),
    }
    for key in ("hostname", "python", "numpy", "torch", "harmony"):
        assert found[key]
    assert int(found["cores"]) >= 1
    assert float(found["ram_gb"]) > 0


def test_packages_of_a_suite_are_told_by_the_names_that_pip_knows():
    found = provenance.provenance(["PIL", "yaml", "no_such_module"])
    assert found["pillow"] == metadata.version("pillow")
    assert found["PyYAML"] == metadata.version("pyyaml")
    assert set(found) == {*provenance.provenance(), "pillow", "PyYAML"}


def test_without_git_nothing_fails(monkeypatch):
    monkeypatch.setattr(provenance.shutil, "which", lambda _: None)
    found = provenance.provenance()
    assert (found["git_commit"], found["git_dirty"], found["git_diff"]) == ("", "", "")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout that holds a package, and a function to run git in it."""

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    package = tmp_path / "harmony"
    package.mkdir()
    (package / "__init__.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance.harmony, "__file__", str(package / "__init__.py"))
    git("init")
    return tmp_path, git


def test_a_checkout_tells_its_commit_and_its_diff(checkout):
    directory, git = checkout
    git("add", ".")
    git("commit", "-m", "x")
    found = provenance.provenance()
    assert re.fullmatch("[0-9a-f]{40}", found["git_commit"])
    assert (found["git_dirty"], found["git_diff"]) == ("false", "")
    (directory / "harmony" / "__init__.py").write_text("a = 2\n")
    found = provenance.provenance()
    assert found["git_dirty"] == "true"
    assert "-a = 1\n+a = 2" in found["git_diff"]


def test_a_foreign_repository_around_an_installed_package_is_not_ours(checkout):
    directory, git = checkout
    (directory / "other.txt").write_text("x")
    git("add", "other.txt")
    git("commit", "-m", "x")
    assert git_commit() == ""
