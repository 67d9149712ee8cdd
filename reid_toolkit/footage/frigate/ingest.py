"""Stores Frigate's events of people in a dataset: each event is a tracklet of one crop, cut from its snapshot."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reid_toolkit.datasets.manifest import check_name
from reid_toolkit.errors import DownloadError, InputError
from reid_toolkit.files import as_name
from reid_toolkit.footage.crops import cut, shows_enough
from reid_toolkit.footage.dataset_writer import IngestStore, open_store
from reid_toolkit.footage.frigate.client import FrigateClient
from reid_toolkit.footage.frigate.events import FrigateEvent, SnapshotSource, cameras_of, is_whole, pages_of
from reid_toolkit.images import decode, write_crop
from reid_toolkit.records import Crop

DETECTOR = "frigate"
"""What the journal names as the detector."""
Size = tuple[int, int]


@dataclass
class FrigateReport:
    """The counts of one run."""

    events: int = 0
    """Events of people with a snapshot that Frigate listed."""
    stored: int = 0
    skipped: int = 0
    """Events that were in the dataset before."""
    in_progress: int = 0
    """Events that have not ended. The next run takes them."""
    without: int = 0
    """Events without a picture or a box. The next run tries them again."""
    cropped: int = 0
    """Events whose snapshot Frigate has stored cropped, so that the place of the person in it is not known."""
    small: int = 0
    """Events whose box is tiny or mostly outside the frame."""
    drawn: int = 0
    """Stored events whose snapshot may have the box drawn into it."""
    cameras: dict[str, int] = field(default_factory=dict)
    """Stored events of each camera."""
    seconds: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What was left out or is doubtful, one sentence each."""
        said = []
        if self.without:
            said.append(f"{self.without} events have no picture or no box of the person; they are left out")
        if self.cropped:
            said.append(
                f"{self.cropped} events have only a cropped snapshot; they are left out: set clean_copy: true (or "
                "crop: false) under snapshots in Frigate's configuration"
            )
        if self.small:
            said.append(f"{self.small} events have a box that is tiny or mostly outside the frame; they are left out")
        if self.drawn:
            said.append(
                f"{self.drawn} snapshots may have the box drawn into them: set clean_copy: true under snapshots in "
                "Frigate's configuration"
            )
        return said


@dataclass(frozen=True)
class Work:
    """What the functions below share."""

    client: FrigateClient
    snapshots: SnapshotSource
    store: IngestStore
    margin: float
    report: FrigateReport
    tick: Callable[[], None]


