"""Options and arguments that take a folder on this machine or an address in object storage."""

from pathlib import Path
from typing import Any

import click

from reid_toolkit.cli.paths import FileOrFolder


class Place(FileOrFolder):
    """A file or a folder on this machine, or an address in object storage, such as s3://bucket/people."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from reid_toolkit.storage import is_address, path_of

        return path_of(str(value)) if is_address(str(value)) else super().convert(value, param, ctx)


PLACE = Place(path_type=Path)
FOLDER_PLACE = Place(path_type=Path, file_okay=False)
