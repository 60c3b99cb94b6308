import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from harmony.tracking.video import enlarge, write_video


def read(path, height, width):
    """What ffmpeg says about the file, and its frames (T, height, width, 3)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return done.stderr.decode(), frames


def test_a_video_plays_in_browsers_and_shows_the_frames(tmp_path):
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    frames[:, :, 32:] = 255
    frames[2] = 128
    path = write_video(tmp_path / "videos" / "eval.mp4", frames, fps=10)
    about, back = read(path, 256, 256)
    assert "Video: h264" in about
    assert "yuv420p" in about
    assert "10 fps" in about
    assert len(back) == 5
    assert back[0, 128, 60].max() < 30
    assert back[0, 128, 200].min() > 225
    assert abs(int(back[2, 10, 10, 0]) - 128) < 15
    assert [p.name for p in path.parent.iterdir()] == ["eval.mp4"]


def test_odd_sides_and_one_frame_work(tmp_path):
    path = write_video(tmp_path / "one.mp4", np.full((1, 301, 257, 3), 200, np.uint8))
    about, back = read(path, 302, 258)
    assert "258x302" in about
    assert len(back) == 1


def test_enlarge_repeats_pixels():
    frames = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(1, 2, 3, 3)
    big = enlarge(frames)
    assert big.shape == (1, 256, 384, 3)
    np.testing.assert_array_equal(big[:, ::128, ::128], frames)
    assert (big[0, :128, :128] == frames[0, 0, 0]).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((3, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
)
def test_other_frames_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "x.mp4", frames)
