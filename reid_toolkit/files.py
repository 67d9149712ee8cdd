"""Files and names. Files are written so that a reader sees the old file or the new file, never a part of one."""

import csv
import errno
import io
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from reid_toolkit.storage.path import is_stored

_creating = Lock()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``.

    On success the temporary file is synced and renamed to ``path``, and the folder is synced. On an error it is
    removed. The temporary name keeps the suffix, because some writers (OpenCV, numpy) choose the format by it.

    For an object in storage, the temporary file lies on this machine and is uploaded in the end.
    """
    if is_stored(path):
        from reid_toolkit.storage.transfer import uploaded

        with uploaded(path) as temporary:
            yield temporary
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of files to the disk, if the system can. Else a new name can be lost in a power cut."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_below(folder: Path) -> None:
    """Write all files in a folder, and their names, to the disk, so that a power cut does not empty them.

    Linux does it for the whole file system at once: for 400 crops on ext4 that took 0.04 s, and 2.5 s one by one. It
    also waits for what others write there. Raises :class:`OSError` if the disk refuses.
    """
    if sync_file_system(folder):
        return
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(Path(place))


def sync_file_system(folder: Path) -> bool:
    """Write all of the file system of a folder to the disk. False if this system cannot do it."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError, TypeError):  # macOS and Windows have no such call
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(handle) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):  # a container may forbid it
            return False
        raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


def temporary_beside(path: Path) -> Path:
    """A unique name for a temporary file that will become ``path``."""
    # A random number, because threads, and machines that share a folder, can have the same process id.
    return path.with_name(f".{path.stem}.{secrets.token_hex(8)}.partial{path.suffix}")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write all of ``content`` to ``path``, or nothing. Text is written as UTF-8."""
    if is_stored(path):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if needed and stays. The system frees the lock if the process dies.

    Object storage has no locks: there, nothing is done. Raises :class:`BlockingIOError` if another process holds it.
    """
    import fcntl

    if is_stored(path):
        yield
        return

    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def create_private(path: Path) -> None:
    """Create an empty file of mode 0600 if there is none. Raises :class:`OSError` if this process may not create it, or
    may not read and write the one that is there.

    A file that is there is never opened. When a process closes a file, the system drops all POSIX locks that this
    process holds on it, also those of its SQLite connections. Another process then takes the database for unused, and
    deletes its write-ahead log.
    """
    with _creating:  # nobody in this process may connect to the new file before it is closed here
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if not os.access(path, os.R_OK | os.W_OK):  # also false for root, if the disk is read-only
                raise PermissionError(errno.EACCES, "no right to read and write it", str(path)) from None


def remove_folder(folder: Path) -> None:
    """Remove a folder with everything in it, as far as that is possible."""
    if is_stored(folder):
        from reid_toolkit.storage.transfer import remove_below

        remove_below(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def parse_json(content: bytes | str) -> Any:
    """Parse JSON from a file that anybody may have written. Raises :class:`ValueError` if it is not JSON."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def can_be_written(path: Path) -> bool:
    """Whether this process may write or create the file, and create others beside it."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def as_text(name: object) -> str:
    """A file's name or path as text that UTF-8 can store. Bytes that are not valid become U+FFFD."""
    return os.fsencode(str(name)).decode(errors="replace")


def as_name(text: object) -> str:
    """The name of a camera, a tracklet or a person in its stored form, Unicode's composed form (NFC).

    Keyboards and file systems write "é" as one character or as two, which look the same.
    """
    return unicodedata.normalize("NFC", as_text(text))


def natural_order(path: Path) -> tuple[list[list[tuple[int, str]]], Path]:
    """A sort key that orders numbers in names by value: frame2 comes before frame10. Ties are ordered by the path."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces] for pieces in parts], path


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text. Lines end with a line feed."""
    return "".join(map(csv_line, rows))


def csv_line(values: Iterable[object]) -> str:
    """A row as a CSV line."""
    text = io.StringIO(newline="")
    # Before Python 3.11.9, the writer quoted line-end characters only if they were in its own line terminator. With
    # "\r\n" it quotes both. A carriage return without quotes would end the row for a reader.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"


def link_atomic(source: Path, path: Path) -> None:
    """Make ``path`` a hard link to ``source``, or a copy if the file system has no hard links. Replaces ``path``."""
    with atomic_path(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
