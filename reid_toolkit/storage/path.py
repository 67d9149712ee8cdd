"""Paths of objects, which serve in place of paths of files."""

import errno
import io
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import total_ordering
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFREG
from typing import Any, NamedTuple, TypeGuard, cast
from urllib.parse import unquote

from reid_toolkit.errors import InputError
from reid_toolkit.records import without_password
from reid_toolkit.storage.store import PACKAGES, WEB, file_system, protocol_of, told

BLOCK = 1 << 20
"""Bytes that are read ahead from an object that is opened as a file."""


class About(NamedTuple):
    """What is known of an object, under the names that files have in :class:`os.stat_result`."""

    st_size: int
    st_mode: int
    st_mtime_ns: int


def path_of(text: str) -> Path:
    """A path on this machine, or the :class:`StoredPath` of an address, which serves as a path.

    A web address that ends with a slash is a folder.

    Raises :class:`InputError` if it is empty, names no bucket, or holds a password or a query, and
    :class:`MissingDependencyError` if a package for it is not installed.
    """
    if not text:  # Path("") is the working folder
        raise InputError("'': expected a path or an address")
    protocol = protocol_of(text)
    if protocol not in PACKAGES:
        return Path(text)
    key = text.partition("://")[2].strip("/")
    if not key:
        raise InputError(f"{text}: names no bucket: expected an address such as {protocol}://bucket/people")
    if protocol in WEB and not is_plain(text):
        raise InputError(
            f"{without_password(text)}: a web address with a password or a query: expected the plain address of a "
            "file, or of a folder that ends with a slash"
        )
    file_system(protocol)
    folder = {"name": text, "type": "directory"} if protocol in WEB and text.endswith("/") else None
    return cast(Path, StoredPath(protocol, PurePosixPath(key), folder))


def is_plain(address: str) -> bool:
    """Whether a web address has neither a password nor a query. Addresses are shown and stored, so they must be."""
    return not any(sign in address for sign in "?#") and "@" not in address.split("/")[2]


def is_stored(path: object) -> "TypeGuard[StoredPath]":
    """Whether ``path`` is in object storage."""
    return isinstance(path, StoredPath)


