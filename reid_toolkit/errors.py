"""Every error this package raises on purpose.

    ReidError
    ├── InputError              an argument or array is not what it must be (also a ValueError)
    │   ├── VideoError          a recording cannot be opened, or ends early
    │   ├── ImageError          an image cannot be read
    │   ├── DatasetError        a dataset folder or its manifest breaks the data contract
    │   └── RecipeError         a recipe contradicts itself or names something unknown
    ├── ModelError              a model file is not ours, damaged, or of another shape
    ├── GalleryError            a gallery is damaged, locked, or of another model
    │   ├── AuditError          what must be written to the audit log could not be, so it was not done
    │   └── UnavailableError    a gallery is locked, full or away for now
    ├── RunError                a training run cannot start, resume or be read
    ├── DownloadError           a file did not come from the net, or came wrong
    └── MissingDependencyError  an optional package is not installed (also an ImportError)

A message says, in one line, what is wrong, where, what was expected, what was got, and what to do. The command
line prints it and exits with status 1.
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


class ReidError(Exception):
    """The root: catch this to catch everything the toolkit raises on purpose."""


class InputError(ReidError, ValueError):
    """An argument or array is not what it must be."""


class VideoError(InputError):
    """A recording cannot be opened, or ends early."""


class ImageError(InputError):
    """An image cannot be read."""


class DatasetError(InputError):
    """A dataset folder or its manifest breaks the data contract."""


class RecipeError(InputError):
    """A recipe contradicts itself or names something unknown."""


class ModelError(ReidError):
    """A model file is not ours, damaged, or of another shape."""


class GalleryError(ReidError):
    """A gallery is damaged, locked, or of another model."""


class AuditError(GalleryError):
    """What must be written to a gallery's audit log could not be, so it was not done."""


class UnavailableError(GalleryError):
    """A gallery is locked, full or away for now: the same may be done later."""


class RunError(ReidError):
    """A training run cannot start, resume or be read."""


class DownloadError(ReidError):
    """A file did not come from the net, or came wrong."""


class MissingDependencyError(ReidError, ImportError):
    """An optional package is not installed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'search'?)`` where one of the ``known`` names is near, for a message; else nothing."""
    near = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), near, n=1)
    return f" (did you mean {near[close[0]]!r}?)" if close else ""


def refuse_unknown(what: str, asked: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise :class:`InputError` for the first name that is ``asked`` for and not ``known``."""
    for name in asked:
        if name not in known:
            some = ", ".join(list(known)[:20]) or "none, as it has none"
            raise InputError(f"{where}: no {what} {name!r} in it{did_you_mean(name, known)}: expected one of {some}")


def first_line(error: BaseException) -> str:
    """Of what a library says, at most 200 characters; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
