import numpy as np
import pytest

from harmony.envs.playlist import Playlist, whole_clips


def clip(*shades):
    return np.array(shades, np.uint8).reshape(-1, 1, 1, 1)


def shown(playlist, count):
    return [int(playlist[index][0, 0, 0]) for index in range(count)]


def test_clips_follow_each_other_and_begin_again():
    playlist = Playlist([clip(1, 2), clip(3), clip(4, 5)], num_frames=100)
    assert len(playlist) == 5
    assert shown(playlist, 12) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]


def test_the_last_clip_is_cut_where_there_are_enough_frames():
    playlist = Playlist([clip(1, 2, 3), clip(4, 5, 6)], num_frames=4)
    assert len(playlist) == 4
    assert shown(playlist, 6) == [1, 2, 3, 4, 1, 2]


def test_a_frame_is_a_view_of_its_clip():
    frames = clip(1, 2)
    assert Playlist([frames], 2)[1].base is not None
    assert np.shares_memory(Playlist([frames], 2)[1], frames)


CLIPS = {name: clip(*(10 * name + i for i in range(3))) for name in (1, 2, 3)}


def drawn(num_frames, seed):
    rng = np.random.default_rng(seed)
    loaded = []
    playlist = whole_clips(
        list(CLIPS), lambda path: loaded.append(path) or CLIPS[path], num_frames, rng
    )
    return loaded, playlist


@pytest.mark.parametrize("seed", range(5))
def test_whole_clips_are_played_once_before_any_comes_again(seed):
    loaded, playlist = drawn(17, seed)
    assert len(loaded) == 6  # 5 clips hold 15 frames
    assert sorted(loaded[:3]) == sorted(loaded[3:]) == [1, 2, 3]
    expected = [10 * name + i for name in loaded for i in range(3)]
    assert shown(playlist, 17) == expected[:17]
    assert len(playlist) == 17


def test_only_as_many_clips_as_are_needed_are_loaded():
    assert len(drawn(3, 0)[0]) == 1
    assert len(drawn(4, 0)[0]) == 2


def test_the_seed_decides_the_order():
    orders = [tuple(drawn(9, seed)[0]) for seed in range(12)]
    assert orders == [tuple(drawn(9, seed)[0]) for seed in range(12)]
    assert len(set(orders)) > 2
