"""The cache folder, and the downloaded models in it.

    CACHE/models/
      NAME/FILE...     the publisher's files, verified; FILE.part is an incomplete download
      NAME.onnx        an adopted embedder, which commands use

``runtime.trial`` keeps which provider is faster in CACHE/providers.

A mirror has the same layout as CACHE/models, so a web server that serves this folder is a mirror.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reid_toolkit.catalogue.entries import Entry, Kind, near, read_catalogue
from reid_toolkit.errors import InputError

FOLDER = "REID_CACHE"
"""The environment variable that names another cache folder."""


def cache_folder() -> Path:
    """``$REID_CACHE``, or the platform's cache folder, as an absolute path."""
    if named := os.environ.get(FOLDER):
        return Path(named).absolute()
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "reid"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "reid"
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (given if given.is_absolute() else Path.home() / ".cache") / "reid"
    except RuntimeError:
        raise InputError(f"there is no home folder for downloaded models: set {FOLDER} to a folder") from None


def folder_of(entry: Entry) -> Path:
    """The folder of the publisher's files of a model."""
    return cache_folder() / "models" / entry.name


def model_file(entry: Entry) -> Path:
    """The file that commands use for a model, whether it exists or not."""
    folder = folder_of(entry)
    return folder.with_name(f"{entry.name}.onnx") if entry.kind == "embedder" else folder / entry.files[0].name


def is_here(entry: Entry) -> bool:
    """Whether the model is downloaded. A file gets its name only after it was verified."""
    if entry.kind == "embedder":
        return model_file(entry).is_file()
    return all((folder_of(entry) / file.name).is_file() for file in entry.files)


def named_model(name: str, kind: Kind) -> Path | None:
    """The file of the catalogue's model ``name``. None if ``name`` is not similar to any name in the catalogue.

    Raises:
        InputError: the model is not downloaded, is of the other kind, or ``name`` is similar to the name of a model.
    """
    if not name or Path(name).name != name:
        return None
    entries = {entry.name: entry for entry in read_catalogue()}
    entry = entries.get(name)
    if entry is None:
        close = near(name, [one.name for one in entries.values() if one.kind == kind])
        if close:
            raise InputError(f"{name}: no such file, and no model of `reid models`{close}")
        return None
    if entry.kind != kind:
        a, b = ("a detector", "an embedder") if kind == "embedder" else ("an embedder", "a detector")
        raise InputError(f"{name}: is {a}, expected {b}: `reid models` lists them")
    if not is_here(entry):
        size = f"{entry.bytes / 1e6:.1f} MB"
        raise InputError(f"{name}: is not on this machine yet: download it with `reid models get {name}` ({size})")
    return model_file(entry)


def person_label_of(detector: str) -> int | None:
    """The person label that the catalogue has for a detector file. None if the file is not of the catalogue, or names
    its classes itself."""
    labelled = [entry for entry in read_catalogue() if entry.person_label is not None]
    return next((entry.person_label for entry in labelled if str(model_file(entry)) == detector), None)


@contextmanager
def alone(entry: Entry, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Yield the folder of a model, locked against other processes of this machine. It is created if needed.

    ``on_wait`` is called before waiting for another process. Raises :class:`InputError` if the folder cannot be
    written.
    """
    folder = folder_of(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_be_written(folder, error) from None
    try:
        if sys.platform != "win32":  # on Windows, two processes at once only download twice
            import fcntl

            with suppress(OSError):  # some network file systems have no locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    on_wait()
                    fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)


def cannot_be_written(path: Path, error: OSError) -> InputError:
    """The error for a folder that cannot be written, with what to do."""
    return InputError(
        f"{path}: cannot be written ({error.strerror}): set {FOLDER} to a folder that you may write, with enough space"
    )
