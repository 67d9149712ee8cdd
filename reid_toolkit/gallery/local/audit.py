"""The audit log of a gallery: who searched for and deleted what, and when. Each line is a JSON object, and holds the
digest of the line before it:

    {"line": 2, "time": "2026-11-26T20:00:00.000Z", "user": "ana", "action": "search", ..., "previous": "<SHA-256>"}

The number of lines and bytes, and the SHA-256 of the last line, are stored in the gallery's database. So a removed end
is noticed, as well as a change in the middle. There is no secret key: whoever may write both the log and the database
can forge both. To notice that, keep the last digest in another place.
"""

import getpass
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
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
"""The digest that the first line holds as that of the line before it."""
ANOTHER = "restore the file; or move it away and begin a new log with `reid gallery audit GALLERY off`, then `on`"
"""What to do about a log that does not match the database."""

Event = dict[str, Any]

_asked_by: ContextVar[str] = ContextVar("asked_by", default="")


@dataclass(frozen=True, slots=True)
class Head:
    """What the database stores about the log."""

    on: bool = False
    lines: int = 0
    bytes: int = 0
    digest: str = FIRST
    """SHA-256 of the last line, as hex."""

    @classmethod
    def of(cls, text: str | None) -> "Head":
        """Read what :attr:`text` gave. None means a log that was never on."""
        return cls(**parse_json(text)) if text else cls()

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))


def append(folder: Path, head: Head, events: Sequence[Event]) -> Head:
    """Write and sync a line for each event. The caller must store the returned head in the database.

    Only one process at a time may do so. Raises :class:`AuditError`, and writes nothing, if the file does not match the
    database or cannot be written.
    """
    path = folder / NAME
    try:
        # The file is created only for the first line, so that a log that was removed is not replaced by a new one.
        handle = os.open(path, os.O_RDWR | (0 if head.lines else os.O_CREAT), 0o600)
        with open(handle, "r+b") as file:
            head = _caught_up(path, file, head)
            content, head_after = _chained(head, events)
            try:
                file.seek(head.bytes)
                file.write(content)
                file.truncate()  # removes a part of a line that a killed process has left
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
    """Switch the log on or off, write that as a line, and give the new head.

    A log that does not match the database can be switched off too. If the file was removed, switching on begins a new
    log, whose first line says so. Raises :class:`AuditError` as :func:`append` does.
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
    about |= {"asked_by": _asked_by.get()} if _asked_by.get() else {}
    content, digest, number = bytearray(), head.digest, head.lines
    for number, event in enumerate(events, start=head.lines + 1):
        text = json.dumps({"line": number, **about, **event, "previous": digest}, ensure_ascii=False)
        # File names may not be valid Unicode. Escaped in this way, the line is still JSON.
        line = text.encode(errors="backslashreplace")
        digest = hashlib.sha256(line).hexdigest()
        content += line + b"\n"
    return bytes(content), Head(head.on, number, head.bytes + len(content), digest)


def _caught_up(path: Path, file: BinaryIO, head: Head) -> Head:
    """The head with lines that are not in the database yet, because a process was killed before it stored its head."""
    size = file.seek(0, os.SEEK_END)
    if size < head.bytes:
        raise AuditError(f"{path}: {_too_short(size, head)}")
    file.seek(head.bytes)
    for line in file:
        if not line.endswith(b"\n"):
            break
        if not _follows(line, head.lines, head.digest):
            raise AuditError(f"{path}: the line after line {head.lines} does not belong to this log: {ANOTHER}")
        head = Head(head.on, head.lines + 1, head.bytes + len(line), hashlib.sha256(line[:-1]).hexdigest())
    return head


def _follows(line: bytes, lines: int, digest: str) -> bool:
    """Whether a line is valid and holds the digest of the line before it."""
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
    """The events of all lines that the database knows. Invalid lines are left out; :func:`faults` reports them."""
    found = []
    for line in _lines(folder, head):
        with suppress(ValueError):
            event = parse_json(line)
            if isinstance(event, dict) and {"time", "user", "action"} <= event.keys():
                found.append(event)
    return found


def faults(folder: Path, head: Head) -> list[str]:
    """The first fault of the log: a line that does not follow from the line before it, or a wrong end. Empty if
    none."""
    digest, number = FIRST, 0
    for number, line in enumerate(_lines(folder, head), start=1):
        if not _follows(line, number - 1, digest):
            before = f"line {number - 1}" if number > 1 else "the beginning"
            return [f"line {number} does not follow from {before}: a line was changed, removed or inserted"]
        digest = hashlib.sha256(line).hexdigest()
    if number < head.lines:
        return [f"its end is missing: expected {head.lines} lines, got {number}"]
    return [] if digest == head.digest else [f"line {number}, the last, was changed"]


def _lines(folder: Path, head: Head) -> list[bytes]:
    """The lines that the database knows, without line ends. Later lines may belong to a search that is still
    running."""
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
    """An event for each of ``queries`` (B, D), with the number of records found. It holds a digest of the descriptor,
    not the descriptor itself.

    version: the version of the camera statistics that were used, 0 for none.
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
    """The event for records that were deleted by criteria."""
    criteria = {key: value for key, value in asdict(which).items() if value not in (None, False)}
    return {"action": "delete", "criteria": criteria, "records": count}


def removal(records: Sequence[Record], count: int) -> Event:
    """The event for records that were deleted one by one."""
    named = [{"tracklet": one.tracklet, "camera": one.camera, "source": one.source} for one in records]
    return {"action": "delete", "criteria": {"named": named}, "records": count}


@contextmanager
def asked_by(name: str) -> Iterator[None]:
    """Write ``name`` into each line that this thread writes within the context, besides the user who runs the process.

    For services, whose process acts for many people.
    """
    token = _asked_by.set(name)
    try:
        yield
    finally:
        _asked_by.reset(token)


def user() -> str:
    """The name of the user who runs this process, from the operating system, not the environment. If it has no name,
    its number."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
