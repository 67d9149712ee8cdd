"""Remove each camera's bias from descriptors, with the mean and deviation of its own descriptors. Needs only numpy.

A camera's light, angle and colours move the descriptors of everybody it sees in the same direction. So strangers in one
camera often look more alike than one person in two. The mean of many people's descriptors shows that direction, and no
label is needed for it. Song et al., "Exploring the camera bias of person re-identification"
(ICLR 2025), report the same for published models.

For a descriptor x of camera c (:meth:`CameraStatistics.apply`):

    y = (x - m_c) * s / s_c,  normalised to length 1

m_c and s_c are the camera's mean and standard deviation, component by component, and m and s those of all cameras.
If a camera has shown few people, both are drawn towards m and s (:meth:`StatisticsFit.finish`). If the camera of a
descriptor is unknown or has no statistics, m and s are used: y = x - m, normalised.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError

LEAST = 10
"""Statistics are fitted only if two cameras have each shown about so many tracklets of different people."""
SPREAD_PRIOR = 10.0
"""The variances of all cameras weigh as much as so many people of the camera itself."""
FEW_PEOPLE = 0.5
"""A camera has shown few people if its scatter (mean squared distance of descriptors from their mean) is under this
share of the other cameras' scatter."""
UNHEARD = 3
"""The first people of a camera do not count, because the mean of so few shows their appearance more than the camera's
light. With so many people or fewer, the camera's own mean has weight 0."""
LARGEST_SCALE = 3.0
"""A component is stretched or shrunk at most by this factor, because a component that was constant in the fit may vary
later."""
SHORTEST = 1e-6
"""A centred descriptor shorter than this has no direction left, so the descriptor is kept unchanged."""
FORMAT = "reid-camera-statistics-1"


@dataclass(frozen=True, slots=True)
class CameraFit:
    """What a fit found for a camera."""

    camera: str
    records: int
    """Number of descriptors."""
    tracklets: int
    """Number of tracklets of these descriptors."""
    people: float
    """How many of these tracklets count as different people."""
    weight: float
    """Share of the camera's own mean in the mean that is subtracted, 0-1. The rest is the mean of all cameras."""
    distance: float
    """Euclidean distance of the camera's mean from the mean of all cameras."""


