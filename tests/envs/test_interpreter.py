import os
import re
import sys

import pytest

from harmony.envs.interpreter import find_interpreter
from harmony.errors import EnvError

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def refused(python, said, version=VERSION):
    wanted = re.escape(f"env old: env.python must be a Python {version} with the simulator, ")
    with pytest.raises(EnvError, match=rf"^{wanted}{said}$"):
        find_interpreter(python, version, "old")


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_this_one_is_found_by_its_path():
    assert find_interpreter(sys.executable, VERSION, "old") == sys.executable


def test_any_version_will_do_where_none_is_named():
    assert find_interpreter(sys.executable, None, "old") == sys.executable


def test_a_link_stays_one(tmp_path):
    """A virtual environment is recognised by where its interpreter's link lies."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    linked = program(tmp_path / "linked", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_interpreter(linked, VERSION, "old") == linked
    assert link.resolve() != link


def test_a_command_is_looked_up(tmp_path, monkeypatch):
    command = program(tmp_path / "python-old", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_interpreter("python-old", VERSION, "old") == command
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_interpreter("~/python-old", VERSION, "old") == command


@pytest.mark.parametrize("python", [None, ""])
def test_none_is_one_line(python):
    refused(python, r"got none; docs/bridge\.md tells how to make one")


@pytest.mark.parametrize("suite", ["minedojo", "rlbench"])
def test_a_suite_with_a_guide_of_its_own_names_it(suite):
    with pytest.raises(EnvError, match=rf"not there; docs/{suite}\.md tells how to make one$"):
        find_interpreter("/no/such/python", None, suite)


def test_one_that_is_not_there_is_one_line(tmp_path):
    refused("/no/such/python", r"but /no/such/python is not there; docs/bridge\.md .*")
    (tmp_path / "text").write_text("")
    refused(str(tmp_path / "text"), r"but .*/text can't be executed; docs.*")
    refused(str(tmp_path), r"but .* can't be executed; docs.*")


def test_another_version_is_one_line():
    refused(sys.executable, rf"but {sys.executable} is Python {VERSION}; docs.*", version="3.6")


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n", "\x7fELF nonsense"])
def test_what_is_no_python_is_one_line(tmp_path, text):
    refused(program(tmp_path / "tool", text), r"but .*/tool runs no Python code; docs.*")


def test_one_without_numpy_is_told_how_to_get_it(tmp_path):
    bare = program(tmp_path / "bare", f"#!/bin/sh\necho {VERSION} False\n")
    refused(bare, rf"but {bare} has no NumPy; {bare} -m pip install numpy")
