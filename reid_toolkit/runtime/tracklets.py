"""The descriptor of a tracklet, from the descriptors of its frames: all at once, or frame by frame."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.images import Image, resize

LEAST_LENGTH = 1e-6
"""If the mean of unit vectors is shorter than this, they cancel out, and only rounding gives its direction."""


class TrackletAverage:
    """The normalised weighted mean of descriptors that come one by one. It stores only their sum.

    tracklet = TrackletAverage()
    tracklet.add(embedder.embed([crop]))
    tracklet.descriptor
    """

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._weight = 0.0
        self.count = 0
        """Number of descriptors so far."""

    def add(self, descriptors: NDArray[np.float32], weights: ArrayLike | None = None) -> None:
        """Add descriptors (D,) or (B, D) float32. Each has a positive weight, by default 1.

        Raises :class:`InputError` if the width differs from before, if the weights are not finite and positive numbers,
        one per descriptor, or if descriptors are not finite.
        """
        rows = np.atleast_2d(np.asarray(descriptors, np.float64))
        share = np.ones(len(rows)) if weights is None else np.atleast_1d(np.asarray(weights, np.float64))
        if rows.ndim != 2 or (self._sum is not None and rows.shape[1] != len(self._sum)):
            width = "D" if self._sum is None else len(self._sum)
            raise InputError(f"descriptors of shape {np.shape(descriptors)}: expected (B, {width}) or ({width},)")
        if share.shape != (len(rows),) or not (np.isfinite(share) & (share > 0)).all():
            raise InputError(f"weights {share}: expected {len(rows)} finite numbers above 0")
        if not np.isfinite(rows).all():
            raise InputError("descriptors with NaN or infinity: expected finite numbers")
        if not len(rows):
            return
        self._sum = share @ rows + (0.0 if self._sum is None else self._sum)
        self._weight += float(share.sum())
        self.count += len(rows)

    @property
    def descriptor(self) -> NDArray[np.float32]:
        """The normalised mean so far, (D,) float32. Raises :class:`InputError` if there is none or it has no
        direction."""
        if self._sum is None:
            raise InputError("a tracklet without descriptors: expected at least one frame")
        length = float(np.linalg.norm(self._sum))
        if length < LEAST_LENGTH * self._weight:
            raise InputError("the tracklet's descriptors cancel out: they have no mean direction")
        return (self._sum / length).astype(np.float32)


def average(descriptors: NDArray[np.float32], weights: ArrayLike | None = None) -> NDArray[np.float32]:
    """The normalised mean (D,) float32 of descriptors (B, D). Raises as :class:`TrackletAverage` does."""
    tracklet = TrackletAverage()
    tracklet.add(descriptors, weights)
    return tracklet.descriptor


def quality(image: Image, height: int, width: int) -> float:
    """The weight of a crop (H, W, 3) uint8, above 0, for a network with inputs of (height, width).

    It is sharpness times area. Sharpness is 1 plus the standard deviation, in grey levels, of the Laplacian of the grey
    crop at the input's size. Area is the crop's number of pixels divided by the input's, at most 1, because the network
    sees no more of a larger crop.
    """
    grey = cv2.cvtColor(resize(image, height, width), cv2.COLOR_BGR2GRAY)
    sharpness = 1.0 + float(cv2.Laplacian(grey, cv2.CV_32F).std())
    return sharpness * min(1.0, image.shape[0] * image.shape[1] / (height * width))
