"""Lists Frigate's events of people, page by page, and gets a picture of each."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from reid_toolkit.errors import DownloadError, refuse_unknown
from reid_toolkit.footage.frigate.client import FrigateClient, UnansweredError
from reid_toolkit.times import is_unix_time

PAGE = 100
"""Events in one request."""
LARGEST_PAGE = 10_000
OVERLAP = 0.001
"""Seconds by which a page overlaps the one before, so that events that began at once are not lost between them."""
SAME_SHAPE = 0.02
"""Relative difference of two ratios of width to height that counts as equal."""
SNAPSHOTS: tuple[tuple[str, dict[str, int]], ...] = (
    ("snapshot-clean.webp", {}),
    ("snapshot-clean.png", {}),
    ("snapshot.jpg", {"bbox": 0, "timestamp": 0, "crop": 0}),
)
"""Where the whole frame of an event is, the best first. Versions have one of the first two, or none. All have the last,
but the box may be drawn into it, or it may be cropped."""


@dataclass(frozen=True)
class FrigateEvent:
    """A tracked person."""

    name: str
    """Frigate's id."""
    time: float
    """When the snapshot was taken, in Unix seconds; when the event began, if Frigate does not say it."""
    score: float
    """0-1."""
    box: tuple[float, float, float, float] | None
    """x, y, width, height of the person in the snapshot, as fractions of the frame; None if not known."""
    clean: bool
    """Whether Frigate says that it has the snapshot without drawings."""
    over: bool
    """Whether the event has ended. The snapshot of one in progress may still change."""


def cameras_of(client: FrigateClient, asked: tuple[str, ...]) -> dict[str, tuple[int, int] | None]:
    """The cameras to read, each with width and height of its frames as far as the configuration says them.

    Raises :class:`InputError` for a camera that Frigate does not have, and :class:`DownloadError` as the client does.
    """
    config = client.get_json("/config")
    held = config.get("cameras") if isinstance(config, dict) else None
    if not isinstance(held, dict):
        raise DownloadError(f"{client.base}/api/config: names no cameras: expected Frigate's address")
    refuse_unknown("camera", asked, list(held), client.base)
    return {name: size_of(held[name]) for name in asked or held}


def size_of(camera: object) -> tuple[int, int] | None:
    """Width and height of a camera's frames in its configuration."""
    detect = camera.get("detect") if isinstance(camera, dict) else None
    size = [detect.get(name) for name in ("width", "height")] if isinstance(detect, dict) else []
    width, height = (value if isinstance(value, int) and value > 0 else 0 for value in [*size, 0, 0][:2])
    return (width, height) if width and height else None


def pages_of(
    client: FrigateClient, camera: str, after: float | None, before: float | None
) -> Iterator[list[FrigateEvent]]:
    """Yield the events of a camera with snapshots, the newest first, in pages. Each event comes once.

    Raises :class:`DownloadError` as the client does, and for answers that are not Frigate's.
    """
    seen: set[str] = set()
    until, limit = before, PAGE
    while True:
        query: dict[str, object] = {"cameras": camera, "labels": "person", "has_snapshot": 1, "include_thumbnails": 0}
        query |= {"limit": limit}
        query |= {} if after is None else {"after": f"{after:.6f}"}
        query |= {} if until is None else {"before": f"{until:.6f}"}
        listed = client.get_json("/events", **query)
        if not isinstance(listed, list):
            raise odd(client, listed)
        if not all(isinstance(one, dict) for one in listed):
            raise odd(client, listed)
        events = [read_event(client, one) for one in listed if one.get("id") not in seen and is_wanted(one, camera)]
        seen |= {event.name for event in events}
        if events:
            yield events
        if len(listed) < limit:
            return
        if not events:  # a whole page that is known, of one moment
            limit = 2 * limit
            if limit > LARGEST_PAGE:
                raise DownloadError(f"{client.base}/api/events: gives the same events again and again")
            continue
        until, limit = min(number(client, one.get("start_time")) for one in listed) + OVERLAP, PAGE


def is_wanted(held: Mapping[str, Any], camera: str) -> bool:
    """Whether an event is of a person, in this camera, and has a snapshot: a version may ignore a part of the query."""
    return held.get("camera") == camera and held.get("label") == "person" and held.get("has_snapshot") is True


def read_event(client: FrigateClient, held: Mapping[str, Any]) -> FrigateEvent:
    """An event of Frigate's list. Raises :class:`DownloadError` if it is none."""
    name = held.get("id")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,100}", name):
        raise odd(client, name)
    data = held.get("data")
    about: Mapping[str, Any] = data if isinstance(data, dict) else {}
    start, taken = number(client, held.get("start_time")), about.get("snapshot_frame_time")
    time = number(client, taken) if taken is not None else start
    if not is_unix_time(time):
        raise odd(client, time)
    scores = (about.get("score"), about.get("top_score"), held.get("top_score"))
    score = next((float(one) for one in scores if isinstance(one, int | float) and 0 < one <= 1), 1.0)
    box = about.get("box") or held.get("box")
    return FrigateEvent(
        name, time, score, as_box(box), about.get("snapshot_clean") is True, held.get("end_time") is not None
    )


def as_box(value: object) -> tuple[float, float, float, float] | None:
    """A box as fractions of the frame; None if it is none."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(one, int | float) and math.isfinite(one) and -1 <= one <= 2 for one in value):
        return None
    x, y, width, height = map(float, value)
    return (x, y, width, height) if width > 0 and height > 0 else None


def number(client: FrigateClient, value: object) -> float:
    """A finite number of an answer."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise odd(client, value)
    return float(value)


def odd(client: FrigateClient, value: object) -> DownloadError:
    """The error of an answer that is not Frigate's."""
    return DownloadError(f"{client.base}/api/events: answers with {str(value)[:60]!r}: expected Frigate's events")


class SnapshotSource:
    """Gets the whole frame of events. It remembers which address worked, so that most events need one request."""

    def __init__(self, client: FrigateClient) -> None:
        self.client = client
        self.order = list(SNAPSHOTS)
        self.again = True
        """Whether a request that fails is tried again: not after one for which that was of no use, until one succeeds.
        Else a disk that Frigate has lost would cost the time limit for every event."""

    def get(self, event: FrigateEvent) -> tuple[bytes, bool] | None:
        """The picture's bytes, and whether nothing is drawn into it for sure. None if Frigate has no picture."""
        for place in list(self.order):
            name, query = place
            content = self.picture(f"/events/{quote(event.name, safe='')}/{name}", query)
            if content:
                self.order.remove(place)
                self.order.insert(0, place)
                return content, event.clean or name != "snapshot.jpg"
        return None

    def picture(self, path: str, query: Mapping[str, object]) -> bytes | None:
        """The picture at a path; None if Frigate has none there, or has an error with this one.

        Raises :class:`DownloadError` if it answers nothing else either, or refuses the login.
        """
        try:
            status, content = self.client.fetch(path, query, again=self.again)
        except UnansweredError:
            self.client.get("/config")  # raises if it is not only this picture
            self.again = False
            return None
        if status != 200:
            return None
        self.again = True
        return content


def is_whole(width: int, height: int, frame: tuple[int, int] | None) -> bool:
    """Whether a picture has the shape of the camera's frames, so that it was not cropped."""
    return frame is None or abs(width / height * frame[1] / frame[0] - 1) < SAME_SHAPE
