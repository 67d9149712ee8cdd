"""Reads recordings frame by frame: video files, folders of pictures, network streams."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from reid_toolkit.errors import ImageError, StorageError, VideoError
from reid_toolkit.footage.clock import Clock
from reid_toolkit.footage.decoding import FAILURES, Decoder, ReadingError, address_of, ignore, reason
from reid_toolkit.footage.frame_times import timed
from reid_toolkit.images import Image, read_image
from reid_toolkit.storage.path import is_stored, looked_at_again, version_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a recording."""

    number: int
    """From 0."""
    time: float
    """Seconds from the start of the recording; Unix time in a stream. Strictly increasing, unless the clock was set
    during a stream."""
    image: Image
    """(H, W, 3) uint8, BGR."""


Frames = Generator[Frame, None, None]
"""Closing the generator closes the file or the connection."""


@dataclass(frozen=True)
class Recording:
    """A source that was opened once and gave frames, or a stream that is away and may come back."""

    source: str
    """Path, or URL without user and password."""
    name: str
    """The file's name without suffix, the folder's name, or the stream's host."""
    frame_rate: float
    """Frames per second."""
    frame_count: int | None
    """As the container declares it; None if it does not."""
    kind: Literal["file", "folder", "stream"]
    address: str = field(default="", repr=False)
    """The address that FFmpeg opens. A stream's address may hold its password, so it is never shown or stored."""
    form: str | None = None
    """FFmpeg's name of a device."""
    files: tuple[Path, ...] = ()
    """The files it consists of: one file, a playlist and its segments, or a folder's pictures in order."""
    stamp: str = ""
    """The :func:`stamp_of` its files when it was opened."""
    missing: int = 0
    """Segments that a playlist names but that do not exist, which FFmpeg skips without a message; pictures of a folder
    that are links to nowhere."""
    copied_from: tuple[Path, ...] = ()
    """The objects that ``files`` are copies of, if they lie in object storage."""

    @property
    def is_away(self) -> bool:
        """Whether its files are in object storage, not on this machine. :func:`at_hand` fetches them."""
        return bool(self.files) and is_stored(self.files[0])

    @property
    def has_changed(self) -> bool:
        """Whether its files are others than when it was opened."""
        return stamp_of(looked_at_again(self.copied_from or self.files)) != self.stamp

    @property
    def is_stream(self) -> bool:
        """Whether it is live: it can be read once, and its times come from the clock."""
        return self.kind == "stream"

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over all bytes, so that a renamed copy counts as the same recording. Empty for a stream, which
        never comes twice. The first call reads all files."""
        return "" if self.is_stream else digest_of(self.files)

    @cached_property
    def fingerprint_before(self) -> str:
        """The fingerprint that earlier versions wrote, needed to recognise what they stored: 16 hex digits over the
        size and the first and last MiB of a file, or over the names and sizes of a folder's pictures."""
        if self.kind == "folder":
            names = (f"{path.name}\0{path.stat().st_size}\n" for path in sorted(self.files))
            return hashlib.sha256("".join(names).encode(errors="surrogateescape")).hexdigest()[:16]
        size = self.files[0].stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with self.files[0].open("rb") as handle:
            digest.update(handle.read(1 << 20))
            handle.seek(max(0, size - (1 << 20)))
            digest.update(handle.read())
        return digest.hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """Size of all files, in bytes. The first call asks for it."""
        return sum(path.stat().st_size for path in self.files)

    def frames(self, on_damage: Callable[[], None] = ignore) -> Frames:
        """Read from beginning to end. ``on_damage`` is called for each piece that is missing or cannot be decoded.

        Raises :class:`ReadingError` if the disk or the network share of a file fails, and :class:`VideoError` if a
        stream does not answer. A stream that breaks later ends without an error.
        """
        if self.is_away:
            return read_away(self, on_damage)
        if self.kind == "stream":
            return (frame for frame in self.beats() if frame is not None)
        for _ in range(self.missing):
            on_damage()
        if self.kind == "folder":
            return read_folder(self.files, self.frame_rate, on_damage)
        return told(self.source, read_video(self.address, self.frame_rate, on_damage))

    def beats(self) -> Generator[Frame | None, None, None]:
        """Read a stream as :meth:`frames` does, with None whenever something else came than a frame, such as sound."""
        return told(self.source, read_stream(self.address, self.form))


