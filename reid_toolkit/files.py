"""Writing files so that a reader sees the old one or the new one, never half of either."""

import csv
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
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed onto it, and its folder synced, else
    it is removed.

    The temporary name keeps the suffix, since some writers (OpenCV, numpy) choose the format by it.
    """
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
    """Put on the disk which files are in a folder, where the system can: a name is lost with the power otherwise."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def temporary_beside(path: Path) -> Path:
    """A name for what becomes ``path``, which nobody else has."""
    # Not the process id: threads, and machines that share a folder, have the same.
    return path.with_name(f".{path.stem}.{secrets.token_hex(8)}.partial{path.suffix}")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` (text as UTF-8), all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def parse_json(content: bytes | str) -> Any:
    """What JSON of a file says, which anybody may have written; raises :class:`ValueError` for whatever is none."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def can_be_written(path: Path) -> bool:
    """Whether this process may write the file, or make it where there is none, and others beside it."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def as_text(name: object) -> str:
    """A file's name or path as it can be stored in UTF-8; bytes that are none become U+FFFD."""
    return os.fsencode(str(name)).decode(errors="replace")


def as_name(text: object) -> str:
    """A name of a camera, a tracklet or a person as it is stored and compared: in Unicode's composed form (NFC).
    Keyboards and file systems write "é" as one sign or as two, which look the same.
    """
    return unicodedata.normalize("NFC", as_text(text))


def natural_order(path: Path) -> tuple[list[list[tuple[int, str]]], Path]:
    """To sort by: numbers in names by their value, so that frame2 comes before frame10; equals by the name as it is."""
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    return [[(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces] for pieces in parts], path


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """A CSV table whose lines end in a line feed."""
    return "".join(map(csv_line, rows))


def csv_line(values: Iterable[object]) -> str:
    """A row of it."""
    text = io.StringIO(newline="")
    # A writer quotes what holds a sign of its own line end. Before Python 3.11.9 it quoted no other, and a carriage
    # return that is not quoted ends the row for whoever reads it.
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"


def link_atomic(source: Path, path: Path) -> None:
    """Give a file another name, in place of what had it; a copy where the file system has no hard links."""
    with atomic_path(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