@total_ordering
class StoredPath:
    """An object, or a folder: all objects whose names begin with its name and a slash."""

    __slots__ = ("info", "key", "protocol")

    def __init__(self, protocol: str, key: PurePosixPath, info: dict[str, Any] | None = None) -> None:
        self.protocol, self.key = protocol, key
        self.info = info
        """What a listing said about it. None if it was not listed."""

    # What needs no store.

    def __str__(self) -> str:
        return f"{self.protocol}://{self.key}"

    def __repr__(self) -> str:
        return f"StoredPath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredPath, (self.protocol, self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredPath) and (self.protocol, self.key) == (other.protocol, other.key)

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(self.key)

    def __truediv__(self, name: str | PurePosixPath) -> "StoredPath":
        key = self.key / name
        return StoredPath(self.protocol, PurePosixPath(posixpath.normpath(key)) if ".." in key.parts else key)

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.key.stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return self.key.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the address."""
        return (f"{self.protocol}://", *self.key.parts)

    @property
    def parent(self) -> "StoredPath":
        """The folder that it is in. A bucket is its own parent."""
        return StoredPath(self.protocol, self.key.parent) if len(self.key.parts) > 1 else self

    def with_name(self, name: str) -> "StoredPath":
        """The object of this name in the same folder."""
        return StoredPath(self.protocol, self.key.with_name(name))

    def resolve(self) -> "StoredPath":
        """The same without ".."."""
        return StoredPath(self.protocol, PurePosixPath(posixpath.normpath(self.key)), self.info)

    def is_relative_to(self, other: object) -> bool:
        """Whether it is ``other``, or lies in that folder."""
        return isinstance(other, StoredPath) and self.protocol == other.protocol and self.key.is_relative_to(other.key)

    def relative_to(self, other: "StoredPath") -> PurePosixPath:
        """The path from ``other``, a folder that it lies in."""
        return self.key.relative_to(other.key)

    # What asks the store.

    @property
    def fs(self) -> Any:
        """fsspec's file system for it."""
        return file_system(self.protocol)

    def about(self) -> dict[str, Any] | None:
        """What the listing that it comes from said, or what the store says now. None if it is not there."""
        if self.info is None:
            try:
                with told(self):
                    return cast("dict[str, Any]", self.fs.info(str(self)))
            except FileNotFoundError:
                return None
        return self.info

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        return self.about() is not None

    def is_file(self) -> bool:
        """Whether it is an object."""
        return (self.about() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return (self.about() or {}).get("type") == "directory"

    def is_symlink(self) -> bool:
        """No: stores have no links."""
        return False

    def stat(self) -> About:
        """What is known of it. Raises FileNotFoundError if it is not there."""
        about = self.about()
        if about is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self))
        mode = S_IFDIR if about["type"] == "directory" else S_IFREG
        return About(about.get("size") or 0, mode, round(1e9 * changed(about)))

    def iterdir(self) -> Iterator["StoredPath"]:
        """Yield what is directly in this folder."""
        with told(self):
            entries = self.fs.ls(str(self), detail=True)
        yield from self.listed(entries)

    def rglob(self, pattern: str) -> Iterator["StoredPath"]:
        """Yield all objects below this folder whose names fit. Unlike pathlib, it yields no folders."""
        with told(self):
            entries = self.fs.find(str(self), detail=True).values()
        objects = (entry for entry in entries if entry["type"] == "file")
        yield from (path for path in self.listed(objects) if fnmatchcase(path.name, pattern))

    def names_below(self) -> set[str]:
        """The names of all objects in this folder, relative to it."""
        with told(self):
            names = self.fs.find(str(self))
        base = self.fs._strip_protocol(str(self)).rstrip("/")
        return {self.written(self.fs._strip_protocol(name)[len(base) :].strip("/")) for name in names}

    def glob(self, pattern: str) -> Iterator["StoredPath"]:
        """Yield what fits ``pattern``. If the pattern has a slash, only objects are found, no folders."""
        wanted = pattern.split("/")
        try:
            for path in self.iterdir() if len(wanted) == 1 else self.rglob("*"):
                parts = path.relative_to(self).parts
                if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                    yield path
        except FileNotFoundError:  # no object has such a name yet
            return

    def listed(self, entries: Iterable[dict[str, Any]]) -> Iterator["StoredPath"]:
        """The entries of a listing as paths. Empty objects that stand for folders are left out."""
        base = self.fs._strip_protocol(str(self)).rstrip("/")
        for entry in entries:
            name = self.written(self.fs._strip_protocol(entry["name"])[len(base) :].strip("/"))
            if name and not (entry["type"] == "file" and entry["name"].endswith("/")):
                yield StoredPath(self.protocol, self.key / name, entry)

    def written(self, listed: str) -> str:
        """A name as people write it. The listings of web servers have "S%C3%BCd" for "Süd". A name that would mean
        something else in an address stays as it is listed."""
        plain = unquote(listed) if self.protocol in WEB else listed
        return listed if set("%#?") & set(plain) else plain

    def open(self, mode: str = "rb", encoding: str | None = None) -> Any:
        """Open the object for reading. Parts of it are read as they are needed."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: expected 'rb'")
        with told(self):
            return io.BufferedReader(StoredFile(self, self.fs.open(str(self), "rb", block_size=BLOCK)))

    def read_bytes(self) -> bytes:
        """The content of the object."""
        with told(self):
            return bytes(self.fs.cat_file(str(self)))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content of the object as text."""
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, content: bytes) -> None:
        """Write the whole object. Readers see the old content or the new."""
        refuse_web(self)
        with told(self):
            self.fs.pipe_file(str(self), content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        try:
            with told(self):
                self.fs.rm_file(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there if objects are in it."""


class StoredFile(io.RawIOBase):
    """An object that is open for reading, with the errors of this module."""

    def __init__(self, path: StoredPath, handle: Any) -> None:
        self.path, self.handle = path, handle
        self.name = str(path)
        """FFmpeg looks at the suffix, too, to find out the format."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Whether reading can begin anywhere."""
        return bool(self.handle.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset."""
        with told(self.path):
            return int(self.handle.seek(offset, whence))

    def tell(self) -> int:
        """The offset at which reading goes on."""
        return int(self.handle.tell())

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        with told(self.path):
            content = self.handle.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Let go of the object."""
        self.handle.close()
        super().close()


def changed(about: dict[str, Any]) -> float:
    """When an object was written, in Unix seconds. 0 if the store does not say."""
    for name in ("LastModified", "last_modified", "mtime", "updated"):
        moment = about.get(name)
        if isinstance(moment, str):
            try:
                moment = datetime.fromisoformat(moment)
            except ValueError:
                continue
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return 0.0


def version_of(path: Path) -> str:
    """What changes when the content of a file or an object changes: its time, or the tag that the store gives it."""
    if not is_stored(path):
        return str(path.stat().st_mtime_ns)
    about = path.about() or {}
    return str(about.get("ETag") or about.get("etag") or path.stat().st_mtime_ns)


def looked_at_again(paths: Sequence[Path]) -> list[Path]:
    """The same paths, of which nothing is remembered. Of objects, the folders are listed anew, not each object."""
    if not paths or not is_stored(paths[0]):
        return list(paths)
    if len(paths) == 1:
        return [cast(Path, StoredPath(path.protocol, path.key)) for path in paths if is_stored(path)]
    there = {one: one for folder in {path.parent for path in paths} for one in folder.iterdir()}
    return [there.get(path, path.parent / path.name) for path in paths]


def refuse_web(path: StoredPath) -> None:
    """Raise :class:`InputError` for a web address, which cannot be written."""
    if path.protocol in WEB:
        raise InputError(f"{path}: a web address can only be read: expected a folder, or an address such as s3://")
