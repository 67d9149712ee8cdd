"""Arguments and options that are paths on this machine."""

from pathlib import Path
from typing import Any

import click


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
