"""The audit log of a gallery: who searched and deleted what, and when. One JSON object a line, and each line names
the one before it:

    {"line": 2, "time": "2026-11-26T20:00:00.000Z", "user": "ana", "action": "search", ..., "previous": "<SHA-256>"}

How many lines there are, how many bytes, and the SHA-256 of the last one are kept in the gallery's record, so that
cutting the end off shows as well as a change in the middle. No key is part of it: whoever may write both the log and
the record can write both anew. Against that, the last digest can be kept elsewhere.
"""

import getpass
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import AuditError
from reid_toolkit.files import parse_json
from reid_toolkit.gallery.types import Comparison, Filter, Selection
from reid_toolkit.records import Record

NAME = "audit.jsonl"
FIRST = "0" * 64
"""What the first line names as the one before it."""
ANOTHER = "put it back; or move it away and begin another with `reid gallery audit GALLERY off`, then `on`"
"""What to do about a log that does not fit."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """What the record knows of the log."""

    on: bool = False
    lines: int = 0
    bytes: int = 0
    digest: str = FIRST
    """SHA-256 of the last line, as hex."""

    @classmethod
    def of(cls, text: str | None) -> "Head":
        """From what :attr:`text` gave; a log that was never on when there is none."""
        return cls(**parse_json(text)) if text else cls()

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))


def append(folder: Path, head: Head, events: Sequence[Event]) -> Head:
    """Write a line for each event and sync them; the record must take over the head that is returned.

    Only one process at a time may do so. Raises :class:`AuditError` when the file is not what the record knows, or
    cannot be written; then nothing was.
    """
    path = folder / NAME
    try:
        # Made anew only for the first line: a log that was taken away is not begun again.
        handle = os.open(path, os.O_RDWR | (0 if head.lines else os.O_CREAT), 0o600)
        with open(handle, "r+b") as file:
            head = _caught_up(path, file, head)
            content, head_after = _chained(head, events)
            try:
                file.seek(head.bytes)
                file.write(content)
                file.truncate()  # what a killed process left of a line
                file.flush()
                os.fsync(handle)
            except BaseException:
                with suppress(OSError):
                    os.truncate(path, head.bytes)
                raise
    except FileNotFoundError:
        raise AuditError(f"{path}: {_too_short(0, head)}") from None
    except OSError as error:
        raise AuditError(f"{path}: the audit log cannot be written: {error.strerror or error}") from error
    return head_after


def switched(folder: Path, head: Head, on: bool) -> Head:
    """The head of the log switched on or off, which is a line of it too.

    A log that does not fit can be switched off all the same. After one that was taken away, another begins, which
    says so. Raises :class:`AuditError` as :func:`append` does.
    """
    if head.on == on:
        return head
    if not on:
        with suppress(AuditError):
            head = append(folder, head, [{"action": "audit off"}])
        return replace(head, on=False)
    event: Event = {"action": "audit on"}
    if head.lines and not (folder / NAME).exists():
        event["lost"] = {"lines": head.lines, "last": head.digest}
        head = Head()
    return replace(append(folder, head, [event]), on=True)


def _chained(head: Head, events: Sequence[Event]) -> tuple[bytes, Head]:
    about = {"time": f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}Z", "user": user()}
    content, digest, number = bytearray(), head.digest, head.lines
    for number, event in enumerate(events, start=head.lines + 1):
        text = json.dumps({"line": number, **about, **event, "previous": digest}, ensure_ascii=False)
        # Names of files may not be Unicode; escaped like this they are JSON all the same.
        line = text.encode(errors="backslashreplace")
        digest = hashlib.sha256(line).hexdigest()
        content += line + b"\n"
    return bytes(content), Head(head.on, number, head.bytes + len(content), digest)


def _caught_up(path: Path, file: BinaryIO, head: Head) -> Head:
    """The head with the lines that the record does not know: of a process that was killed before it did."""
    size = file.seek(0, os.SEEK_END)
    if size < head.bytes:
        raise AuditError(f"{path}: {_too_short(size, head)}")
    file.seek(head.bytes)
    for line in file:
        if not line.endswith(b"\n"):
            break
        if not _follows(line, head.lines, head.digest):
            raise AuditError(f"{path}: what follows line {head.lines} is not of this log: {ANOTHER}")
        head = Head(head.on, head.lines + 1, head.bytes + len(line), hashlib.sha256(line[:-1]).hexdigest())
    return head


def _follows(line: bytes, lines: int, digest: str) -> bool:
    """Whether a line is one, and names the one before it."""
    try:
        event = parse_json(line)
        return bool((event["line"], event["previous"]) == (lines + 1, digest))
    except (ValueError, KeyError, TypeError):
        return False


def _too_short(size: int, head: Head) -> str:
    return (
        f"lines are missing from the audit log: expected {head.lines} lines in {head.bytes} bytes, got {size} bytes: "
        f"{ANOTHER}"
    )


def read(folder: Path, head: Head) -> list[Event]:
    """The lines that the record knows of; those that are no events are left out, see :func:`faults`."""
    found = []
    for line in _lines(folder, head):
        with suppress(ValueError):
            event = parse_json(line)
            if isinstance(event, dict) and {"time", "user", "action"} <= event.keys():
                found.append(event)
    return found


def faults(folder: Path, head: Head) -> list[str]:
    """What does not fit: the first line that does not follow from the one before it, or a wrong end."""
    digest, number = FIRST, 0
    for number, line in enumerate(_lines(folder, head), start=1):
        if not _follows(line, number - 1, digest):
            before = f"line {number - 1}" if number > 1 else "the beginning"
            return [f"line {number} does not follow from {before}: a line was changed, removed or put in"]
        digest = hashlib.sha256(line).hexdigest()
    if number < head.lines:
        return [f"its end is missing: expected {head.lines} lines, got {number}"]
    return [] if digest == head.digest else [f"line {number}, the last, was changed"]


def _lines(folder: Path, head: Head) -> list[bytes]:
    """Without their ends. What comes after the last that the record knows may be of a search under way."""
    try:
        with open(folder / NAME, "rb") as file:
            content = file.read(head.bytes)
    except FileNotFoundError:
        content = b""
    return content.removesuffix(b"\n").split(b"\n") if content else []


def searches(
    name: str,
    queries: NDArray[np.float32],
    top_k: int,
    where: Filter,
    how: Comparison,
    version: int,
    found: Sequence[int],
) -> list[Event]:
    """An event for each of ``queries`` (B, D) and how many records it found. The descriptor itself is not in it.

    version: of the camera statistics that were used, 0 for none.
    """
    filters: Event = {
        key: sorted(value) for key in ("cameras", "sources", "tags") if (value := getattr(where, key)) not in (None, ())
    }
    filters |= {key: value for key in ("since", "until") if (value := getattr(where, key)) is not None}
    filters |= {"exclude": len(where.exclude)} if where.exclude else {}
    return [
        {
            "action": "search", "query": name, "descriptor": hashlib.sha256(row.astype("<f4").tobytes()).hexdigest(),
            "top_k": top_k, "filters": filters, "camera_statistics": version, "query_camera": camera,
            "matches": matches,
        }
        for row, camera, matches in zip(queries, how.query_cameras, found, strict=True)
    ]  # fmt: skip


def deletion(which: Selection, count: int) -> Event:
    """That records were deleted by criteria."""
    criteria = {key: value for key, value in asdict(which).items() if value not in (None, False)}
    return {"action": "delete", "criteria": criteria, "records": count}


def removal(records: Sequence[Record], count: int) -> Event:
    """That records were deleted which were named one by one."""
    named = [{"tracklet": one.tracklet, "camera": one.camera, "source": one.source} for one in records]
    return {"action": "delete", "criteria": {"named": named}, "records": count}


def user() -> str:
    """The operating system's name of whoever runs this process, not what the environment says; else the number."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
