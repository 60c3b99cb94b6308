"""Pictures for skies and floors: a user's photographs, or generated ones that differ as much."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Protocol

import numpy as np

from harmony.envs.file_digest import file_digest
from harmony.errors import EnvError

MIN_IMAGES = 10
"""Pictures that each folder must hold."""

CACHE_BYTES = 384 * 2**20
"""Photographs that a process keeps, decoded and made smaller; the original's take 332e6 of it."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_SIDE = 256  # of generated pictures, pixels
_NUM_SKIES, _NUM_FLOORS = 119, 383  # as many as the original's photographs


class Textures(Protocol):
    """Numbered square pictures, uint8 (S, S, 3); the same number is always the same picture.

    Attributes:
        num_skies: pictures of the sky.
        num_floors: pictures of the floor.
    """

    num_skies: int
    num_floors: int

    def sky(self, index: int, side: int) -> np.ndarray:
        """A picture of the sky, of at most `side` pixels."""
        ...

    def floor(self, index: int, side: int) -> np.ndarray:
        """A picture of the floor, of at most `side` pixels."""
        ...


class GeneratedTextures:
    """Pictures made from their number, as many as the original's photographs.

    Skies are two colours that run into each other, clouds of a third, and two ranges of hills.
    Floors are two colours in one of four patterns, and fit to themselves at the edges. Both have
    noise with the spectrum of photographs: its amplitude falls as the inverse of the frequency.
    """

    num_skies = _NUM_SKIES
    num_floors = _NUM_FLOORS

    def sky(self, index: int, side: int) -> np.ndarray:
        """A picture of the sky, of at most `side` pixels."""
        rng = np.random.default_rng([0, index])
        side = min(side, _SIDE)
        top, bottom, cloud = (_color(rng, (0.0, 1.0), 0.45) for _ in range(3))
        hills = [_color(rng, (0.1, 0.8), 0.25) for _ in range(2)]
        height = np.linspace(0.0, 1.0, side, dtype=np.float32)[:, None, None]
        image = top + 0.5 * (bottom - top) * height
        cover = np.clip(0.5 + _noise(rng, side, side) - _uniform(rng, -1.5, 1.5), 0.0, 1.0)
        image = image + (cloud - image) * cover[..., None]
        grain = 1.0 + 0.15 * _noise(rng, side, side)[..., None]
        horizon = _uniform(rng, 0.4, 0.6)
        for level, color in zip((horizon, horizon + 0.1), hills, strict=True):
            ridge = level + 0.05 * _noise(rng, side, steepness=1.5)[:, None]
            image = np.where(height > ridge, color * grain, image)
        return _to_pixels(image)

    def floor(self, index: int, side: int) -> np.ndarray:
        """A picture of the floor, of at most `side` pixels."""
        rng = np.random.default_rng([1, index])
        side = min(side, _SIDE)
        first, second = (_color(rng, (0.3, 0.6), 0.12) for _ in range(2))
        mask = _pattern(rng, side)[..., None]
        grain = 1.0 + _uniform(rng, 0.05, 0.3) * _noise(rng, side, side)[..., None]
        return _to_pixels((first + (second - first) * mask) * grain)


class PhotoTextures:
    """Pictures of a folder with subfolders `skies` and `floors`, such as the original's assets.

    They are numbered by their names in alphabetical order. One that is not square gives its middle.
    All are read once, so that none is found damaged in mid-run.
    All that a process has decoded stays in its memory, up to `CACHE_BYTES`.

    Args:
        folder: the folder; ~ is the home directory.

    Attributes:
        digest: says which pictures these are, see `file_digest`.

    Raises:
        EnvError: a subfolder is missing, holds fewer than `MIN_IMAGES` images, or one that can't
            be read.
    """

    def __init__(self, folder: Path) -> None:
        self._skies, self._floors = list_images(folder)
        for path in (*self._skies, *self._floors):
            about = path.stat()
            _verify(path, about.st_size, about.st_mtime_ns)
        self.num_skies, self.num_floors = len(self._skies), len(self._floors)
        self.digest = file_digest((*self._skies, *self._floors), folder.expanduser())

    def sky(self, index: int, side: int) -> np.ndarray:
        """A picture of the sky, of at most `side` pixels."""
        return _read(self._skies[index], side)

    def floor(self, index: int, side: int) -> np.ndarray:
        """A picture of the floor, of at most `side` pixels."""
        return _read(self._floors[index], side)


class Portion:
    """The pictures of which one in five is kept for evaluation, or those that are not.

    Args:
        textures: all of them.
        evaluation: take every fifth; else the others.
    """

    def __init__(self, textures: Textures, *, evaluation: bool) -> None:
        self._textures = textures
        self._skies = _every_fifth(textures.num_skies, evaluation=evaluation)
        self._floors = _every_fifth(textures.num_floors, evaluation=evaluation)
        self.num_skies, self.num_floors = len(self._skies), len(self._floors)

    def sky(self, index: int, side: int) -> np.ndarray:
        """A picture of the sky, of at most `side` pixels."""
        return self._textures.sky(self._skies[index], side)

    def floor(self, index: int, side: int) -> np.ndarray:
        """A picture of the floor, of at most `side` pixels."""
        return self._textures.floor(self._floors[index], side)