@dataclass(frozen=True)
class CameraStatistics:
    """Means and scales by camera, ready to be applied. Made by :class:`StatisticsFit` or :func:`loads`."""

    cameras: tuple[CameraFit, ...]
    """Sorted by name."""
    means: NDArray[np.float32]
    """(C, D): subtracted from each camera's descriptors."""
    scales: NDArray[np.float32]
    """(C, D): the difference is multiplied by these."""
    mean: NDArray[np.float32]
    """(D,): mean of all cameras, subtracted if the camera is unknown."""
    model: str | None = None
    """Fingerprint of the model that made the descriptors."""
    fitted: float = 0.0
    """Time of the fit, Unix time."""
    version: int = 0
    """Number of the fit in its gallery, from 1. 0 outside of galleries."""

    @property
    def dimension(self) -> int:
        """D, the width of the descriptors."""
        return len(self.mean)

    @property
    def records(self) -> int:
        """Number of descriptors in the fit."""
        return sum(one.records for one in self.cameras)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, equal for statistics that change descriptors in the same way."""
        content = hashlib.sha256(json.dumps([one.camera for one in self.cameras]).encode())
        for array in (self.means, self.scales, self.mean):
            content.update(array.astype("<f4").tobytes())
        return content.hexdigest()[:16]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {one.camera: place for place, one in enumerate(self.cameras)}

    def knows(self, camera: str | None) -> bool:
        """Whether this camera has statistics of its own."""
        return name_of(camera) in self._places

    def apply(self, descriptors: ArrayLike, cameras: Sequence[str | None]) -> NDArray[np.float32]:
        """Remove the bias of ``cameras`` from ``descriptors`` (N, D) float.

        ``cameras`` are N names; for None and unknown names, the statistics of all cameras are used. Gives unit rows
        (N, D) float32. Each row depends only on its own descriptor and camera, to the last bit.

        Raises:
            InputError: the shape or width is wrong, or the number of cameras is not N.
        """
        rows = np.ascontiguousarray(descriptors, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension or len(rows) != len(cameras):
            raise InputError(
                f"expected (N, {self.dimension}) descriptors and a camera for each, got shape {rows.shape} and "
                f"{len(cameras)} cameras: these camera statistics are of width {self.dimension}"
            )
        place = np.fromiter((self._places.get(name_of(camera), -1) for camera in cameras), np.intp, len(rows))
        freed = np.empty_like(rows)
        for number in set(place.tolist()):
            own = np.flatnonzero(place == number)
            part = rows[own]
            if number < 0:
                part -= self.mean
            else:
                part -= self.means[number]
                part *= self.scales[number]
            lengths = np.sqrt(np.square(part).sum(axis=1, keepdims=True))
            part /= np.maximum(lengths, SHORTEST)
            if lengths.min() <= SHORTEST:
                short = lengths[:, 0] <= SHORTEST
                part[short] = rows[own[short]]
            freed[own] = part
        return freed

    def of_version(self, version: int) -> "CameraStatistics":
        """A copy with another version number."""
        return replace(self, version=version)

    def dumps(self) -> bytes:
        """The statistics as bytes, with a checksum. :func:`loads` reads them."""
        about = {
            "format": FORMAT, "model": self.model, "fitted": self.fitted, "version": self.version,
            "dimension": self.dimension, "cameras": [asdict(one) for one in self.cameras],
        }  # fmt: skip
        head = json.dumps(about).encode()
        body = b"".join(array.astype("<f4").tobytes() for array in (self.mean, self.means, self.scales))
        content = len(head).to_bytes(8, "little") + head + body
        return hashlib.sha256(content).digest() + content


def name_of(camera: object) -> str:
    """A camera's name as text. None gives "", and a number is a name too, also 0."""
    return "" if camera is None else str(camera)


