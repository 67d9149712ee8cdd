"""Reading and resizing pictures: the one resize that training and serving share.

OpenCV's and PIL's resizes differ by a grey level or so, which is enough to move a descriptor; so everything
that turns a crop into network input, in training and on the edge, goes through :func:`resize`.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, BGR."""

THUMBNAIL_HEIGHT = 128

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read_image(path: Path, origin: str = "") -> Image:
    """Decode an image file to (H, W, 3) uint8 BGR; grey and alpha images are converted, deep ones :func:`stretched`.

    ``origin`` says where the file was named (a manifest's row) and goes into the message of the
    :class:`ImageError` that is raised for a missing, empty or undecodable file.
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


def thumbnail(image: Image) -> bytes:
    """A JPEG of 128 pixels' height, about 3 kB for a person's crop."""
    height, width = image.shape[:2]
    small = resize(image, THUMBNAIL_HEIGHT, max(1, round(width * THUMBNAIL_HEIGHT / height)))
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def decode(content: bytes) -> Image | None:
    """A picture's file as (H, W, 3) uint8 BGR; None for what no decoder knows."""
    how = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        image = None
    if image is None:
        return None
    return np.asarray(image, np.uint8) if image.dtype == np.uint8 else stretched(image)


def stretched(deep: NDArray[np.generic]) -> Image:
    """A picture of more than 8 bits, (H, W) or (H, W, 3), with its least value as 0 and its greatest as 255.

    Thermal cameras fill a small part of their 14 or 16 bits, of which the upper 8 alone would be nearly black.
    """
    values = deep.astype(np.float32)
    least, greatest = float(values.min()), float(values.max())
    if least == greatest:
        least, greatest = 0.0, 65_535.0  # nothing to see: as bright as it is
    image = np.rint((values - least) * (255 / (greatest - least))).clip(0, 255).astype(np.uint8)
    return np.asarray(image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2), np.uint8)


def resize(image: Image, height: int, width: int) -> Image:
    """Resize to (height, width, 3): area averaging when shrinking, linear when enlarging."""
    shrinking = image.shape[0] >= height and image.shape[1] >= width
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
