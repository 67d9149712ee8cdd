"""What a watch is given in tests: streams of the drawn yard, and galleries that only take in."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from drawn_yard import RATE, draw_frame

from reid_toolkit.errors import UnavailableError
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frames import Frame, stamp_of
from reid_toolkit.gallery.types import Selection
from reid_toolkit.records import Record

FRAMES = 50
PLAIN = Settings("red")


class Anybody:
    """The block list of a gallery that forgot nobody."""

    def has(self, records: list[Record]) -> list[bool]:
        return [False] * len(records)

    def allow(self, records: list[Record]) -> None:
        pass


@dataclass
class Shelf:
    """A gallery that only takes in."""

    rows: list[np.ndarray] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    expiries: int = 0
    fits: list[bool] = field(default_factory=list)
    block_list: Any = field(default_factory=Anybody)

    def add(self, vectors: np.ndarray, records: list[Record]) -> None:
        self.rows += list(vectors)
        self.records += records

    def listed(self, which: Selection) -> Iterator[Record]:
        return iter(())

    def expire(self) -> int:
        self.expiries += 1
        return 3

    def refresh_statistics(self, *, if_due: bool) -> bool:
        self.fits.append(if_due)
        return True


@dataclass
class Stream:
    """A recording that gives the frames of a function, at each connection anew."""

    connect: Callable[[], Iterator[Frame]]
    source: str = "rtsp://yard"
    name: str = "yard"
    frame_rate: float = RATE
    is_stream: bool = True
    fingerprint: str = "1a2b3c4d5e"
    files: tuple[Path, ...] = ()
    stamp: str = stamp_of(())

    def frames(self, on_damage: Callable[[], None] | None = None) -> Iterator[Frame]:
        return self.connect()


@dataclass
class Locked(Shelf):
    """A gallery that cannot be written for the first ``times``."""

    times: int = 0

    def add(self, vectors: np.ndarray, records: list[Record]) -> None:
        if self.times:
            self.times -= 1
            raise UnavailableError("gallery: another process is writing")
        super().add(vectors, records)


def walk(numbers: range = range(FRAMES), began: float = 0.0) -> Iterator[Frame]:
    """The walker's frames as a recording gives them."""
    for number in numbers:
        yield Frame(number, began + number / RATE, draw_frame(number))


def live_walk(pause: float) -> Iterator[Frame]:
    for frame in walk():
        time.sleep(pause)
        yield replace(frame, time=time.time())
