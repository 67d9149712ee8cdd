"""Drawn descriptors of people who cross cameras, in which it is known who is who."""

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.records import Record

MIDNIGHT = 1_790_000_000.0
PEOPLE = 14
WIDTH = 64
SOURCE = "/footage"


class Site:
    """People who cross cameras. Each crossing is a record, with a descriptor near the person's own."""

    def __init__(self, people: int, cameras: int = 3, visits: int = 2, *, noise: float = 0.25, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.looks = self.rng.normal(size=(people, WIDTH))
        self.records: list[Record] = []
        self.rows: list[NDArray[np.float32]] = []
        self.truth: dict[str, int] = {}
        self.clock = MIDNIGHT
        for _ in range(visits):
            for person in range(people):
                for camera in range(cameras):
                    self.cross(person, f"camera-{camera}")

    def cross(self, person: int, camera: str, *, at: float | None = None, seconds: float = 5.0) -> Record:
        """Add a record of ``person``; by default after all others."""
        start = self.clock if at is None else at
        self.clock = max(self.clock, start + seconds + 30)
        row = self.looks[person] / np.linalg.norm(self.looks[person]) * np.sqrt(WIDTH)
        row = row + self.noise * self.rng.normal(size=WIDTH)
        name = f"{camera}-{len(self.records):04d}"
        record = Record(name, camera, start, start + seconds, SOURCE)
        self.records.append(record)
        self.rows.append((row / np.linalg.norm(row)).astype(np.float32))
        self.truth[name] = person
        return record

    def enroll(self, store: GalleryStore, first: int = 0) -> None:
        """Add all records from number ``first`` on."""
        store.add(np.stack(self.rows[first:]), self.records[first:])

    def groups(self, store: GalleryStore) -> dict[str, int]:
        """The number of the person of each tracklet."""
        from reid_toolkit.gallery.digests import key_digest

        members = store.people.read().members
        return {one.tracklet: members[key_digest(one)].person for one in self.records if key_digest(one) in members}

    def purity(self, store: GalleryStore) -> tuple[int, int]:
        """How many people were found, and how many of them hold records of two people."""
        shown: dict[int, set[int]] = {}
        for tracklet, person in self.groups(store).items():
            shown.setdefault(person, set()).add(self.truth[tracklet])
        return len(shown), sum(len(people) > 1 for people in shown.values())
