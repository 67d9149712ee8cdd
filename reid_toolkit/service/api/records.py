"""Single records and their pictures."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from reid_toolkit.errors import ImageError
from reid_toolkit.images import encode_crop, read_image
from reid_toolkit.service.access import Admin, Searcher
from reid_toolkit.service.answers import record_document
from reid_toolkit.service.context import Here
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.enrolling import delete, enroll
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.forms import read_form

router = APIRouter(prefix="/api/v1", tags=["records"])
JPEG = b"\xff\xd8\xff"
TEXT, FILE = {"type": "string"}, {"schema": {"type": "string", "format": "binary"}}
ENROLMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture", "camera"],
                    "properties": {
                        "picture": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "camera": TEXT,
                        "time": {**TEXT, "description": "Seconds or ISO 8601."}, "end": TEXT,
                        "tracklet": {**TEXT, "description": "By default, a name made from the pictures."},
                        "tag": {"type": "array", "items": TEXT},
                    },
                }
            }
        },
    }
}  # fmt: skip
LARGEST = 20_000_000
"""Bytes of a crop's file that are read."""


@router.get("/records/{digest}")
async def record(digest: str, visitor: Searcher, here: Here) -> dict[str, Any]:
    """One record, with its person."""
    return await here.read(visitor, one_record, here.desk, digest)


def one_record(desk: Desk, digest: str) -> dict[str, Any]:
    """The document of a record."""
    found = desk.held(digest).record
    document = record_document(desk, found, desk.known([found]))
    desk.note({"action": "record", "record": f"{found.tracklet}@{found.camera}", "person": document["person"]})
    return document


@router.get("/records/{digest}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": FILE}}})
async def picture(digest: str, visitor: Searcher, here: Here) -> Response:
    """A record's picture as JPEG: the crop, or if its file is gone, the small picture that the gallery stores."""
    content = await here.show(visitor, picture_of, here.desk, digest)
    headers = {"Cache-Control": "private, max-age=300", "Content-Disposition": "inline"}
    return Response(content, media_type="image/jpeg", headers=headers)


def picture_of(desk: Desk, digest: str) -> bytes:
    """The JPEG of a record. Raises :class:`Refusal` 404 if there is none."""
    found = desk.held(digest).record
    content = crop_of(Path(found.image)) if found.image else None
    content = content or found.thumbnail
    if not content.startswith(JPEG):
        raise Refusal(404, "this record has no picture any more")
    desk.note({"action": "picture", "record": f"{found.tracklet}@{found.camera}"})
    return content


def crop_of(path: Path) -> bytes | None:
    """The JPEG of a crop's file. Another format is converted, so that clients get a picture and never another file.
    None if it is gone or no picture."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        content = path.read_bytes()
        return content if content.startswith(JPEG) else encode_crop(read_image(path), path)
    except (OSError, ImageError):
        return None


@router.post("/records", status_code=201, openapi_extra=ENROLMENT)
async def enrol(request: Request, visitor: Admin, here: Here) -> dict[str, Any]:
    """Enrol pictures of one person as a record. It is stored when the answer comes."""
    limits = here.settings.limits
    form = await read_form(request, limits)
    return await here.embed(visitor, enroll, here.desk, form, limits)


@router.delete("/records/{digest}")
async def forget(digest: str, visitor: Admin, here: Here) -> dict[str, Any]:
    """Delete a record for good, and keep it from coming back."""
    return await here.change(visitor, delete, here.desk, digest)
