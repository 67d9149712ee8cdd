"""The library's documents as the service gives them: with ids, people and pictures, and without paths of the server."""

from collections.abc import Mapping
from typing import Any

from reid_toolkit.people.documents import person_row, show_document
from reid_toolkit.people.visits import visits_of
from reid_toolkit.records import Record
from reid_toolkit.search import Result
from reid_toolkit.search.confidence import UNKNOWN
from reid_toolkit.search.documents import as_dict, as_document
from reid_toolkit.service.desk import Desk, Named, View, label_of

LIKELY, UNLIKELY = 0.7, 0.3
"""Probabilities from which on a match is called likely, and below which it is called unknown."""
HIDDEN = ("image",)
"""Fields of a record that only hold paths of the server."""


def words_of(probability: float | None, verdict: str | None) -> str | None:
    """A probability in words: "likely", "uncertain" or "unknown". None if there is none."""
    if verdict == UNKNOWN:
        return UNKNOWN
    if probability is None:
        return None
    return "likely" if probability >= LIKELY else UNKNOWN if probability < UNLIKELY else "uncertain"


def record_document(desk: Desk, record: Record, book: Named | View) -> dict[str, Any]:
    """A record, without paths: its source is only called by its last part."""
    return {**public(as_dict(record)), **desk.card(record, book)}


def public(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record, without paths."""
    shown = {key: value for key, value in fields.items() if key not in HIDDEN}
    return shown | {"source": label_of(shown["source"])}


def search_document(
    desk: Desk, result: Result, asked: Mapping[str, Any], group: str | None, book: Named | View
) -> dict[str, Any]:
    """The document of `reid search --json`, in which each match also has "id", "person", "picture" and "words"."""
    document = as_document(result, asked, group)
    matches: Any = document["matches"]
    document["matches"] = [
        {**public(match), **desk.card(answer.match.record, book), "words": words_of(*answer.confidence[::2])}
        for match, answer in zip(matches, result.answers, strict=True)
    ]
    return document


def person_document(desk: Desk, book: View, person: int) -> dict[str, Any]:
    """A person of a list, with a picture."""
    record = book.records[book.stands_for(person)]
    return {**person_row(book, person), "picture": desk.card(record, book)["picture"]}


def visits_document(desk: Desk, book: View, person: int) -> dict[str, Any]:
    """The document of `reid people show --json`, in which each visit also has its "records"."""
    document = show_document(book, person, desk.label)
    for row, visit in zip(document["visits"], visits_of(book.records_of(person)), strict=True):
        row["records"] = [
            {"tracklet": one.tracklet, "start": one.start, "end": one.end, **desk.card(one, book)}
            for one in visit.records
        ]
    return document
