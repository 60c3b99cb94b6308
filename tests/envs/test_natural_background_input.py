"""Natural backgrounds with videos that are missing, broken, or others than before."""

import shutil
import sys

import pytest

from harmony.envs.natural_background import NaturalBackground
from harmony.envs.render import RenderQuality
from harmony.envs.suite import check_suite
from harmony.errors import CheckpointError, EnvError
from tests.envs.films import make_film

pytestmark = pytest.mark.sim

FAST = RenderQuality(0, 0, cast_shadows=False, reflection=False)
MODULE = "harmony.envs.natural_background"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Six clips of five frames, each clip of another shade."""
    for clip in range(6):
        make_film(tmp_path / "clips" / f"{clip}.avi", [40 * clip] * 5)
    return str(tmp_path / "clips")


def make(folder=None, task="cartpole_swingup", **kwargs):
    return NaturalBackground(task=task, render=FAST, clips=folder, **kwargs)


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(EnvError, match=r"env\.clips: expected videos .* found none; put some"):
        make(str(tmp_path))


def test_an_unreadable_file(folder, tmp_path):
    (tmp_path / "clips" / "0_bad.mp4").write_bytes(b"no video")
    with pytest.raises(EnvError, match=r"1 of 7 videos can't be read, .*0_bad\.mp4; remove"):
        make(folder)


def test_it_is_found_before_a_run_begins(folder, tmp_path):
    target = f"{MODULE}.NaturalBackground"
    check_suite(target, {"task": "walker_walk", "clips": folder, "split": True})
    for clip in range(1, 6):
        (tmp_path / "clips" / f"{clip}.avi").unlink()
    check_suite(target, {"task": "walker_walk", "clips": folder, "split": False})
    with pytest.raises(EnvError, match=r"env\.split: expected 2 or more videos"):
        check_suite(target, {"task": "walker_walk", "clips": folder, "split": True})
    with pytest.raises(EnvError, match=r"env\.clips: expected a folder"):
        check_suite(target, {"task": "walker_walk", "clips": f"{folder}/nowhere"})


def test_a_split_without_videos_on_one_side(folder, tmp_path):
    (tmp_path / "clips" / "train").mkdir()
    (tmp_path / "clips" / "1.avi").rename(tmp_path / "clips" / "train" / "1.avi")
    with pytest.raises(EnvError, match=r"^env\.split: expected videos in .*test, since .*train h"):
        check_suite(
            f"{MODULE}.NaturalBackground",
            {"task": "walker_walk", "clips": folder, "split": True},
        )


def test_a_run_that_goes_on_has_the_clips_that_it_began_with(folder, tmp_path):
    state = make(folder).state_dict()
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    make(str(moved)).load_state_dict(state)
    make(str(moved), evaluation=True).load_state_dict(state)
    (moved / "0.avi").write_bytes((moved / "1.avi").read_bytes())
    with pytest.raises(CheckpointError, match=r"^env\.clips: expected the videos that the run "):
        make(str(moved)).load_state_dict(state)
    del state["clips"]  # of a version that did not write it down
    make(str(moved)).load_state_dict(state)


def test_numbers_and_tasks(folder):
    with pytest.raises(EnvError, match=r"env\.num_frames: expected 1 or more, got 0"):
        make(folder, num_frames=0)
    with pytest.raises(EnvError, match="did you mean walker_"):
        make(folder, "walker_fly")
    with pytest.raises(EnvError, match=r"env\.camera: expected 0 to 1 for cheetah_run, got 9"):
        make(folder, "cheetah_run", camera=9)


def test_a_missing_simulator(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(EnvError, match="'dm_control' is missing"):
        make(folder)
