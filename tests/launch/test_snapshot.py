import json
import shutil
import subprocess
from pathlib import Path

import pytest

import harmony
import launch
from harmony.tracking import provenance
from launch.snapshot import take_snapshot

FILES = {
    ".gitignore": "ignored.py\n__pycache__/\n",
    "harmony/__init__.py": "",
    "harmony/agent.py": "one\n",
    "harmony/ignored.py": "x\n",
    "harmony/__pycache__/agent.pyc": "x",
    "launch/__init__.py": "",
    "conf/config.yaml": "a: 1\n",
    "conf/env/dmc.yaml": "b: 1\n",
    "README.md": "no code\n",
}
COPIED = [
    "conf/config.yaml", "conf/env/dmc.yaml", "harmony/__init__.py", "harmony/agent.py",
    "launch/__init__.py", "snapshot.json",
]  # fmt: skip


def git(folder, *arguments):
    own = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *own, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of the test's own in the place of ours; no checkout yet."""
    root = tmp_path / "project"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(harmony, "__file__", str(root / "harmony" / "__init__.py"))
    monkeypatch.setattr(launch, "__file__", str(root / "launch" / "__init__.py"))
    return root


@pytest.fixture
def checkout(project):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    return project


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.usefixtures("checkout")
def test_a_copy_of_a_checkout(tmp_path):
    target = tmp_path / "runs" / "walk" / "code"
    take_snapshot(target)
    assert files(target) == COPIED
    facts = json.loads((target / "snapshot.json").read_text())
    assert len(facts["git_commit"]) == 40
    assert facts["git_dirty"] == "false"
    assert facts["git_diff"] == ""
    assert [p.name for p in target.parent.iterdir()] == ["code"]


def test_changes_and_new_files_are_in_it_and_later_edits_are_not(checkout, tmp_path):
    (checkout / "harmony" / "agent.py").write_text("two\n")
    (checkout / "harmony" / "new.py").write_text("new\n")
    (checkout / "conf" / "env" / "dmc.yaml").unlink()
    target = tmp_path / "code"
    take_snapshot(target)
    (checkout / "harmony" / "agent.py").write_text("three\n")
    take_snapshot(target)  # it is there: nothing is done
    assert (target / "harmony" / "agent.py").read_text() == "two\n"
    assert (target / "harmony" / "new.py").read_text() == "new\n"
    assert not (target / "conf" / "env").exists()
    facts = json.loads((target / "snapshot.json").read_text())
    assert facts["git_dirty"] == "true"
    assert "+two" in facts["git_diff"]


def test_runs_of_the_copy_know_where_it_was_taken(checkout, tmp_path, monkeypatch):
    take_snapshot(tmp_path / "code")
    facts = provenance.git_facts()
    (checkout / "harmony" / "agent.py").write_text("two\n")
    monkeypatch.setattr(harmony, "__file__", str(tmp_path / "code" / "harmony" / "__init__.py"))
    assert provenance.git_facts() == facts
    assert provenance.git_facts()["git_dirty"] == "false"


@pytest.mark.usefixtures("project")
def test_outside_a_checkout_everything_but_byte_code_is_copied(tmp_path):
    take_snapshot(tmp_path / "code")
    assert files(tmp_path / "code") == sorted([*COPIED, "harmony/ignored.py"])
    facts = json.loads((tmp_path / "code" / "snapshot.json").read_text())
    assert facts == {"git_commit": "", "git_dirty": "", "git_diff": ""}


@pytest.mark.usefixtures("checkout")
def test_without_git_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    take_snapshot(tmp_path / "code")
    assert "harmony/agent.py" in files(tmp_path / "code")
    assert "harmony/__pycache__/agent.pyc" not in files(tmp_path / "code")


@pytest.mark.usefixtures("checkout")
def test_a_broken_off_copy_leaves_nothing(tmp_path, monkeypatch):
    real, copied = shutil.copy2, []

    def full(source, target):
        if len(copied) == 2:
            raise OSError("no space left on device")
        copied.append(real(source, target))

    monkeypatch.setattr(shutil, "copy2", full)
    (tmp_path / "sweep").mkdir()
    with pytest.raises(OSError, match="no space left"):
        take_snapshot(tmp_path / "sweep" / "code")
    assert len(copied) == 2
    assert list((tmp_path / "sweep").iterdir()) == []


@pytest.mark.usefixtures("checkout")
def test_another_submission_may_be_faster(tmp_path, monkeypatch):
    target = tmp_path / "code"
    real = shutil.copy2

    def slow(source, copy):
        target.mkdir(exist_ok=True)
        (target / "theirs").touch()
        return real(source, copy)

    monkeypatch.setattr(shutil, "copy2", slow)
    take_snapshot(target)
    assert files(target) == ["theirs"]
    assert [p.name for p in tmp_path.iterdir() if "code" in p.name] == ["code"]


def test_the_copy_of_this_very_code_is_whole(tmp_path):
    take_snapshot(tmp_path / "code")
    root = Path(harmony.__file__).parents[1]
    for name in ("harmony/train.py", "launch/worker.py", "conf/hydra/launcher/slurm.yaml"):
        assert (tmp_path / "code" / name).read_bytes() == (root / name).read_bytes()
    assert not list((tmp_path / "code").rglob("__pycache__"))
