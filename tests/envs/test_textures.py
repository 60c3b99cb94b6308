import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmony.envs import textures
from harmony.envs.textures import (
    MIN_IMAGES,
    GeneratedTextures,
    PhotoTextures,
    PictureCache,
    Portion,
)
from harmony.errors import EnvError

GENERATED = GeneratedTextures()


def seen(image):
    """The middle of a picture, as a camera sees a sky, in 64 x 64 pixels."""
    side = len(image)
    middle = image[side * 3 // 10 : side * 7 // 10, side * 3 // 10 : side * 7 // 10]
    return np.array(Image.fromarray(middle).resize((64, 64), Image.Resampling.BOX), np.float64)


def distances(images):
    return [abs(a - b).mean() for a, b in itertools.combinations(map(seen, images), 2)]


@pytest.fixture
def folder(tmp_path):
    """Images of one colour each, written in the reverse order of their names."""
    for name in ("skies", "floors"):
        (tmp_path / name).mkdir()
        for value in reversed(range(12)):
            color = (value, 2 * value, 3 * value)
            Image.new("RGB", (9, 9), color).save(tmp_path / name / f"{value:02d}.png")
    return tmp_path


@pytest.mark.parametrize("kind", ["sky", "floor"])
def test_a_number_is_always_the_same_picture(kind):
    make = getattr(GENERATED, kind)
    image = make(3, 64)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, getattr(GeneratedTextures(), kind)(3, 64))
    assert (image != make(4, 64)).any()
    assert make(3, 10_000).shape == (256, 256, 3)


def test_skies_and_floors_of_a_number_differ():
    assert (GENERATED.sky(3, 64) != GENERATED.floor(3, 64)).any()


def test_skies_differ_as_much_as_photographs():
    """The original's photographs: 73 on average, 41 to 112 for nine pairs in ten."""
    found = distances([GENERATED.sky(index, 800) for index in range(0, 119, 8)])
    assert 60 < np.mean(found) < 90
    assert np.percentile(found, 5) > 35


def test_floors_differ_as_much_as_photographs():
    """The original's photographs: 34 on average, 16 to 55 for nine pairs in ten."""
    found = distances([GENERATED.floor(index, 300) for index in range(0, 383, 24)])
    assert 30 < np.mean(found) < 60
    assert np.percentile(found, 5) > 12


@pytest.mark.parametrize("index", range(6))
def test_floors_fit_to_themselves_at_the_edges(index):
    """A step across the edge is no larger than the largest one inside."""
    image = GENERATED.floor(index, 128).astype(int)
    for axis in (0, 1):
        steps = abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
        across = abs(np.take(image, 0, axis) - np.take(image, -1, axis)).mean()
        assert across <= 1.5 * steps.max() + 5


def test_there_are_as_many_as_the_originals_photographs():
    assert (GENERATED.num_skies, GENERATED.num_floors) == (119, 383)


def test_photographs_are_numbered_by_name(folder):
    photos = PhotoTextures(folder)
    assert (photos.num_skies, photos.num_floors) == (12, 12)
    for index in (0, 5, 11):
        assert photos.sky(index, 800).shape == (9, 9, 3)
        assert (photos.sky(index, 800) == (index, 2 * index, 3 * index)).all()
        assert (photos.floor(index, 4) == (index, 2 * index, 3 * index)).all()
        assert photos.floor(index, 4).shape == (4, 4, 3)


def test_the_middle_square_is_taken_and_transparency_dropped(folder):
    pixels = np.zeros((10, 30, 4), np.uint8)
    pixels[:, 10:20] = (200, 100, 50, 7)
    Image.fromarray(pixels).save(folder / "skies" / "00.png")
    image = PhotoTextures(folder).sky(0, 800)
    assert image.shape == (10, 10, 3)
    assert (image == (200, 100, 50)).all()


def test_other_files_are_left_alone(folder):
    (folder / "skies" / "readme.txt").write_text("not a picture")
    (folder / "skies" / "00.JPEG").write_bytes((folder / "skies" / "00.png").read_bytes())
    assert PhotoTextures(folder).num_skies == 13