def _every_fifth(count: int, *, evaluation: bool) -> list[int]:
    return [index for index in range(count) if (index % 5 == 4) is evaluation]


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Lists skies and floors, without reading any.

    Args:
        folder: see `PhotoTextures`.

    Raises:
        EnvError: a subfolder is missing, or holds fewer than `MIN_IMAGES` images.
    """
    root = folder.expanduser()
    return _list_images(root, "skies"), _list_images(root, "floors")


def _list_images(folder: Path, name: str) -> list[Path]:
    """The images of a subfolder by name."""
    subfolder = folder / name
    if not subfolder.is_dir():
        raise EnvError(
            f"env.textures: expected the folders skies and floors in {folder}, found no {name}; "
            "textures=null takes generated pictures"
        )
    paths = sorted(path for path in subfolder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if len(paths) < MIN_IMAGES:
        raise EnvError(
            f"env.textures: expected {MIN_IMAGES} or more images ({', '.join(_SUFFIXES)}) in "
            f"{subfolder}, found {len(paths)}; add some, or take textures=null for generated ones"
        )
    return paths


@functools.cache  # by what says that a file is another one: evaluations read the same
def _verify(path: Path, size: int, mtime_ns: int) -> None:
    """Sees that a picture can be read to its end."""
    from PIL import Image, UnidentifiedImageError

    del size, mtime_ns
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()  # its checksums tell
            else:
                image.draft("L", (1, 1))  # an eighth of each side will do, where that is faster
                image.load()
    # Pillow raises a SyntaxError where a chunk of a PNG file is damaged.
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise _unreadable(path) from error


class PictureCache:
    """Pictures by key; where they have become too many bytes, those go that were not used longest.

    Args:
        limit: bytes that it holds at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._pictures: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A picture that nobody may change.

        Args:
            key: of the picture.
            make: makes it, where it is not here.
        """
        picture = self._pictures.pop(key, None)
        if picture is None:
            picture = make()
            picture.flags.writeable = False
            self._bytes += picture.nbytes
        self._pictures[key] = picture
        while self._bytes > self._limit:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture


_CACHE = PictureCache(CACHE_BYTES)


def _read(path: Path, side: int) -> np.ndarray:
    """The middle square of an image, made smaller where it is larger than `side`; read-only."""
    try:
        file = path.stat()
    except OSError as error:
        raise _unreadable(path) from error
    key = (path, file.st_mtime_ns, file.st_size, side)
    return _CACHE.get(key, lambda: _decode(path, side))


def _decode(path: Path, side: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            square = min(image.size)
            left, upper = (image.width - square) // 2, (image.height - square) // 2
            box = (left, upper, left + square, upper + square)
            side = min(side, square)
            small = image.convert("RGB").resize((side, side), Image.Resampling.BOX, box=box)
            return np.array(small)
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> EnvError:
    return EnvError(f"env.textures: expected an image, got {path}, which can't be read; remove it")


def _noise(rng: np.random.Generator, *sides: int, steepness: float = 1.0) -> np.ndarray:
    """Noise of mean 0 and variance 1 that fits to itself at the edges.

    Args:
        rng: draws the phases.
        *sides: the array's shape; all the same.
        steepness: power of the frequency by which the amplitude falls.

    Returns:
        float32, of that shape.
    """
    axes = [np.fft.fftfreq(side) for side in sides[:-1]] + [np.fft.rfftfreq(sides[-1])]
    squares = sum(np.square(axis) for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    squares.flat[0] = np.inf
    spectrum = np.fft.rfftn(rng.standard_normal(sides, np.float32)) / squares ** (steepness / 2)
    noise = np.fft.irfftn(spectrum, sides, range(len(sides)))
    return np.asarray(noise / noise.std(), np.float32)


def _pattern(rng: np.random.Generator, side: int) -> np.ndarray:
    """Blotches, stripes, tiles or bricks: (side, side) from 0 to 1."""
    kind, count = rng.integers(4), int(rng.choice([2, 4, 8]))
    if kind == 0:
        return np.clip(0.5 + 2.0 * _noise(rng, side, side), 0.0, 1.0)
    row = np.arange(side)[:, None] * count / side
    column = np.arange(side)[None] * count / side
    if kind == 1:
        return np.asarray(row % 1.0 < _uniform(rng, 0.2, 0.8), np.float32).repeat(side, 1)
    if kind == 2:
        return np.asarray((np.floor(row) + np.floor(column)) % 2.0, np.float32)
    shifted = column / 2.0 + 0.5 * (np.floor(row) % 2.0)
    return np.asarray((row % 1.0 < 0.1) | (shifted % 1.0 < 0.05), np.float32)


def _color(rng: np.random.Generator, brightness: tuple[float, float], tint: float) -> np.ndarray:
    """A brightness, and a tint that adds or takes some of each channel: float32 (3,)."""
    color = _uniform(rng, *brightness) + rng.uniform(-tint, tint, 3)
    return np.asarray(np.clip(color, 0.0, 1.0), np.float32)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _to_pixels(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(image, 0.0, 1.0) * 255.0 + 0.5, np.uint8)
