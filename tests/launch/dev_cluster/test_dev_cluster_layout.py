from pathlib import Path

import pytest

from harmony.errors import ConfigError
from launch.dev_cluster.layout import Layout


def test_made_and_removed(tmp_path):
    layout = Layout(tmp_path / "c")
    layout.check()
    layout.make()
    layout.stored.write_text("{}")
    (layout.munge / "munge.key").write_text("x")
    assert layout.munge.stat().st_mode & 0o777 == 0o700
    assert layout.exists
    layout.remove()
    assert not layout.root.exists()


def test_files_of_others_stay(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    (tmp_path / "slurm-1.out").write_text("mine")
    layout.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["slurm-1.out"]


@pytest.mark.parametrize("path", ["/a b", "/a,b", "/a[1]", "/a#b", "/" + 80 * "a"])
def test_paths_that_slurm_can_not_have(path):
    with pytest.raises(ConfigError, match="expected --dir"):
        Layout(Path(path)).check()


def test_a_foreign_directory_is_refused(tmp_path):
    root = Path("/proc/self")  # short, and surely neither empty nor ours
    with pytest.raises(ConfigError, match="with other files"):
        Layout(root).check()
    file = tmp_path / "f"
    file.write_text("")
    with pytest.raises(ConfigError, match="--dir"):
        Layout(file).check()
