"""Count the records of a Milvus collection, and find damaged records. Both read the whole collection."""

from collections import Counter
from dataclasses import dataclass, field

from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.rows import ALL, is_whole
from reid_toolkit.gallery.types import Damaged, OnProgress, Report


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of :class:`Info`."""

    count: int = 0
    cameras: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    first: float | None = None
    last: float | None = None


def tally(collection: Collection) -> Tally:
    """Count by camera, source and tag, and find the earliest and the latest time."""
    cameras: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    times: list[float] = []
    for rows in collection.pages(("camera", "source", "tags", "start_time", "end_time")):
        cameras.update(row["camera"] for row in rows)
        sources.update(row["source"] for row in rows)
        tags.update(tag for row in rows for tag in row["tags"]["tags"])
        both = [
            row[name] for row in rows if row["start_time"] <= row["end_time"] for name in ("start_time", "end_time")
        ]
        times = [min(times + both), max(times + both)] if times or both else []
    first, last = times or (None, None)
    return Tally(cameras.total(), _sorted(cameras), _sorted(sources), _sorted(tags), first, last)


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))


def report_on(collection: Collection, index: str, statistics: str, on_progress: OnProgress | None) -> Report:
    """Verify the checksum of every record. ``index`` and ``statistics`` are copied into the report."""
    count, read = collection.count(), 0
    damaged: list[Damaged] = []
    for rows in collection.pages(ALL):
        read += len(rows)
        damaged += [
            Damaged(row["place"], "does not fit its checksum", row["source"], row["tracklet"], row["camera"])
            for row in rows
            if not is_whole(row)
        ]
        if on_progress:
            on_progress(read, count)
    return Report(count, read - len(damaged), tuple(damaged), max(0, count - read), (), index, (), statistics)
