"""Reads a file of tracks in any of the formats that we know, and tells them apart by their content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.coco import read_coco
from reid_toolkit.exchange.cvat import read_cvat
from reid_toolkit.exchange.fiftyone import read_fiftyone
from reid_toolkit.exchange.mot import read_mot
from reid_toolkit.exchange.tracks import Tracks
from reid_toolkit.files import parse_json

Format = Literal["mot", "coco", "cvat", "fiftyone"]
FORMATS: tuple[str, ...] = get_args(Format)
EXPECTED = "expected MOT text, COCO JSON with tracks, CVAT for video 1.1 or FiftyOne's video labels (docs/exchange.md)"


def read_tracks(
    path: Path,
    content: bytes,
    form: str | None = None,
    *,
    recording: str = "",
    pictures: Mapping[str, int] | None = None,
) -> tuple[str, Tracks]:
    """Read the tracks of one recording. Returns the format and the tracks.

    ``content`` are the file's bytes; ``path`` is for messages. ``form`` is the format; None recognises it.
    ``recording`` chooses one of several videos of a COCO file. ``pictures`` are the names of a folder's pictures with
    their frame numbers, if the recording is one.

    Raises :class:`InputError` for another file, and for boxes or tracks that cannot be.
    """
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<" and form in (None, "cvat"):
        return "cvat", read_cvat(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text: {EXPECTED}") from None
    if start in (b"{", b"[") and form in (None, "coco", "fiftyone"):
        return read_json(path, text, form, recording, pictures or {})
    if form == "mot" or (form is None and start.isdigit()):
        return "mot", read_mot(path, text)
    wrong = f"not in the format {form}" if form else "not of a known format"
    raise InputError(f"{path}: {wrong if text.strip() else 'the file is empty'}: {EXPECTED}")


def read_json(
    path: Path, text: str, form: str | None, recording: str, pictures: Mapping[str, int]
) -> tuple[str, Tracks]:
    """Read COCO or FiftyOne's labels, which are both JSON."""
    try:
        held = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}): {EXPECTED}") from None
    if isinstance(held, dict) and form != "coco" and isinstance(held.get("frames"), dict):
        return "fiftyone", read_fiftyone(path, held)
    if isinstance(held, dict) and form != "fiftyone" and "annotations" in held:
        return "coco", read_coco(path, held, recording, pictures)
    wanted = {"coco": "images and annotations", "fiftyone": "frames"}.get(form or "", "annotations or frames")
    raise InputError(f"{path}: JSON without {wanted}: {EXPECTED}")
