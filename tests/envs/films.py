"""Small videos with known frames, for tests."""

from pathlib import Path

import numpy as np

from harmony.envs.clips import load_cv2

SIDES = (48, 32)
"""Width and height, pixels."""


def make_film(path: Path, shades: list[int], color: tuple[float, float, float] = (1, 1, 1)) -> Path:
    """Writes a video of flat frames.

    Args:
        path: ends in .avi.
        shades: of its frames, 0 to 255.
        color: share of red, green and blue in each.
    """
    cv2 = load_cv2()  # as the package imports it: it says nothing of broken files
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, SIDES)
    assert video.isOpened()
    for shade in shades:
        blue_first = [shade * share for share in color[::-1]]
        video.write(np.full((SIDES[1], SIDES[0], 3), blue_first).astype(np.uint8))
    video.release()
    return path
