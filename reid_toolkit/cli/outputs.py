"""Files that a command writes at its end, looked at before its work: hours of it, at worst."""

from io import BytesIO
from pathlib import Path
from typing import Any

import click

from reid_toolkit.errors import InputError


def refuse_unwritable(path: Path) -> None:
    """Raise :class:`InputError` where ``write_atomic`` of ``path`` would fail; nothing of the attempt stays."""
    from reid_toolkit.files import temporary_beside

    folder = path.parent
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is there and no file: expected the name of a file to write")
        while not _is_there(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"{path}: cannot be written, as {folder} is no folder: choose another place")
        trial = folder / temporary_beside(path).name
        try:
            trial.touch(exist_ok=False)
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another place") from error


def _is_there(folder: Path) -> bool:
    try:
        folder.lstat()  # where a name is too long, or a folder may not be entered, it says so
    except FileNotFoundError:
        return False
    return True


class OutputFile(click.Path):
    """A file to write, at a place where that is possible."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        refuse_unwritable(path)
        return path


class PageFile(OutputFile):
    """A page to write. A file that is there must be one, since it is replaced: a slip would cost a manifest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        with open(path, "rb") if path.exists() else BytesIO() as held:
            start = held.read(64).lstrip().lower()
        if start and not start.startswith(b"<!doctype html"):
            raise InputError(f"{path}: is there and no page: expected a new name, or that of a page to replace")
        return path


OUTPUT = OutputFile()
PAGE = PageFile()
