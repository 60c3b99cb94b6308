"""Frames to files that people can look at."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np

MIN_SIDE = 256
"""Smallest side in pixels of what is written; agents see 64, which is too small on a screen."""


def write_video(path: Path, frames: np.ndarray, fps: float = 20.0) -> Path:
    """Writes an mp4 (h264, yuv420p: plays in browsers and in MLflow's artifact viewer).

    The file appears under its name only when it is complete.

    Args:
        path: File to write, ending in .mp4; its directory is made.
        frames: uint8 (T, Hi, Wi, 3), at least one frame.
        fps: Frames per second.

    Returns:
        `path`.

    Raises:
        ValueError: Wrong dtype or shape.
    """
    _check(frames)
    frames = enlarge(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    height, width = frames.shape[1:3]
    writer = imageio_ffmpeg.write_frames(
        str(partial),
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )
    try:
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
    partial.replace(path)
    return path


def enlarge(frames: np.ndarray) -> np.ndarray:
    """Repeats pixels so that the smaller side has at least `MIN_SIDE`, then pads to even sides.

    Nearest neighbour shows exactly the pixels that the agent sees; h264 with yuv420p needs even
    sides.

    Args:
        frames: uint8 (T, Hi, Wi, 3).

    Returns:
        uint8 (T, Ho, Wo, 3); Ho and Wo even.
    """
    factor = -(-MIN_SIDE // min(frames.shape[1:3]))
    if factor > 1:
        frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    odd = [(0, side % 2) for side in frames.shape[1:3]]
    return np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")


def _check(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(
            f"expected frames uint8 (T, Hi, Wi, 3) with T >= 1, got {frames.dtype} {frames.shape}"
        )
