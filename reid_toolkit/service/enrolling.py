"""Enrols uploaded pictures as one record, and deletes a record."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.types import is_past
from reid_toolkit.images import thumbnail
from reid_toolkit.records import Record
from reid_toolkit.service.answers import record_document
from reid_toolkit.service.correcting import alone
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.filters import name_in, names_in, seconds_in
from reid_toolkit.service.forms import Form
from reid_toolkit.service.pictures import Upload, decoded
from reid_toolkit.service.settings import Limits

FIELDS = ("camera", "time", "end", "tracklet", "tag")
SOURCE = "upload"
"""The source of uploaded records."""


def enroll(desk: Desk, form: Form, limits: Limits) -> dict[str, Any]:
    """Store pictures of one person as a record, with a small picture. It is on the disk when this returns.

    Sent twice, it is refused the second time, because its tracklet is by default named after the pictures.
    """
    form.refuse_others(FIELDS)
    if not form.pictures:
        raise Refusal(422, "expected pictures of one person in the field 'picture'")
    record = record_in(form)
    images = decoded(form.pictures, limits)
    record = Record(
        record.tracklet, record.camera, record.start, record.end, SOURCE, "", record.tags,
        thumbnail(images[len(images) // 2]),
    )  # fmt: skip
    kept = desk.store.retention
    if kept is not None and is_past(record, time.time() - kept):
        raise Refusal(409, "time: it is past the retention of this gallery")
    embedder = desk.embedder
    desk.store.expect(embedder.dimension, embedder.fingerprint)
    vector = embedder.embed_tracklet(images)
    with desk.storing:
        # In this order: what is deleted is on the block list before it is gone, so one of the two finds it.
        if desk.store.enrolled([record])[0]:
            raise Refusal(409, f"there is such a record already: tracklet {record.tracklet!r} of {record.camera!r}")
        if desk.store.block_list.has([record])[0]:
            raise Refusal(409, "this record was forgotten, and may not come back")
        desk.store.add(vector[None], [record])
    desk.note({"action": "enroll", "record": f"{record.tracklet}@{record.camera}"})
    return record_document(desk, record, desk.known([record]))


def record_in(form: Form) -> Record:
    """The record that a form describes."""
    camera = form.one("camera")
    if camera is None:
        raise Refusal(422, "expected the name of a camera in the field 'camera'")
    start = seconds_in(form, "time")
    end = seconds_in(form, "end")
    if end is not None and (start is None or end < start):
        raise Refusal(422, "end: expected a time that is not before 'time'")
    tracklet = form.one("tracklet") or name_of(form.pictures)
    tags = tuple(sorted(set(names_in(form, "tag"))))
    return Record(
        name_in(tracklet, "tracklet"), name_in(camera, "camera"), start, start if end is None else end, tags=tags
    )


def name_of(pictures: Sequence[Upload]) -> str:
    """A tracklet's name that is always the same for the same pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(hashlib.sha256(picture.content).digest())
    return f"upload-{digest.hexdigest()[:16]}"


def delete(desk: Desk, digest: str) -> dict[str, Any]:
    """Delete a record for good. It goes on the block list, as with `reid gallery forget`.

    Raises :class:`Refusal` 409 if another change takes long.
    """
    record = desk.held(digest).record
    with alone(desk):
        desk.store.block_list.add([record])
        gone = desk.store.delete_records([record])
        desk.store.compact()
    return {"records": gone, "id": key_digest(record)}
