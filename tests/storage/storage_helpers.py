"""Folders in object storage."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from reid_toolkit.cli import main
from reid_toolkit.storage import StoredPath
from reid_toolkit.storage.transfer import upload


def put(folder: Path, to: StoredPath) -> StoredPath:
    """Copy a folder to object storage."""
    upload([(path, to / path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()])
    return to


def contents(folder: Path) -> dict[str, bytes]:
    """The files or objects in a folder, without hidden ones."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not path.name.startswith(".")}


def command(*arguments: object) -> tuple[int, str]:
    """Run ``reid`` in this process. Gives its exit status, and what it said on stderr."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0), said.getvalue()
