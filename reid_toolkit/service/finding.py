"""Searches by pictures, by a record, or by a person."""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from reid_toolkit.files import as_name
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.records import Crop
from reid_toolkit.runtime.tracklets import average
from reid_toolkit.search import Query, Result
from reid_toolkit.service.answers import search_document
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.filters import FIELDS, Wanted, wanted_of
from reid_toolkit.service.forms import Form
from reid_toolkit.service.pictures import decoded
from reid_toolkit.service.settings import Limits

DESCRIBING = 64
"""At most so many records of a person are averaged, spread over all of them."""


def search(desk: Desk, form: Form, limits: Limits) -> dict[str, Any]:
    """The answer to a form. Raises :class:`Refusal` or an error of the library."""
    form.refuse_others(FIELDS)
    wanted = wanted_of(form)
    ways = [bool(form.pictures), wanted.record is not None, wanted.person is not None]
    if sum(ways) != 1:
        raise Refusal(422, "expected either pictures in the field 'picture', or a record, or a person")
    if form.pictures:
        return by_pictures(desk, form, wanted, limits)
    return by_record(desk, wanted) if wanted.record is not None else by_person(desk, wanted)


def by_pictures(desk: Desk, form: Form, wanted: Wanted, limits: Limits) -> dict[str, Any]:
    """The records that look like the person in the pictures."""
    images = decoded(form.pictures, limits)
    names = [picture.name for picture in form.pictures]
    query = Query(PurePosixPath(names[0]).stem, tuple(Crop(Path(name), "", "") for name in names), tuple(images))
    found = desk.search()
    result = found.find(
        query, wanted.top_k, wanted.among(desk, found), group=wanted.group, after=wanted.after,
        query_camera=wanted.query_camera, asked=wanted.asked,
    )  # fmt: skip
    return finish(desk, result, wanted, query.name, names)


def by_record(desk: Desk, wanted: Wanted) -> dict[str, Any]:
    """The other records that look like a record."""
    stored = desk.held(wanted.record or "")
    found, record = desk.search(), stored.record
    among = replace(wanted.among(desk, found), exclude=[record])
    camera = wanted.query_camera or record.camera or None
    result = found.find_like(
        stored.vector, record.tracklet, wanted.top_k, among, group=wanted.group, after=wanted.after,
        query_camera=camera, asked=wanted.asked,
    )  # fmt: skip
    return finish(desk, result, wanted, record.tracklet, [], record=wanted.record)


def by_person(desk: Desk, wanted: Wanted) -> dict[str, Any]:
    """The records that look like a person, without the person's own."""
    book = desk.grouped()
    number = person_of(book, wanted.person or "")
    records = book.records_of(number)
    step = max(len(records) / DESCRIBING, 1)
    chosen = [records[int(at * step)] for at in range(min(len(records), DESCRIBING))]
    held = desk.store.held([key_digest(one) for one in chosen])
    if not held:
        raise Refusal(404, "this person has no records any more")
    vector = average(np.stack([one.vector for one in held.values()]))
    cameras = {one.record.camera for one in held.values()}
    camera = wanted.query_camera or (next(iter(cameras)) if len(cameras) == 1 else None) or None
    found = desk.search()
    among = replace(wanted.among(desk, found), exclude=records)
    result = found.find_like(
        vector, book.name(number), wanted.top_k, among, group=wanted.group, after=wanted.after,
        query_camera=camera, asked=wanted.asked,
    )  # fmt: skip
    return finish(desk, result, wanted, book.name(number), [], person=book.name(number))


def person_of(book: Any, name: str, *, shown: bool = True) -> int:
    """The number of a person. Raises :class:`Refusal` 404 if nobody is called so, or with ``shown`` if all records of
    that person are damaged or past the retention."""
    from reid_toolkit.people.naming import find_person

    number = find_person(as_name(name), book.people)
    if number is None or (shown and number not in book.by_person):
        raise Refusal(404, f"nobody is called {name[:100]!r}")
    return int(number)


def finish(
    desk: Desk, result: Result, wanted: Wanted, name: str, images: list[str], **asked: str | None
) -> dict[str, Any]:
    """The document of a result."""
    query = {"name": name, "images": images, "camera": result.camera, "person": asked.get("person")}
    known = desk.known([answer.match.record for answer in result.answers])
    document = search_document(desk, result, query, wanted.group, known)
    return document | {"record": asked.get("record"), "no_probabilities": bool(result.scale.unfit)}