def one_line(folder):
    with pytest.raises(EnvError) as caught:
        PhotoTextures(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_subfolders(tmp_path):
    assert one_line(tmp_path / "none").startswith(
        f"env.textures: expected the folders skies and floors in {tmp_path / 'none'}, found no skie"
    )


def test_a_folder_with_three_images(folder):
    for path in sorted((folder / "floors").iterdir())[3:]:
        path.unlink()
    message = one_line(folder)
    assert message.startswith(f"env.textures: expected {MIN_IMAGES} or more images (.png, .jpg")
    assert f"in {folder / 'floors'}, found 3; add some, or take textures=null" in message


@pytest.mark.parametrize("damage", ["text", "cut", "flipped"])
def test_an_image_that_can_not_be_read(folder, damage):
    path = folder / "floors" / "07.png"
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    path.write_bytes({"text": b"hello", "cut": whole[:middle], "flipped": flipped}[damage])
    assert one_line(folder) == (
        f"env.textures: expected an image, got {path}, which can't be read; remove it"
    )


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_an_image_of_another_kind_that_was_cut(folder, suffix):
    path = folder / "floors" / f"07{suffix}"
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(path)
    PhotoTextures(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])  # the same name again: the size tells
    assert one_line(folder).endswith(f"got {path}, which can't be read; remove it")


def test_each_picture_is_read_once_in_a_process(folder, monkeypatch):
    PhotoTextures(folder)
    monkeypatch.setattr(Image, "open", lambda path: pytest.fail(f"{path} was read again"))
    PhotoTextures(folder)


def test_the_home_directory_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert PhotoTextures(Path("~") / folder.name).num_skies == 12


def test_the_digest_says_which_pictures_these_are(folder, tmp_path_factory):
    before = PhotoTextures(folder).digest
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, moved)
    assert PhotoTextures(moved).digest == before
    (moved / "skies" / "00.png").rename(moved / "skies" / "12.png")
    assert PhotoTextures(moved).digest != before
    Image.new("RGB", (9, 9), (0, 0, 1)).save(folder / "skies" / "00.png")
    assert PhotoTextures(folder).digest != before
    assert 0 < before < 2**60


def test_an_image_that_is_damaged_later(folder):
    photos = PhotoTextures(folder)
    (folder / "skies" / "03.png").unlink()
    with pytest.raises(EnvError, match=r"03\.png, which can't be read; remove it"):
        photos.sky(3, 800)


def test_one_in_five_is_for_evaluation_alone(folder):
    photos = PhotoTextures(folder)
    trained = Portion(photos, evaluation=False)
    evaluated = Portion(photos, evaluation=True)
    assert (trained.num_skies, evaluated.num_skies) == (10, 2)
    shades = [
        [int(part.sky(index, 800)[0, 0, 0]) for index in range(part.num_skies)]
        for part in (trained, evaluated)
    ]
    assert shades == [[0, 1, 2, 3, 5, 6, 7, 8, 10, 11], [4, 9]]
    assert int(evaluated.floor(1, 800)[0, 0, 0]) == 9


def test_a_photograph_is_decoded_once_and_the_same_each_time(folder, monkeypatch):
    decoded = []
    decode = textures._decode
    monkeypatch.setattr(textures, "_decode", lambda *args: (decoded.append(args), decode(*args))[1])
    photos = PhotoTextures(folder)
    first, small = photos.floor(3, 9), photos.floor(3, 4)
    np.testing.assert_array_equal(PhotoTextures(folder).floor(3, 9), first)
    np.testing.assert_array_equal(photos.floor(3, 4), small)
    assert [(path.name, side) for path, side in decoded] == [("03.png", 9), ("03.png", 4)]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_a_photograph_that_was_replaced_is_decoded_again(folder):
    photos = PhotoTextures(folder)
    assert photos.sky(3, 9)[0, 0].tolist() == [3, 6, 9]
    Image.new("RGB", (10, 10), (200, 0, 0)).save(folder / "skies" / "03.png")
    assert photos.sky(3, 9)[0, 0].tolist() == [200, 0, 0]
    (folder / "skies" / "03.png").unlink()
    with pytest.raises(EnvError, match=r"03\.png, which can't be read"):
        photos.sky(3, 9)


def test_the_cache_forgets_what_was_not_used_longest():
    made = []
    cache = PictureCache(limit=20)

    def get(name):
        return cache.get(name, lambda: (made.append(name), np.zeros(8, np.uint8))[1])

    for name in "abacabb":  # the third drives out what was not used longest
        get(name)
    assert made == ["a", "b", "c", "b"]
    assert cache._bytes == sum(picture.nbytes for picture in cache._pictures.values()) == 16
    large = cache.get("large", lambda: np.zeros(21, np.uint8))
    assert (large.size, cache._bytes, len(cache._pictures)) == (21, 0, 0)
