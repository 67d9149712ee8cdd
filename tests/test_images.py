import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError
from reid_toolkit.images import IMAGE_SUFFIXES, decode, read_image, resize, thumbnail

Picture = Callable[..., NDArray[np.uint8]]


def huge_png() -> bytes:
    """A whole PNG of a few bytes whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_colours_are_blue_green_red(tmp_path: Path) -> None:
    image = np.zeros((3, 2, 3), np.uint8)
    image[0, 0], image[2, 1] = (255, 0, 0), (1, 2, 3)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("base", [0, 3_000, 30_000, 65_000])
def test_a_thermal_picture_is_stretched_to_its_range(tmp_path: Path, base: int) -> None:
    """A person is a few degrees warmer than the wall: a few hundred of 65,536 steps."""
    picture = np.full((6, 8), base, np.uint16)
    picture[2:4, 2:4] = base + 400
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    image = read_image(tmp_path / "a.png")
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[2, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_we_list_can_be_read(tmp_path: Path, picture: Picture, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), picture(0, 0))
    assert read_image(path).shape == (64, 32, 3)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4)], ids=["grey", "alpha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_channels_and_depths_become_bgr(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, np.iinfo(dtype).max, dtype))
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.shape == (4, 5, 3)
    assert (image == 255).all()


def test_a_name_need_not_be_ascii(tmp_path: Path, picture: Picture) -> None:
    path = tmp_path / "Überwachung 人.jpg"
    path.write_bytes(cv2.imencode(".jpg", picture(0, 0))[1].tobytes())
    assert read_image(path).shape == (64, 32, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got an empty file"),
        (b"this is text", "got 12 bytes that no decoder knows"),
        (b"\xff\xd8\xff\xe0", "got 4 bytes"),
        (huge_png(), "no decoder knows"),
    ],
    ids=["empty", "text", "header alone", "huge"],
)
def test_what_is_no_image_is_named_with_its_row(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(path, "manifest.csv, row 7")
    message = str(caught.value)
    assert str(path) in message
    assert "manifest.csv, row 7" in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_half_an_image_is_refused(tmp_path: Path, picture: Picture, suffix: str) -> None:
    content = cv2.imencode(suffix, picture(0, 0))[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="not an image"):
        read_image(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: no such image file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_image(tmp_path)


def test_shrinking_averages_the_area() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[::4] = 200
    assert (resize(stripes, 2, 4) == 50).all(), "no sampling of the nearest rows"
    assert (resize(stripes, 2, 8) == 50).all()


def test_enlarging_interpolates_and_keeps_a_flat_colour() -> None:
    flat = np.full((3, 2, 3), 77, np.uint8)
    large = resize(flat, 256, 128)
    assert large.shape == (256, 128, 3)
    assert (large == 77).all()
    ramp = resize(np.array([[[0] * 3, [90] * 3]], np.uint8), 1, 6)[0, :, 0]
    assert (np.diff(ramp.astype(int)) >= 0).all()
    assert 0 < ramp[2] < 90, "no nearest neighbour"


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::-1], np.s_[::2, ::3], np.s_[:, :, ::-1]])
def test_views_give_what_their_copies_give(picture: Picture, view: tuple) -> None:
    image = picture(0, 0)[view]
    np.testing.assert_array_equal(resize(image, 40, 20), resize(np.ascontiguousarray(image), 40, 20))


@pytest.mark.parametrize(
    ("shape", "small"), [((256, 128, 3), (128, 64)), ((60, 60, 3), (128, 128)), ((2, 2000, 3), (1, 256))]
)
def test_a_thumbnail_is_a_picture_however_wide_it_is(shape: tuple[int, ...], small: tuple[int, int]) -> None:
    shown = decode(thumbnail(np.full(shape, 90, np.uint8)))
    assert shown is not None
    assert shown.shape[:2] == small
