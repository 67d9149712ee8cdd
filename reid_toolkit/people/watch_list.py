"""The pictures of a watch list: tracklets in view that look like one of them raise an alert."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.errors import AuditError, UnavailableError
from reid_toolkit.live.recognising import Resemblance
from reid_toolkit.people.alert_budget import AlertBudget, Limit, looks_at
from reid_toolkit.people.scale import Probability
from reid_toolkit.people.watch_log import WatchLog


@dataclass(frozen=True)
class Picture:
    """A person who is watched for, by pictures."""

    name: str
    """As the user named the picture."""
    descriptor: NDArray[np.float32]
    """(D,) of length 1."""
    camera: str | None
    """The camera that took it. None if unknown."""


@dataclass
class Looked:
    """What is known about a tracklet that has not ended."""

    times: int = 0
    """How often it was compared."""
    found: tuple[Resemblance, ...] = ()


class WatchList:
    """Compares each tracklet with all pictures while it lasts, a few times, with limits by an :class:`AlertBudget`."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        budget: AlertBudget,
        limit: Limit,
        probability: Probability,
        statistics: CameraStatistics | None,
        log: WatchLog,
    ) -> None:
        """Embedding is done: the pictures have descriptors.

        Args:
            pictures: who is watched for.
            budget: how many false alerts are allowed. It also counts tracklets if there are no pictures.
            limit, probability: what distances mean, by the calibration.
            statistics: the camera statistics that the calibration was made with. They stay the same while the watch
                runs, because no records of the gallery are compared here.
            log: accounts for the comparisons in the audit log.
        """
        self._pictures, self._budget, self._limit, self._probability = pictures, budget, limit, probability
        self._statistics, self._log = statistics, log
        self._held: dict[str, Looked] = {}
        self._said: set[str] = set()
        budget.sizes["pictures"] = len(pictures)
        cameras = [one.camera for one in pictures]
        self._rows = np.stack([one.descriptor for one in pictures]) if pictures else np.empty((0, 0), np.float32)
        if statistics and pictures:
            self._rows = statistics.apply(self._rows, cameras)

    def look(
        self, descriptor: NDArray[np.float32], camera: str, end: float, frames: int, tracklet: str
    ) -> tuple[Resemblance, ...]:
        """The pictures that a tracklet looks like; see :class:`reid_toolkit.live.recognising.Watching`."""
        held = self._held.setdefault(tracklet, Looked())
        self._budget.pass_time(camera, end)
        due = looks_at(frames)
        if due <= held.times:
            return held.found
        if not held.times:
            self._budget.tracklets += 1
        more = self._compare(descriptor, camera, end) if self._pictures else ()
        known = {one.picture for one in held.found}
        fresh = tuple(one for one in more if one.picture not in known)
        try:
            for one in fresh:
                self._log.alert(one.picture, tracklet, camera)
        except (AuditError, UnavailableError) as error:
            self._say("there are no alerts now", f": {error}")
            return held.found  # compared again with the next crop
        held.times, held.found = due, (*held.found, *fresh)
        return held.found

    def ended(self, tracklet: str) -> None:
        """Forget a tracklet, because it has ended."""
        self._held.pop(tracklet, None)

    def _compare(self, descriptor: NDArray[np.float32], camera: str, now: float) -> tuple[Resemblance, ...]:
        row = descriptor[None]
        if self._statistics:
            row = self._statistics.apply(row, [camera])
        distances = np.linalg.norm(self._rows - row, axis=1).tolist()
        rate = self._budget.spend(now, len(self._pictures))
        self._log.comparisons += len(self._pictures)
        found = []
        limits = {one: self._limit(rate, one, camera) for one in {picture.camera for picture in self._pictures}}
        for picture, distance in zip(self._pictures, distances, strict=True):
            limit = limits[picture.camera]
            if limit is None:
                self._say(
                    f"no alerts by pictures before camera {camera!r} for now",
                    f": a comparison may be wrong in 1 of {1 / max(rate, 1e-12):,.0f} cases, and the calibration has "
                    "too few distances between different people for that",
                )
            elif distance <= limit:
                chance = self._probability(distance, picture.camera, camera, 0)
                found.append(Resemblance(picture.name, chance))
        return tuple(found)

    def _say(self, message: str, why: str) -> None:
        """Warn, once for each message."""
        if message not in self._said:
            self._said.add(message)
            warnings.warn(message + why, RuntimeWarning, stacklevel=4)
