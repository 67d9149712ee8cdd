"""The JSON documents of searches and camera statistics, for commands and services. docs/gallery.md describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.gallery.types import Info
from reid_toolkit.records import Record
from reid_toolkit.search.answers import Answer, is_out_of_order, verdict
from reid_toolkit.search.query import Result

SCHEMA = 1
"""Version of the JSON of a search. It changes if a field is removed or changes its meaning, not if one is added."""


def as_list(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """Matches in the stable form for other programs."""
    return [
        {
            "rank": answer.match.rank,
            "distance": round(answer.match.distance, 6),
            **as_dict(answer.match.record),
            "crops": None if answer.crops is None else len(answer.crops),
            "right": answer.right,
            **answer.confidence._asdict(),
        }
        for answer in answers
    ]


def as_dict(record: Record) -> dict[str, object]:
    """A record as JSON, without the bytes of its picture."""
    fields = asdict(record)
    del fields["thumbnail"]
    return fields


def as_document(result: Result, asked: Mapping[str, object], group: str | None) -> dict[str, object]:
    """A result in the stable form for other programs. ``asked`` becomes its field "query"."""
    return {
        "schema": SCHEMA, "query": asked, "group": group, "base_rate": result.scale.base_rate,
        "camera_statistics": result.statistics.version if result.statistics else None,
        "out_of_order": is_out_of_order(result.answers), "verdict": verdict(result.answers),
        "doubt": result.scale.doubt or None,
        "matches": as_list(result.answers), "after": result.page.after,
    }  # fmt: skip


def cameras_document(statistics: CameraStatistics | None, held: Info, gallery: str) -> dict[str, object]:
    """The cameras of a gallery, with the statistics of each. ``gallery`` is what the document calls it."""
    fits = [asdict(one) for one in statistics.cameras] if statistics else []
    return {"gallery": gallery, "statistics": held.statistics, "cameras": fits, "records": held.cameras}
