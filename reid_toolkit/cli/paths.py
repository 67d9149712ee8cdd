"""Arguments and options that are paths. A file that cannot be written is refused before any work."""

import re
from pathlib import Path
from typing import Any

import click

from reid_toolkit.errors import InputError

HEAD = 4096
"""So many bytes tell what a file is."""


class AnyPath(click.Path):
    """A path. An empty one is refused: an unset shell variable gives it, and Path("") is the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        self.refuse_empty(value, param, ctx)
        return super().convert(value, param, ctx)

    def refuse_empty(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> None:
        if str(value) == "":
            self.fail("'': expected a path ('.' is the working folder)", param, ctx)


class FileOrFolder(AnyPath):
    """A file or a folder. A path of the other kind is refused in the style of our errors."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from reid_toolkit.storage.store import in_object_storage

        if in_object_storage(str(value)):
            self.fail(f"{value!r} is in object storage: expected a path on this machine (docs/scaling.md)", param, ctx)
        self.refuse_empty(value, param, ctx)
        path = Path(value)
        argument = param is not None and param.param_type_name == "argument"
        order = " (are the arguments in the right order?)" if argument else ""
        if not self.dir_okay and path.is_dir():
            self.fail(f"{str(value)!r} is a folder: expected a file{order}", param, ctx)
        if not self.file_okay and path.exists() and not path.is_dir():
            self.fail(f"{str(value)!r} is a file: expected a folder{order}", param, ctx)
        return super().convert(value, param, ctx)


class Place(FileOrFolder):
    """A file or a folder on this machine, or an address in object storage, such as s3://bucket/people."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from reid_toolkit.storage import is_address, path_of

        return path_of(str(value)) if is_address(str(value)) else super().convert(value, param, ctx)


PLACE = Place(path_type=Path)
FOLDER_PLACE = Place(path_type=Path, file_okay=False)


class OutputFile(FileOrFolder):
    """A file to write. If ``kind`` is given, an existing file is replaced only if it is of this kind, because a typing
    error must not destroy a manifest. Files of this kind begin as the pattern ``begins`` says."""

    def __init__(self, kind: str = "", begins: bytes = b"") -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self.kind, self.begins = kind, re.compile(begins, re.IGNORECASE)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        self.refuse(path)
        return path

    def refuse(self, path: Path) -> None:
        """Raise :class:`InputError` if ``path`` cannot be written, or holds something else. An empty file may be
        replaced."""
        refuse_unwritable(path)
        if not path.exists() or path.stat().st_size == 0:
            return
        with open(path, "rb") as held:
            if not self.begins.match(held.read(HEAD)):
                raise InputError(f"{path}: exists and is not {self.kind}: expected a new name, or one to replace")


OUTPUT = OutputFile()
PAGE = OutputFile("an HTML page", rb"\s*<!doctype html")
CALIBRATION_FILE = OutputFile("a calibration", rb'\s*\{\s*"format":\s*"reid-calibration-')
LEAST_TIMES = OutputFile("a file of least times", rb"(\xef\xbb\xbf)?from,to,seconds\s")


def refuse_unwritable(path: Path) -> None:
    """Raise :class:`InputError` if ``write_atomic`` could not write ``path``. It tries with a file that it removes."""
    from reid_toolkit.files import temporary_beside

    folder = path.parent
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: exists and is not a file: expected the name of a file to write")
        while not _is_there(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"{path}: cannot be written, because {folder} is not a folder: choose another path")
        trial = folder / temporary_beside(path).name
        try:
            trial.touch(exist_ok=False)
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error


def _is_there(folder: Path) -> bool:
    try:
        folder.lstat()  # raises OSError with the reason if a name is too long or a folder may not be entered
    except FileNotFoundError:
        return False
    return True
