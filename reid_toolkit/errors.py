"""All errors that this package raises on purpose.

    ReidError
    ├── InputError              an argument or array is wrong (also a ValueError)
    │   ├── VideoError          a recording cannot be opened, or ends early
    │   ├── ImageError          an image cannot be read
    │   ├── DatasetError        a dataset folder or its manifest breaks the data contract
    │   └── RecipeError         a recipe contradicts itself or names something unknown
    ├── ModelError              a model file was not made by reid, is damaged, or has another shape
    ├── GalleryError            a gallery is damaged, locked, or of another model
    │   ├── AuditError          the audit log could not be written, so the action was not done
    │   └── UnavailableError    a gallery is locked, full or unreachable for now
    ├── RunError                a training run cannot start, resume or be read
    ├── DownloadError           a file could not be downloaded, or is not the expected file
    ├── StorageError            object storage refuses, or does not answer
    └── MissingDependencyError  an optional package is not installed (also an ImportError)

A message is one line: what is wrong, where, what was expected, what was found, and what to do. The command line prints
it and exits with status 1.
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class ReidError(Exception):
    """The base of all errors. Catch it to catch every error that the toolkit raises on purpose."""


class InputError(ReidError, ValueError):
    """An argument or array is wrong."""


class VideoError(InputError):
    """A recording cannot be opened, or ends early."""


class ImageError(InputError):
    """An image cannot be read."""


class DatasetError(InputError):
    """A dataset folder or its manifest breaks the data contract."""


class RecipeError(InputError):
    """A recipe contradicts itself or names something unknown."""


class ModelError(ReidError):
    """A model file was not made by reid, is damaged, or has another shape."""


class GalleryError(ReidError):
    """A gallery is damaged, locked, or of another model."""


class AuditError(GalleryError):
    """A gallery's audit log could not be written, so the action was not done."""


class UnavailableError(GalleryError):
    """A gallery is locked, full or unreachable for now. The same call may succeed later."""


class RunError(ReidError):
    """A training run cannot start, resume or be read."""


class DownloadError(ReidError):
    """A file could not be downloaded, or is not the expected file."""


class StorageError(ReidError):
    """Object storage refuses a request, or does not answer."""


class MissingDependencyError(ReidError, ImportError):
    """An optional package is not installed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a message, such as `` (did you mean 'search'?)``. Empty if no ``known`` name is similar."""
    near = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), near, n=1)
    return f" (did you mean {near[close[0]]!r}?)" if close else ""


def refuse_unknown(what: str, asked: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise :class:`InputError` for the first name in ``asked`` that is not in ``known``."""
    for name in asked:
        if name not in known:
            some = ", ".join(list(known)[:20]) or "none, because it has none"
            raise InputError(f"{where}: no {what} {name!r} in it{did_you_mean(name, known)}: expected one of {some}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters. The error's class if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
