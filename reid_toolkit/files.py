"""Writing files so that a reader sees the old one or the new one, never half of either."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed onto it, else removed.

    The temporary name keeps the suffix, since some writers (OpenCV, numpy) choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A name for what becomes ``path``, which nobody else has."""
    # Not the process id: threads, and machines that share a folder, have the same.
    return path.with_name(f".{path.stem}.{secrets.token_hex(8)}.partial{path.suffix}")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` (text as UTF-8), all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def link_atomic(source: Path, path: Path) -> None:
    """Give a file another name, in place of what had it; a copy where the file system has no hard links."""
    with atomic_path(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
