"""Make the uint8 batch that the network takes, from pictures of any size. The graph itself scales and normalises."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.images import Image, resize


def to_bgr(image: NDArray[np.generic], position: int) -> Image:
    """Convert an (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 image to (H, W, 3) BGR. Alpha is dropped.

    Raises :class:`InputError` for any other shape or dtype. The message names the image's ``position`` in its list.
    """
    where = f"image {position}"
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = f"dtype {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"{where}: expected a uint8 array of 0-255, got {got}")
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if channels not in (1, 3, 4) or 0 in image.shape:
        raise InputError(f"{where}: expected the shape (H, W, 3) in BGR, got {image.shape}")
    pixels = np.asarray(image, np.uint8)
    if channels == 1:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return pixels[:, :, :3]


def to_batch(images: Sequence[NDArray[np.generic]], height: int, width: int, first: int = 0) -> Image:
    """Resize B images of any size to one (B, height, width, 3) uint8 BGR array.

    ``first`` is the first image's position in the caller's list, for the error message of :func:`to_bgr`.
    """
    batch = np.empty((len(images), height, width, 3), np.uint8)
    for row, image in enumerate(images):
        batch[row] = resize(to_bgr(image, first + row), height, width)
    return batch
