"""The JSON documents about people, for commands and services. docs/people.md describes them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reid_toolkit.people.book import Book
from reid_toolkit.people.corrections import called_in
from reid_toolkit.people.counting import Count
from reid_toolkit.people.visits import Route, Visit, seen_of, visits_of
from reid_toolkit.times import format_moment


def person_row(book: Book, person: int) -> dict[str, Any]:
    """What lists and timelines say of a person. ``person`` is the name too, as in events and in other commands."""
    records = book.records_of(person)
    start, end = seen_of(records)
    name = book.name(person)
    return {
        "name": name, "person": name, "number": person, "records": len(records),
        "cameras": sorted({record.camera for record in records}),
        "start": start, "end": end,
    }  # fmt: skip


def list_document(book: Book, gallery: str) -> dict[str, Any]:
    """Everybody. ``gallery`` is what the document calls the gallery, here and below."""
    return {"gallery": gallery, "people": [person_row(book, person) for person in book.by_person]}


def visit_row(visit: Visit) -> dict[str, Any]:
    """A visit: camera, times and tracklets."""
    tracklets = [record.tracklet for record in visit.records]
    return {"camera": visit.camera, "start": visit.start, "end": visit.end, "tracklets": tracklets}


def show_document(book: Book, person: int, gallery: str) -> dict[str, Any]:
    """The visits of a person."""
    rows = [visit_row(visit) for visit in visits_of(book.records_of(person))]
    return {"gallery": gallery, **person_row(book, person), "visits": rows}


def count_document(counts: Sequence[Count], parts: Sequence[str], gallery: str) -> dict[str, Any]:
    """How many people, for each combination of ``parts``."""
    rows = [
        {**dict(zip(parts, one.by, strict=True)), "people": one.people, "low": one.low, "high": one.high,
         "records": one.records}
        for one in counts
    ]  # fmt: skip
    return {"gallery": gallery, "by": list(parts), "counts": rows}


def routes_document(routes: Sequence[Route], gallery: str) -> dict[str, Any]:
    """The routes between cameras."""
    return {"gallery": gallery, "routes": json.loads(json.dumps([asdict(one) for one in routes]))}


def corrections_document(book: Book, gallery: str) -> dict[str, Any]:
    """The corrections by users."""
    called = book.called
    rows = [
        {
            "name": one.name, "kind": one.kind,
            "first": called_in(called, one.first), "second": called_in(called, one.second),
            "who": one.who, "time": one.time, "when": format_moment(one.time),
        }
        for one in book.people.corrections
    ]  # fmt: skip
    return {"gallery": gallery, "corrections": rows}
