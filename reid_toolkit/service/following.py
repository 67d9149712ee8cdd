"""Follows the file of events that `reid watch --events FILE` writes."""

import json
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reid_toolkit.errors import InputError
from reid_toolkit.service.errors import busy

PART = 1 << 16
"""Bytes that are read at a time."""
LONGEST = 1 << 16
"""Bytes of a line. Longer lines are left out."""


class Line(NamedTuple):
    """An event."""

    id: str
    """The place after it in the file. A client that comes back names the last one that it got."""
    kind: str
    text: str
    """JSON on one line."""


class EventFile:
    """A file that grows. It may not exist yet, and may be replaced by another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, last: str | None, recent: int) -> tuple[int, int]:
        """Where to begin: the file's number and a place in it. After the event ``last``, if it is of this file; else
        so that the ``recent`` last events come first. Raises :class:`Refusal` 503 if the file cannot be read."""
        try:
            with open(self.path, "rb") as file:
                about = os.fstat(file.fileno())
                inode, _, place = (last or "").partition("-")
                if inode.isascii() and place.isascii() and inode.isdigit() and place.isdigit() and len(last or "") < 60:
                    if int(inode) == about.st_ino and int(place) <= about.st_size:
                        return about.st_ino, int(place)
                    return about.st_ino, 0  # another file, or a shorter one: all of it is new
                return about.st_ino, before(file, about.st_size, recent)
        except FileNotFoundError:
            return 0, 0
        except OSError:
            raise busy(30, "the file of events cannot be read: the operator of this service has to look") from None

    def check(self) -> None:
        """Raise :class:`InputError` if there is something that cannot be read as a file of events."""
        why = "it is no file"
        try:
            if self.path.is_file():
                open(self.path, "rb").close()
                return
            if not self.path.exists():
                return
        except OSError as error:
            why = error.strerror or "it cannot be opened"
        raise InputError(f"--events {self.path}: cannot be read: {why}: expected the file that `reid watch` writes")

    def read(self, inode: int, place: int) -> tuple[int, int, list[Line]]:
        """The whole lines after a place, and where to go on. The lines that are no events are left out."""
        try:
            with open(self.path, "rb") as file:
                about = os.fstat(file.fileno())
                if about.st_ino != inode or about.st_size < place:
                    inode, place = about.st_ino, 0
                file.seek(place)
                content = file.read(PART)
        except OSError:
            return inode, place, []
        whole, end, _ = content.rpartition(b"\n")
        if not end:
            return inode, place + (len(content) if len(content) >= LONGEST else 0), []
        lines = []
        for line in whole.split(b"\n"):
            place += len(line) + 1
            event = parsed(line)
            if event is not None:
                lines.append(Line(f"{inode}-{place}", *event))
        return inode, place, lines


def before(file: BinaryIO, size: int, recent: int) -> int:
    """The place before the last ``recent`` whole lines of a file of so many bytes."""
    begin = max(0, size - PART * 4)
    file.seek(begin)
    content = file.read(size - begin)
    ends = [at for at, byte in enumerate(content) if byte == 0x0A]
    if not ends:
        return size if begin else 0
    starts = [0 if begin == 0 else ends[0] + 1, *(end + 1 for end in (ends if begin == 0 else ends[1:]))]
    whole = starts[:-1]  # the last begins behind the last whole line
    return begin + (whole[-recent:] or [starts[-1]])[0] if recent else begin + starts[-1]


def parsed(line: bytes) -> tuple[str, str] | None:
    """The kind and the JSON of an event, made anew, so that it is on one line and holds nothing else."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    kind = event["kind"] if event["kind"].isascii() and event["kind"].isalpha() else "event"
    return kind, json.dumps(event)
