"""Reads forms with pictures, in memory and bounded."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

import python_multipart  # noqa: F401 (starlette reads forms with it, and says so only at the first form)
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from reid_toolkit.files import as_name
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.pictures import Upload
from reid_toolkit.service.settings import Limits

FIELDS = 200
"""At most so many fields are read."""
FIELD_LENGTH = 1 << 16
"""Characters of a field."""
CURSOR, CURSOR_BYTES = "after", 10_000_000
"""The field that may be longer, because the service must not refuse a cursor that it gave itself. One of a search by
tracklet has 19 bytes for each tracklet that was shown, so this is enough for half a million."""
NAME = 100
"""Characters of a file's name that are kept."""


class InMemory(MultiPartParser):
    """Keeps files in memory, whose size is bounded already, so that nothing of a query is written to a disk."""

    spool_max_size = max_file_size = 1 << 40  # its name depends on the version of starlette


@dataclass(frozen=True)
class Form:
    """A form: its fields, each with all its values, and its pictures."""

    fields: Mapping[str, Sequence[str]]
    pictures: Sequence[Upload]

    def one(self, name: str) -> str | None:
        """The value of a field. None if it is missing or empty. Raises :class:`Refusal` 422 for several values."""
        values = [value for value in self.fields.get(name, ()) if value]
        if len(values) > 1:
            raise Refusal(422, f"{name}: expected one value, got {len(values)}")
        return values[0] if values else None

    def several(self, name: str, *, empty: bool = False) -> list[str]:
        """All values of a field, with ``empty`` also those that are empty."""
        return [value for value in self.fields.get(name, ()) if value or empty]

    def refuse_others(self, known: Sequence[str]) -> None:
        """Raise :class:`Refusal` 422 for a field that would be ignored."""
        for name in self.fields:
            if name not in known:
                raise Refusal(422, f"unknown field {name[:40]!r}: expected some of {', '.join(known)}")


async def read_form(request: Request, limits: Limits) -> Form:
    """Read a form. Raises :class:`Refusal` if it is malformed or has too many or too large pictures."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Refusal(415, "expected multipart/form-data", "not_a_form")
    if kind == "application/x-www-form-urlencoded":
        return await _short_form(request)
    try:
        data = await InMemory(
            request.headers, request.stream(), max_files=limits.pictures, max_fields=FIELDS, max_part_size=CURSOR_BYTES
        ).parse()
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        said = getattr(error, "message", "") or "malformed"
        if said.startswith("Too many files"):
            raise Refusal(413, f"too many pictures: expected at most {limits.pictures}") from None
        raise Refusal(400, f"the form cannot be read: {said.splitlines()[0][:100]}") from None
    try:
        return await _form(data, limits)
    finally:
        await data.close()


async def _short_form(request: Request) -> Form:
    """A form without files."""
    body = await request.body()
    if len(body) > CURSOR_BYTES:
        raise Refusal(413, f"the form is too large: expected at most {CURSOR_BYTES:,} bytes, or multipart/form-data")
    try:
        # In a thread, because a long one takes a moment.
        fields = await asyncio.to_thread(parse_qs, body.decode(), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError:
        raise Refusal(400, "the form cannot be read") from None
    refuse_long(fields)
    return Form(fields, ())


async def _form(data: FormData, limits: Limits) -> Form:
    fields: dict[str, list[str]] = {}
    pictures = []
    for name, value in data.multi_items():
        if not isinstance(value, UploadFile):
            fields.setdefault(name, []).append(value)
            continue
        if name != "picture":
            raise Refusal(422, f"unknown file field {name[:40]!r}: expected pictures in the field 'picture'")
        if (value.size or 0) > limits.picture_bytes:
            raise Refusal(413, f"a picture is too large: expected at most {limits.picture_bytes:,} bytes")
        pictures.append(Upload(clean_name(value.filename), await value.read()))
    refuse_long(fields)
    return Form(fields, pictures)


def refuse_long(fields: Mapping[str, Sequence[str]]) -> None:
    """Raise :class:`Refusal` 400 for a field that is too long."""
    for name, values in fields.items():
        if name != CURSOR and any(len(value) > FIELD_LENGTH for value in values):
            raise Refusal(400, f"the field {name[:40]!r} is too long: expected at most {FIELD_LENGTH:,} characters")


def clean_name(name: str | None) -> str:
    """The last part of a file's name, on one line. It is only shown, and never used as a path."""
    last = as_name(name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in last)[:NAME] or "picture"