def loads(content: bytes, model: str | None = None, dimension: int | None = None) -> CameraStatistics:
    """Read what :meth:`CameraStatistics.dumps` wrote.

    Raises:
        InputError: the bytes are damaged or hold impossible numbers, or belong to another ``model`` or ``dimension``
            than the given one.
    """
    try:
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError("the checksum is wrong")
        end = 40 + int.from_bytes(content[32:40], "little")
        about = json.loads(content[40:end])
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r}, expected {FORMAT!r}")
        cameras = tuple(CameraFit(**one) for one in about["cameras"])
        width, count = int(about["dimension"]), len(cameras)
        rows = np.frombuffer(content[end:], "<f4").astype(np.float32).reshape(1 + 2 * count, width)
        if not np.isfinite(rows).all() or not (rows[1 + count :] > 0).all():
            raise ValueError("they hold NaN, infinity, or a scale that is not above 0")
        held = CameraStatistics(
            cameras, rows[1 : 1 + count], rows[1 + count :], rows[0], about["model"], float(about["fitted"]),
            int(about["version"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"camera statistics are damaged ({error})") from None
    for what, wanted, got in (("model", model, held.model), ("width", dimension, held.dimension)):
        if wanted is not None and got != wanted:
            raise InputError(f"camera statistics are of {what} {got}, expected {what} {wanted}")
    return held


class StatisticsFit:
    """Takes descriptors in parts, and fits statistics to all of them. Memory: C x D numbers."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._places: dict[str, int] = {}
        self._records: list[int] = []
        self._sums: list[NDArray[np.float64]] = []
        """For each camera (1 + 2 D,): tracklets, and the weighted sums of descriptors and of their squares."""

    def add(self, descriptors: ArrayLike, cameras: Sequence[str | None], weights: ArrayLike) -> Self:
        """Take ``descriptors`` (N, D) float, the N names of their ``cameras``, and their ``weights`` (N,).

        A weight is 1 / (descriptors of the same tracklet), so that each tracklet counts once, however long somebody
        stood there. Descriptors without a camera (None or "") are left out.

        Raises:
            InputError: the shapes do not fit, or there is NaN or infinity.
        """
        rows, shares = np.asarray(descriptors, np.float32), np.asarray(weights, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self._dimension or shares.shape != (len(rows),):
            raise InputError(
                f"expected (N, {self._dimension}) descriptors and N weights, got {rows.shape} and {shares.shape}"
            )
        if len(cameras) != len(rows):
            raise InputError(f"{len(rows)} descriptors from {len(cameras)} cameras: expected one camera each")
        if not np.isfinite(rows).all() or not np.isfinite(shares).all():
            raise InputError("descriptors or weights with NaN or infinity: expected finite numbers")
        places = np.array([self._place(name) if name else -1 for name in map(name_of, cameras)], np.intp)
        for place in np.unique(places[places >= 0]):
            own = places == place
            part, weight = rows[own].astype(np.float64), shares[own]
            self._records[place] += len(part)
            self._sums[place] += np.concatenate([[weight.sum()], weight @ part, weight @ np.square(part)])
        return self

    def _place(self, camera: str) -> int:
        if camera not in self._places:
            self._places[camera] = len(self._places)
            self._records.append(0)
            self._sums.append(np.zeros(1 + 2 * self._dimension))
        return self._places[camera]

    def finish(self, model: str | None = None, fitted: float = 0.0) -> CameraStatistics | None:
        """Give the statistics. None unless two cameras have each shown ``LEAST`` tracklets of different people.

        An analysis of variance decides how much a camera's own mean counts. With sigma^2 the variance of
        descriptors within cameras, tau^2 the variance of the cameras' means, and n people, a camera's mean has weight
        n / (n + sigma^2 / tau^2), the best linear predictor of a one-way random-effects model (Searle, Casella and
        McCulloch, "Variance components", 1992; Efron and Morris, 1975). So few people hardly move the mean, and if
        cameras do not differ, only the mean of all cameras is subtracted. n is the number of tracklets, or of different
        people among them if these are clearly fewer (:func:`people_shown`): a hundred tracklets of one person say no
        more about a camera than one tracklet. The first ``UNHEARD`` people do not count, so that no person's own
        appearance is subtracted.
        """
        if sum(row[0] >= LEAST - 1e-6 for row in self._sums) < 2:
            return None
        names = sorted(self._places)
        order = [self._places[name] for name in names]
        sums, records = np.stack([self._sums[place] for place in order]), [self._records[place] for place in order]
        tracklets = sums[:, 0]
        own = sums[:, 1 : 1 + self._dimension] / tracklets[:, None]  # (C, D)
        variances = np.maximum(sums[:, 1 + self._dimension :] / tracklets[:, None] - own**2, 0)  # (C, D)
        people = people_shown(tracklets, variances.sum(axis=1))
        if np.count_nonzero(people >= LEAST - 1e-6) < 2:
            return None
        ratio = variance_ratio(people, own, variances.sum(axis=1))
        beyond = np.maximum(people - UNHEARD, 0)
        # The ratio is 0 if all descriptors of a camera are identical, and infinite if the cameras do not differ.
        weights = np.divide(beyond, beyond + ratio, out=np.zeros_like(beyond), where=beyond > 0)
        # If cameras do not differ, every person weighs the same.
        shares = weights / weights.sum() if weights.any() else people / people.sum()
        mean = shares @ own
        means = weights[:, None] * own + (1 - weights[:, None]) * mean
        spread = beyond / (beyond + SPREAD_PRIOR)
        common = (spread / spread.sum()) @ variances
        drawn = spread[:, None] * variances + (1 - spread[:, None]) * common
        # A component that is constant in all cameras keeps its scale.
        scales = np.sqrt(np.divide(common, drawn, out=np.ones_like(drawn), where=drawn > 0))
        scales = np.clip(np.where(scales > 0, scales, 1), 1 / LARGEST_SCALE, LARGEST_SCALE)
        distances = np.linalg.norm(own - mean, axis=1)
        fits = (
            CameraFit(name, records[i], round(tracklets[i]), float(people[i]), float(weights[i]), float(distances[i]))
            for i, name in enumerate(names)
        )
        single = [array.astype(np.float32) for array in (means, scales, mean)]
        return CameraStatistics(tuple(fits), single[0], single[1], single[2], model, fitted)


def people_shown(tracklets: NDArray[np.float64], scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of each camera's ``tracklets`` (C,) count as different people: from 1 to all of them, (C,).

    scatter: (C,) mean squared distance of a camera's descriptors from their mean. One person's descriptors lie close
    together. So where a camera's scatter is under ``FEW_PEOPLE`` of that of the other cameras, it has shown few. P
    equally frequent people have (1 - 1/P) of the scatter of many, so that P = 1 / (1 - scatter / many). ``many`` is
    ``FEW_PEOPLE`` of the other cameras' scatter here, so that P grows up to that limit without a jump.
    """
    people = tracklets.copy()
    unbiased = scatter * tracklets / np.maximum(tracklets - 1, 1e-9)
    for camera in range(len(tracklets)):
        others = (np.arange(len(tracklets)) != camera) & (tracklets > 1.5)
        if tracklets[camera] < 1.5 or not others.any():
            continue
        many = FEW_PEOPLE * np.average(unbiased[others], weights=tracklets[others])
        if unbiased[camera] < many:
            people[camera] = min(people[camera], many / (many - unbiased[camera]))
    return people


def variance_ratio(people: NDArray[np.float64], means: NDArray[np.float64], scatter: NDArray[np.float64]) -> float:
    """sigma^2 / tau^2: the variance of descriptors within cameras, divided by the variance of the cameras' means.

    ``people`` and ``scatter`` are (C,), ``means`` (C, D). These are the estimators of one-way analysis of variance for
    groups of unequal size (Searle et al., chapter 3). Infinite if the means differ no more than by chance.
    """
    total, count = people.sum(), len(people)
    within = float((people * scatter).sum() / (total - count))
    centre = people @ means / total
    between = float(people @ np.square(means - centre).sum(axis=1))
    tau = (between - within * (count - 1)) / (total - (people**2).sum() / total)
    return within / tau if tau > 0 else math.inf


def fit_camera_statistics(
    descriptors: ArrayLike,
    cameras: Sequence[str | None],
    tracklets: Sequence[Any] | None = None,
    *,
    model: str | None = None,
    fitted: float = 0.0,
) -> CameraStatistics | None:
    """Fit statistics to ``descriptors`` (N, D) float of N ``cameras``; see :meth:`StatisticsFit.finish`.

    tracklets: N names; the same name in the same camera means the same tracklet. None if each descriptor is a tracklet.
    Raises :class:`InputError` as :meth:`StatisticsFit.add` does.
    """
    rows = np.asarray(descriptors, np.float32)
    if rows.ndim != 2:
        raise InputError(f"expected (N, D) descriptors, got shape {rows.shape}")
    weights = np.ones(len(rows))
    if tracklets is not None:
        if len(tracklets) != len(rows) or len(cameras) != len(rows):
            raise InputError(f"{len(rows)} descriptors, {len(cameras)} cameras, {len(tracklets)} tracklets: expected "
                             "one of each")  # fmt: skip
        keys: dict[tuple[str | None, Any], int] = {}
        codes = np.array([keys.setdefault(key, len(keys)) for key in zip(cameras, tracklets, strict=True)], np.intp)
        weights = 1 / np.bincount(codes)[codes] if len(codes) else weights
    return StatisticsFit(rows.shape[1]).add(rows, cameras, weights).finish(model, fitted)
