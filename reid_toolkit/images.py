"""Reading and resizing pictures.

The resizes of OpenCV and PIL differ by about a grey level, which is enough to change a descriptor. So training, export
and the edge all resize crops with :func:`resize`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError
from reid_toolkit.storage.path import StoredPath, is_stored

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""

THUMBNAIL_HEIGHT = 128
CROP_QUALITY = 95
"""JPEG quality of stored crops."""

FETCHED_AT_ONCE = 64
"""So many pictures in object storage are read ahead at the same time."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read_image(path: Path, origin: str = "") -> Image:
    """Read an image file as (H, W, 3) uint8 BGR. Grey and alpha images are converted, deep images :func:`stretched`.

    ``origin`` says where the file was named, such as a row of a manifest; error messages quote it. Raises
    :class:`ImageError` if the file is missing, empty or cannot be decoded, and :class:`StorageError` if object storage
    refuses or does not answer: the picture may be good then.
    """
    try:
        return image_of(path.read_bytes(), path, origin)
    except OSError as error:
        raise unreadable(error, path, origin) from None


def read_images(files: Iterable[tuple[Path, str]]) -> Iterator[Image | ImageError]:
    """Yield the image of each (path, origin), in order, or what :func:`read_image` raises for it.

    Pictures in object storage are read ahead, many at a time.
    """
    waiting = iter(files)
    while batch := list(islice(waiting, FETCHED_AT_ONCE)):
        fetched = contents([path for path, _ in batch if is_stored(path)])
        for path, origin in batch:
            try:
                content = fetched[path] if is_stored(path) else None
                if isinstance(content, FileNotFoundError):
                    yield unreadable(content, path, origin)
                else:
                    yield read_image(path, origin) if content is None else image_of(content, path, origin)
            except ImageError as error:
                yield error


def contents(stored: list[StoredPath]) -> dict[StoredPath, bytes | FileNotFoundError]:
    """The contents of objects."""
    if not stored:
        return {}
    from reid_toolkit.storage.transfer import contents_of

    return dict(zip(stored, contents_of(stored), strict=True))


def unreadable(error: OSError, path: Path, origin: str) -> ImageError:
    """The error of a file that cannot be read."""
    reason = "no such image file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    return ImageError(f"{place_of(path, origin)}: {reason}")


def place_of(path: Path, origin: str) -> str:
    return f"{path} ({origin})" if origin else str(path)


def image_of(content: bytes, path: Path, origin: str) -> Image:
    """The image in the bytes of a file. Raises :class:`ImageError` if they are no image."""
    image = decode(content)
    if image is None:
        got = "an empty file" if not content else f"{len(content)} bytes that no decoder knows"
        raise ImageError(f"{place_of(path, origin)}: not an image: expected JPEG, PNG, BMP or WebP, got {got}")
    return image


def encode_crop(image: Image, name: Path) -> bytes:
    """A crop as the bytes of a JPEG. Raises :class:`ImageError`, which calls it ``name``, if that is impossible."""
    encoded, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])
    if not encoded:
        raise ImageError(f"{name}: a crop of shape {image.shape} cannot be written as JPEG")
    return bytes(content)


def write_crop(path: Path, image: Image) -> None:
    """Write a JPEG. It is encoded in memory first, because ``cv2.imwrite`` does not report a full disk."""
    content = encode_crop(image, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def thumbnail(image: Image) -> bytes:
    """A JPEG of 128 pixels in height, about 3 kB for a crop of a person. Very wide pictures are 256 pixels wide."""
    height, width = image.shape[:2]
    scale = min(THUMBNAIL_HEIGHT / height, 2 * THUMBNAIL_HEIGHT / width)
    small = resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def decode(content: bytes) -> Image | None:
    """Decode the bytes of an image file to (H, W, 3) uint8 BGR. None if no decoder can."""
    how = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    except cv2.error:  # the header gives more pixels than OpenCV accepts
        image = None
    if image is None:
        return None
    return np.asarray(image, np.uint8) if image.dtype == np.uint8 else stretched(image)


def stretched(deep: NDArray[np.generic]) -> Image:
    """Scale a picture of more than 8 bits, (H, W) or (H, W, 3), so that its smallest value is 0 and its largest 255.

    Thermal cameras use a small part of their 14 or 16 bits. The upper 8 bits alone would be nearly black.
    """
    values = deep.astype(np.float32)
    least, greatest = float(values.min()), float(values.max())
    if least == greatest:
        least, greatest = 0.0, 65_535.0  # a picture without contrast keeps its brightness
    image = np.rint((values - least) * (255 / (greatest - least))).clip(0, 255).astype(np.uint8)
    return np.asarray(image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2), np.uint8)


def resize(image: Image, height: int, width: int) -> Image:
    """Resize to (height, width, 3), with area averaging if the picture shrinks and linear interpolation if not."""
    shrinking = image.shape[0] >= height and image.shape[1] >= width
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
