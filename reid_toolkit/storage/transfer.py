"""Many objects at once, and copies of objects on this machine's disk."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reid_toolkit.storage.path import StoredPath, refuse_web
from reid_toolkit.storage.store import told
from reid_toolkit.storage.temporary import temporary_folder

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 32
"""Requests that are under way at the same time when many objects are read or written."""


def at_once(do: Callable[[T], R], things: Sequence[T], most: int = AT_ONCE) -> Iterator[R]:
    """Do something with each of ``things``, at most ``most`` at a time, and yield the results in order."""
    if len(things) < 2:
        yield from map(do, things)
        return
    threads = ThreadPoolExecutor(min(most, len(things)))
    try:
        yield from threads.map(do, things)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def contents_of(paths: Sequence[StoredPath]) -> list[bytes | FileNotFoundError]:
    """The contents of objects. Raises :class:`StorageError` if one cannot be read, although it may be there."""

    def read(path: StoredPath) -> bytes | FileNotFoundError:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            return error

    return list(at_once(read, paths))


def download(objects: Sequence[tuple[StoredPath, Path]]) -> None:
    """Copy objects to files. Their folders are made."""

    def get(pair: tuple[StoredPath, Path]) -> None:
        path, file = pair
        file.parent.mkdir(parents=True, exist_ok=True)
        with told(path):
            path.fs.get_file(str(path), str(file))

    list(at_once(get, objects))


def upload(files: Sequence[tuple[Path, StoredPath]]) -> None:
    """Copy files to objects. Each is there whole or not at all."""

    def put(pair: tuple[Path, StoredPath]) -> None:
        file, path = pair
        refuse_web(path)
        with told(path):
            path.fs.put_file(str(file), str(path))

    list(at_once(put, files))


def remove_below(folder: StoredPath) -> None:
    """Delete all objects in a folder."""
    list(at_once(StoredPath.unlink, list(folder.rglob("*"))))


@contextmanager
def uploaded(path: StoredPath) -> Iterator[Path]:
    """Yield the path of a temporary file with the same suffix. On success it becomes the object ``path``."""
    refuse_web(path)
    with temporary_folder() as folder:
        file = folder / f"{secrets.token_hex(4)}{path.suffix}"
        yield file
        upload([(file, path)])
