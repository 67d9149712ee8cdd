"""Reading and resizing pictures.

The resizes of OpenCV and PIL differ by about a grey level, which is enough to change a descriptor. So training, export
and the edge all resize crops with :func:`resize`.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""

THUMBNAIL_HEIGHT = 128
CROP_QUALITY = 95
"""JPEG quality of stored crops."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read_image(path: Path, origin: str = "") -> Image:
    """Read an image file as (H, W, 3) uint8 BGR. Grey and alpha images are converted, deep images :func:`stretched`.

    ``origin`` says where the file was named, such as a row of a manifest; error messages quote it. Raises
    :class:`ImageError` if the file is missing, empty or cannot be decoded.
    """
    where = f"{path} ({origin})" if origin else str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{where}: no such image file") from None
    except OSError as error:
        raise ImageError(f"{where}: cannot be read: {error.strerror}") from None
    image = decode(content)
    if image is None:
        got = "an empty file" if not content else f"{len(content)} bytes that no decoder knows"
        raise ImageError(f"{where}: not an image: expected JPEG, PNG, BMP or WebP, got {got}")
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
    """A JPEG of 128 pixels in height, about 3 kB for a crop of a person."""
    height, width = image.shape[:2]
    small = resize(image, THUMBNAIL_HEIGHT, max(1, round(width * THUMBNAIL_HEIGHT / height)))
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
