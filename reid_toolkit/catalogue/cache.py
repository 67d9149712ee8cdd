"""Where downloaded models lie.

    CACHE/models/
      NAME/FILE...     the files as their publisher offers them, verified; FILE.part is one that is not all there yet
      NAME.onnx        an embedder, adopted: what commands take

A mirror is laid out as CACHE/models, so that a web server that shows this folder is one.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reid_toolkit.catalogue.entries import Entry, Kind, near, read_catalogue
from reid_toolkit.errors import InputError

FOLDER = "REID_CACHE"
"""The environment's variable that names another cache folder."""


def cache_folder() -> Path:
    """``$REID_CACHE``, or the platform's folder for what can be had again; an absolute path."""
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
        raise InputError(f"there is no home folder to keep models in: set {FOLDER} to a folder") from None


def folder_of(entry: Entry) -> Path:
    """Where its files lie, as they are."""
    return cache_folder() / "models" / entry.name


def model_file(entry: Entry) -> Path:
    """What commands take for it, whether it is there or not."""
    folder = folder_of(entry)
    return folder.with_name(f"{entry.name}.onnx") if entry.kind == "embedder" else folder / entry.files[0].name


def is_here(entry: Entry) -> bool:
    """Whether commands can take it. Files have their names only once they are verified."""
    if entry.kind == "embedder":
        return model_file(entry).is_file()
    return all((folder_of(entry) / file.name).is_file() for file in entry.files)


def named_model(name: str, kind: Kind) -> Path | None:
    """The file of a model of the catalogue; None where ``name`` is nothing like the name of one.

    Raises:
        InputError: it has not been downloaded, is of the other kind, or the name is nearly that of one.
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
        raise InputError(f"{name}: is {a}: expected {b}; `reid models` lists them")
    if not is_here(entry):
        size = f"{entry.bytes / 1e6:.1f} MB"
        raise InputError(f"{name}: is not on this machine yet: `reid models get {name}` downloads it ({size})")
    return model_file(entry)


def person_label_of(detector: str) -> int | None:
    """The label that people have in a detector's file, where that is of the catalogue and does not say it."""
    labelled = [entry for entry in read_catalogue() if entry.person_label is not None]
    return next((entry.person_label for entry in labelled if str(model_file(entry)) == detector), None)


@contextmanager
def alone(entry: Entry, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Its folder, made where there is none, while no other process of this machine changes it.

    Raises :class:`InputError` where it cannot be written. ``on_wait`` is called when another has it, before waiting.
    """
    folder = folder_of(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_be_written(folder, error) from None
    try:
        if sys.platform != "win32":  # there two at once cost a second download, and no more
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
    """In our words, with what to do."""
    return InputError(
        f"{path}: cannot be written ({error.strerror}): set {FOLDER} to a folder with room that you may write"
    )