@contextmanager
def at_hand(recording: Recording) -> Iterator[Recording]:
    """Yield the recording with its files on this machine. From object storage they are copied to temporary files, which
    are removed afterwards.

    Raises :class:`VideoError` if they cannot be copied.
    """
    if not recording.is_away:
        yield recording
        return
    from reid_toolkit.storage.temporary import temporary_folder
    from reid_toolkit.storage.transfer import download

    objects = [path for path in recording.files if is_stored(path)]
    top = os.path.commonpath([path.key.parent for path in objects])  # playlists name their segments relative to them
    with temporary_folder() as folder:
        files = tuple(folder / path.key.relative_to(top) for path in objects)
        try:
            download(list(zip(objects, files, strict=True)))
        except FileNotFoundError as error:
            raise VideoError(f"{error.filename}: gone since it was listed") from None
        except StorageError as error:
            raise VideoError(str(error)) from None
        address = address_of(files[0]) if recording.kind == "file" else ""
        yield replace(recording, files=files, address=address, copied_from=recording.files)


def stamp_of(files: Sequence[Path]) -> str:
    """Return 32 hex digits over names, sizes and times of files. While they stay equal, the bytes need no new
    reading."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0{version_of(path)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def digest_of(files: Sequence[Path], most: int | None = None) -> str:
    """Return 32 hex digits over the bytes of files, or over only the first ``most`` bytes.

    Raises :class:`ReadingError` if the disk or the network share fails.
    """
    digest, left = hashlib.sha256(), most
    for path in files:
        try:
            with path.open("rb") as handle:
                while part := handle.read(1 << 20 if left is None else min(1 << 20, left)):
                    digest.update(part)
                    left = None if left is None else left - len(part)
        except OSError as error:
            if error.errno in FAILURES:
                raise ReadingError(f"{path}: reading failed: {reason(error)}") from None
            raise
    return digest.hexdigest()[:32]


def read_video(address: str, frame_rate: float, on_damage: Callable[[], None] = ignore) -> Frames:
    """Yield the frames of a video file. Times are the container's, made strictly increasing (see :func:`timed`)."""
    with Decoder(address) as decoder:
        for number, (seconds, image) in enumerate(timed(decoder.pictures(on_damage), frame_rate)):
            yield Frame(number, seconds, image)


def told(source: str, frames: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same frames. An error says of which recording it is."""
    try:
        yield from frames
    except VideoError as error:
        raise type(error)(f"{source}: {error}") from None


def read_away(recording: Recording, on_damage: Callable[[], None]) -> Frames:
    """Yield the frames of a recording in object storage, from a copy."""
    with at_hand(recording) as copy:
        yield from copy.frames(on_damage)


def read_folder(pictures: Sequence[Path], frame_rate: float, on_damage: Callable[[], None] = ignore) -> Frames:
    """Yield each picture as a frame. Unreadable pictures are skipped; the others keep their numbers and times."""
    for number, path in enumerate(pictures):
        try:
            image = read_image(path)
        except ImageError:
            on_damage()
            continue
        yield Frame(number, number / frame_rate, image)


def read_stream(address: str, form: str | None = None) -> Generator[Frame | None, None, None]:
    """Yield the frames of a live stream, and None as :meth:`Decoder.beats` does. Times come from this machine's clock,
    because a camera's clock is rarely right."""
    with Decoder(address, form=form, live=True) as decoder:
        clock, number = Clock(), 0
        for image in decoder.beats():
            if image is None:
                yield None
            else:
                yield Frame(number, clock.now(), image)
                number += 1
