"""Events as JSON lines, on standard output or at the end of a file."""

import json
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from reid_toolkit.errors import InputError
from reid_toolkit.live.events.event import Event
from reid_toolkit.live.events.sink import SinkCount

BEGINNING = b'{"kind": "'
"""How each line begins. It shows whether a file holds events."""
LONGEST_LINE = 1 << 16
"""Bytes at the end of a file in which an incomplete last line is looked for."""


class StreamSink:
    """Writes events to standard output."""

    name = "-"

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.count = stream, SinkCount()

    def put(self, events: Sequence[Event]) -> None:
        """Write each event as a line, and flush. If the reader is gone, warn once, and drop all further events."""
        if self.count.dropped:
            self.count.dropped += len(events)
            return
        try:
            for event in events:
                self.stream.write(event.to_json().decode() + "\n")
                self.stream.flush()
                self.count.sent += 1
        except (OSError, ValueError) as error:
            self.count.dropped = max(1, len(events))
            warn(f"events cannot be written to standard output any more ({error}); watching continues without them")

    def poll(self) -> None:
        """Do nothing, because nothing happens in the background."""

    def close(self) -> None:
        """Do nothing, because each line was flushed."""


class FileSink:
    """Appends events to a file. Each line is written by one call, so that other programs read whole lines.

    If another program renames or removes the file, as logrotate does, events go on in a new file of its name.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file, with mode 0600 if it is new, and mend an incomplete last line.

        Raises:
            InputError: it cannot be written, or holds something other than events.
        """
        # A relative path would lead elsewhere if the process changed its folder.
        self.name, self.count, self._path = str(path), SinkCount(), path.absolute()
        self._failing = False
        try:
            self._handle = open_events(path)
        except OSError as error:
            raise InputError(f"--events {path}: cannot be written ({error.strerror}): choose another path") from None

    def put(self, events: Sequence[Event]) -> None:
        """Append each event as a line. If that fails, warn once until it succeeds again, and count what is lost."""
        for event in events:
            try:
                self._follow()
                with alone(self._handle):
                    self._append(event.to_json() + b"\n")
            except (OSError, InputError) as error:
                if not self._failing:
                    why = error.strerror if isinstance(error, OSError) else error
                    warn(f"{self.name}: events are lost: {why}; watching continues")
                self._failing = True
                self.count.dropped += 1
            else:
                self._failing = False
                self.count.sent += 1

    def _follow(self) -> None:
        """Open the file anew if its name stands for another file now, or for none."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._handle)):
                return
        handle = open_events(self._path)
        os.close(self._handle)
        self._handle = handle

    def _append(self, line: bytes) -> None:
        """Write a whole line, or nothing: a full disk may take only a part, which is cut off again."""
        written = os.write(self._handle, line)
        if written == len(line):
            return
        try:
            if os.write(self._handle, line[written:]) == len(line) - written:
                return
            raise OSError(None, "only a part of a line was written")
        except OSError:
            cut_incomplete(self._handle)
            raise

    def poll(self) -> None:
        """Do nothing, because nothing happens in the background."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@contextmanager
def alone(handle: int) -> Iterator[None]:
    """Let no other watch write or mend the file meanwhile: whoever mends it would cut off a line that is being
    written. On file systems without locks nothing is done."""
    import fcntl

    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)


def open_events(path: Path) -> int:
    """Open or create a file of events for appending, and mend its end. Raises :class:`InputError` as :func:`mend`
    does, and :class:`OSError`."""
    if path.exists() and not path.is_file():
        raise InputError(f"--events {path}: exists and is not a file: expected the name of a file to append to")
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        with alone(handle):
            mend(handle, path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def mend(handle: int, path: Path) -> None:
    """Make the file end with a whole line, as a kill in the middle of a write may have left a part.

    A last line that lacks only its line end gets one. A part of an event is cut off. Raises :class:`InputError` if the
    file does not look like events, because then it belongs to something else.
    """
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise InputError(f"--events {path}: exists and is not a file: expected the name of a file to append to")
    first = os.pread(handle, len(BEGINNING), 0)
    if not BEGINNING.startswith(first[: len(BEGINNING)]):
        raise InputError(f"--events {path}: exists and holds no events: expected a new name, or a file of events")
    last = last_part(handle)
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        cut_incomplete(handle)
    else:
        os.write(handle, b"\n")


def last_part(handle: int) -> bytes:
    """The bytes after the last line end, at most :data:`LONGEST_LINE`."""
    size = os.fstat(handle).st_size
    return os.pread(handle, LONGEST_LINE, max(0, size - LONGEST_LINE)).rpartition(b"\n")[2]


def cut_incomplete(handle: int) -> None:
    """Cut off the bytes after the last line end."""
    os.ftruncate(handle, os.fstat(handle).st_size - len(last_part(handle)))


def warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