def ingest_frigate(
    client: FrigateClient,
    out: Path,
    *,
    cameras: Iterable[str] = (),
    after: float | None = None,
    before: float | None = None,
    margin: float = 0.05,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> FrigateReport:
    """Add Frigate's events of people to the dataset folder ``out``. Events that are in it are not fetched again.

    ``cameras`` are Frigate's names; none means all. ``after`` and ``before`` limit the begin of events, in Unix
    seconds. If it ends early, by an error or by KeyboardInterrupt, what was fetched is stored.

    Raises:
        DownloadError: Frigate cannot be reached, refuses the login, or answers as no Frigate does.
        InputError: Frigate has no such camera, or the times contradict each other.
        DatasetError: the dataset folder breaks the data contract.
    """
    if after is not None and before is not None and after >= before:
        raise InputError(f"events after {after:.0f} and before {before:.0f}: expected an earlier time for after")
    asked = tuple(dict.fromkeys(cameras))
    report, clock = FrigateReport(), time.perf_counter()
    sizes = cameras_of(client, asked)

    def tick() -> None:
        if on_progress:
            on_progress(report.events, None)

    with open_store(out) as store:
        work = Work(client, SnapshotSource(client), store, margin, report, tick)
        held = [entry["events"] for entry in store.entries if isinstance(entry.get("events"), list)]
        there = {str(name) for names in held for name in names}
        for camera, size in sizes.items():
            check_name("camera", camera)
            for page in pages_of(client, camera, after, before):
                ingest_page(work, camera, size, page, there)
    report.seconds = time.perf_counter() - clock
    return report


def ingest_page(work: Work, camera: str, size: Size | None, page: list[FrigateEvent], there: set[str]) -> None:
    """Fetch the new events of a page and commit them together. On an error, what was fetched before is committed."""
    report, new = work.report, []
    report.events += len(page)
    for event in page:
        if event.name in there:
            report.skipped += 1
        elif not event.over:
            report.in_progress += 1
        elif event.box is None:
            report.without += 1
        elif size is not None and not shows_enough(corners(event.box, size), *size):
            report.small += 1
        else:
            new.append(event)
    work.tick()
    if not new:
        return
    stamp = datetime.fromtimestamp(min(event.time for event in new), UTC).strftime("%Y%m%dT%H%M%SZ")
    name = work.store.free_name(f"frigate-{camera}-{stamp}")
    crops: list[Crop] = []
    seen: set[Size] = set()
    stopped: BaseException | None = None
    with work.store.staging(name) as staging:
        try:
            for number, event in enumerate(new):
                crop = fetch_crop(work, as_name(camera), size, event, staging / f"{number:05d}.jpg", seen)
                if crop is not None:
                    crops.append(crop)
        except (DownloadError, KeyboardInterrupt) as error:
            stopped = error
        if crops:
            commit(work, staging, name, camera, crops, seen)
            there |= {event_of(crop) for crop in crops}
    if stopped is not None:
        raise stopped


def fetch_crop(
    work: Work, camera: str, size: Size | None, event: FrigateEvent, path: Path, seen: set[Size]
) -> Crop | None:
    """Fetch the snapshot of an event and store its crop at ``path``. None, and counted, if it cannot be used."""
    report = work.report
    found = work.snapshots.get(event)
    image = decode(found[0]) if found else None
    if found is None or image is None or event.box is None:
        report.without += 1
        return None
    height, width = image.shape[:2]
    if not is_whole(width, height, size):
        report.cropped += 1
        return None
    box = corners(event.box, (width, height))
    crop = cut(image, box, work.margin)
    if crop is None:
        report.small += 1
        return None
    write_crop(path, crop)
    seen.add((width, height))
    report.drawn += not found[1]
    x, y, right, bottom = (float(value) for value in box)
    recording = path.parent.name.removeprefix(".").removesuffix(".partial")
    return Crop(
        path, camera, f"frigate-{camera}-{event.name}", int(path.stem), event.time, x, y, right - x, bottom - y,
        event.score, recording=recording,
    )  # fmt: skip


def event_of(crop: Crop) -> str:
    """Frigate's id of the event of a crop."""
    return crop.tracklet.removeprefix(f"frigate-{crop.camera}-")


def commit(work: Work, staging: Path, name: str, camera: str, crops: list[Crop], seen: set[Size]) -> None:
    """Enter the crops of a page, as `reid ingest` enters a recording."""
    (width, height), *others = seen
    entry = {
        "name": name,
        "source": work.client.base,
        "fingerprint": "",
        "size": 0,
        "settings": {"camera": camera, "detector": DETECTOR, "margin": work.margin},
        "frames": len(crops),
        **({} if others else {"width": width, "height": height}),
        "black": 0,
        "tracklets": len(crops),
        "dropped": 0,
        "crops": len(crops),
        "events": [event_of(crop) for crop in crops],
    }
    work.store.commit(staging, crops, entry)
    work.report.stored += len(crops)
    work.report.cameras[camera] = work.report.cameras.get(camera, 0) + len(crops)


def corners(box: tuple[float, float, float, float], size: Size) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A box of fractions as x1 y1 x2 y2 in pixels."""
    x, y, width, height = box
    wide, high = size
    return np.array([x * wide, y * high, (x + width) * wide, (y + height) * high], np.float32)
