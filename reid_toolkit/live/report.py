"""How a watch goes, counted for each camera."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace


@dataclass
class Tally:
    """Counts of a watch."""

    frames: int = 0
    """Frames that the detector saw."""
    crops: int = 0
    """Crops that were embedded."""
    tracklets: int = 0
    """Tracklets that ended."""
    enrolled: int = 0
    """Of the ended tracklets, those enrolled. The others had too few crops, are blocked, wait, or are lost."""
    blocked: int = 0
    """Of the ended tracklets, those on the gallery's block list, because `reid gallery forget` has forgotten them."""
    lost: int = 0
    """Of the ended tracklets, those that could not be stored."""
    replaced: int = 0
    """Records of an earlier watch of the same file that were deleted because they did not come again."""
    expired: int = 0
    """Records that were deleted because they are past the gallery's retention. Counted for all cameras together."""


@dataclass(frozen=True)
class CameraReport:
    """How watching one camera went so far."""

    camera: str
    source: str
    tally: Tally
    dropped: int
    """Frames of a stream that came while an earlier one was still worked on."""
    reconnects: int
    """How often a stream broke and came back."""
    damaged: int
    """Pieces of a file that could not be decoded; what came after them was seen."""
    ended: bool
    """Whether a file has come to its end. A stream has none."""


@dataclass(frozen=True)
class WatchReport:
    """How watching went so far."""

    cameras: tuple[CameraReport, ...]
    expired: int
    """Records that were deleted because they are past the gallery's retention."""
    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Of all threads of this process."""

    @property
    def tally(self) -> Tally:
        """The counts of all cameras together."""
        tallies = [camera.tally for camera in self.cameras]
        total = {field.name: sum(getattr(tally, field.name) for tally in tallies) for field in fields(Tally)}
        return Tally(**{**total, "expired": self.expired})

    @property
    def dropped(self) -> int:
        """Frames that all cameras together dropped."""
        return sum(camera.dropped for camera in self.cameras)

    @property
    def reconnects(self) -> int:
        """How often streams broke and came back."""
        return sum(camera.reconnects for camera in self.cameras)

    @property
    def damaged(self) -> int:
        """Pieces of files that could not be decoded."""
        return sum(camera.damaged for camera in self.cameras)

    @property
    def frames_per_second(self) -> float:
        """Frames of all cameras that the detector saw, a second of wall-clock time."""
        return sum(camera.tally.frames for camera in self.cameras) / self.seconds if self.seconds else 0.0

    @property
    def cores(self) -> float:
        """Cores in use, on average."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


class Meter:
    """Measures how watching goes, from the moment it is made."""

    def __init__(self, cameras: Sequence[Callable[[], CameraReport]]) -> None:
        self.cameras, self.expired = cameras, 0
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Wall-clock time since the beginning."""
        return time.perf_counter() - self.wall

    def report(self) -> WatchReport:
        """All counts so far, which later counting does not change."""
        cameras = [camera() for camera in self.cameras]
        still = tuple(replace(camera, tally=replace(camera.tally)) for camera in cameras)
        return WatchReport(still, self.expired, self.seconds, time.process_time() - self.cpu)
