"""Files that commands write. They are refused before any work if they cannot be written, or hold something else."""

import re
from pathlib import Path
from typing import Any

import click

from reid_toolkit.cli.paths import FileOrFolder
from reid_toolkit.errors import InputError

HEAD = 4096
"""So many bytes tell what a file is."""


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
