"""Opens what the user named: videos, folders of videos or of frames, playlists, streams, webcams."""

import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from reid_toolkit import storage
from reid_toolkit.errors import ImageError, MissingDependencyError, StorageError, VideoError
from reid_toolkit.files import as_name, natural_order
from reid_toolkit.footage.decoding import DEFAULT_FRAME_RATE, Decoder, address_of
from reid_toolkit.footage.frames import Recording, at_hand, stamp_of
from reid_toolkit.images import IMAGE_SUFFIXES, read_image
from reid_toolkit.records import without_password
from reid_toolkit.storage.path import is_plain, is_stored
from reid_toolkit.storage.store import in_object_storage, is_address

URIS = re.compile(r'URI="([^"]+)"')
PLAYLISTS = frozenset({".m3u8"})
VIDEO_SUFFIXES = PLAYLISTS | {
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avc", ".avi", ".av1", ".dav", ".divx", ".dv", ".f4v", ".flv", ".h264",
    ".h265", ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".ps", ".qt", ".rm", ".rmvb", ".tod", ".ts",
    ".vob", ".webm", ".wmv", ".wtv", ".y4m",
}  # fmt: skip
"""Suffixes of files that FFmpeg can read. Other files of a folder are skipped and counted."""

STREAMED = PLAYLISTS | {".mjpeg", ".mjpg"}
"""Suffixes of addresses at which web servers have streams."""
OPENED_AT_ONCE = 8
"""Videos in object storage that are opened at the same time."""

WEBCAMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("vfwcap", "{}")}
"""FFmpeg's device and its name for webcam number N, by platform."""


@dataclass
class Sources:
    """The recordings behind the user's arguments."""

    recordings: list[Recording] = field(default_factory=list)
    """In the order named; within a folder, in natural order."""
    bad: list[str] = field(default_factory=list)
    """What cannot be read, one sentence each."""
    away: list[Recording] = field(default_factory=list)
    """Streams and webcams that do not answer now, so ``bad`` has them too. Their frame rate is a guess, which
    sets how fast the detector ``motion`` learns; tracking goes by the times of frames."""
    passed_over: list[str] = field(default_factory=list)
    """Other contents of folders, one phrase per folder."""


def open_recordings(sources: Sequence[str], folder_frame_rate: float) -> list[Recording]:
    """Open the named sources, in this order. Raises :class:`VideoError` for the first that gives no frame.

    ``folder_frame_rate`` is the frame rate of folders of frames, which do not hold it.
    """
    opened = find_sources(sources, folder_frame_rate)
    if opened.bad:
        raise VideoError(opened.bad[0])
    return opened.recordings


def find_sources(sources: Sequence[str], folder_frame_rate: float) -> Sources:
    """Open the named sources. Unlike :func:`open_recordings`, it lists what cannot be read and opens the rest."""
    opened = Sources()
    for source in sources:
        with noting(opened, source):
            open_source(source, folder_frame_rate, opened)
    return opened


@contextmanager
def noting(found: Sources, name: object) -> Iterator[None]:
    """Note an error of one source, so that the others are still opened."""
    try:
        yield
    except VideoError as error:
        found.bad.append(str(error))
    except StorageError as error:
        found.bad.append(str(error))
    except OSError as error:  # no permission to read it, or the disk is gone
        found.bad.append(f"{error.filename or name}: cannot be read: {error.strerror}")


def open_source(source: str, folder_frame_rate: float, found: Sources) -> None:
    if source.isdecimal() and not Path(source).exists():
        open_webcam(int(source), found)
        return
    if source.lower().startswith("file://"):
        source = path_of(source)
    if source.lower().startswith("frigate://"):
        raise VideoError(f"{without_password(source)}: Frigate's events are read by `reid frigate`, not as a recording")
    path = object_at(source) if "://" in source else Path(source)
    if path is None:
        open_stream(source, found)
        return
    if not source or not path.exists():
        shown = re.sub(r"^(\w+:/+)[^@]*@", r"\1", source)  # an address that lacks a slash may hold a password too
        raise VideoError(
            f"{shown or repr(source)}: no such file or folder: expected a video, a folder of videos or frames"
        )
    if stat.S_ISCHR(path.stat().st_mode):
        open_device(WEBCAMS.get(sys.platform, ("v4l2", ""))[0], str(path), path.name, found)
    elif path.is_dir():
        open_folder(path, folder_frame_rate, found)
    else:
        found.recordings.append(open_video(path))


def object_at(address: str) -> Path | None:
    """Return the recording, or the folder, that an address names in object storage or on a web server.

    None for a stream. On a web server, a recording is what has a video's suffix and a size, because cameras send
    streams over HTTP too.
    """
    if in_object_storage(address):
        return storage.path_of(address)
    suffix = Path(address).suffix.lower()
    if not is_address(address) or not is_plain(address) or suffix not in VIDEO_SUFFIXES - STREAMED:
        return None
    try:
        path = storage.path_of(address)
        return path if path.exists() and path.stat().st_size else None
    except (StorageError, MissingDependencyError):  # FFmpeg plays it as a stream, or says what is wrong
        return None


def path_of(address: str) -> str:
    """Return the path in a file:// address of this machine."""
    rest = address[len("file://") :]
    rest = rest.removeprefix("localhost")
    if not rest.startswith("/"):
        raise VideoError(f"{address}: expected file:/// and an absolute path of a file on this machine")
    return unquote(rest, errors="surrogateescape")


def open_folder(folder: Path, frame_rate: float, found: Sources) -> None:
    """Open a folder. Each video in it is a recording; a folder of frames is one recording."""
    videos = files_of(folder, VIDEO_SUFFIXES)
    segments = {part.resolve() for video in videos for part in segments_of(video)}
    videos = [video for video in videos if video.resolve() not in segments]
    pictures = files_of(folder, IMAGE_SUFFIXES)
    if videos and pictures:
        raise VideoError(
            f"{folder}: has {len(videos)} videos and {len(pictures)} pictures: expected a folder of videos or one of "
            "frames, not both; name the videos one by one"
        )
    left = others_of(folder, VIDEO_SUFFIXES | IMAGE_SUFFIXES)
    if not videos and not pictures:
        raise VideoError(
            f"{folder}: has no video and no picture{f', only {left}' if left else ''}: expected a folder of videos or "
            "of frames"
        )
    if left:
        found.passed_over.append(f"{folder}: {left}")
    if pictures:
        found.recordings.append(frames_of(folder, pictures, frame_rate))
    for video, opened in zip(videos, open_each(videos), strict=True):
        with noting(found, video):
            if isinstance(opened, Exception):
                raise opened
            found.recordings.append(opened)


def open_each(videos: list[Path]) -> Iterator[Recording | Exception]:
    """Open videos, several at a time if they are in object storage. Yields a recording for each, or its error."""
    if not videos or not is_stored(videos[0]):
        return map(tried, videos)
    from reid_toolkit.storage.transfer import at_once

    return at_once(tried, videos, OPENED_AT_ONCE)


def tried(video: Path) -> Recording | Exception:
    try:
        return open_video(video)
    except (VideoError, StorageError, OSError) as error:
        return error


def files_of(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the files directly in the folder that have these suffixes, frame2 before frame10."""
    paths = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    return sorted((path for path in paths if not path.is_dir()), key=natural_order)


def others_of(folder: Path, suffixes: frozenset[str]) -> str:
    """Describe the other contents of a folder in words, without hidden files."""
    kinds: Counter[str] = Counter()
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            kinds["folders"] += 1
        elif path.suffix.lower() not in suffixes:
            kinds[f"files *{path.suffix.lower()}" if path.suffix else "files without a suffix"] += 1
    words = (f"{count} {kind if count > 1 else kind.replace('s', '', 1)}" for kind, count in sorted(kinds.items()))
    return ", ".join(words)


def open_video(path: Path) -> Recording:
    """Open a video file once to check it. Raises :class:`VideoError` if no frame of it can be decoded."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: a picture, expected a video: give the folder of frames it lies in")
    if not stat.S_ISREG(path.stat().st_mode):
        raise VideoError(f"{path}: not a regular file: expected a video")
    files = playlist(path) if is_playlist(path) else (path,)
    stamp, size = stamp_of(files), path.stat().st_size
    try:
        with opened(path, files) as decoder:
            if next(decoder.pictures(), None) is None:
                raise VideoError("no frame of it can be decoded")
            rate, count = decoder.frame_rate, decoder.frame_count
    except VideoError as error:
        raise VideoError(
            f"{path}: not a readable video: {error}, got {size} bytes: expected a whole file, not a truncated one or "
            "one that is still being written"
        ) from None
    name, address = name_of(path.stem), "" if is_stored(path) else address_of(path)
    missing = sum(not part.is_file() for file in files if is_playlist(file) for part in parts_of(file))
    return Recording(str(path.resolve()), name, rate, count, "file", address, None, files, stamp, missing)


@contextmanager
def opened(path: Path, files: tuple[Path, ...]) -> Iterator[Decoder]:
    """Open a video for decoding. In object storage only the beginning of it is read, except of a playlist."""
    if is_playlist(path):
        named = Recording(str(path), path.stem, 1.0, None, "file", address_of(path), files=files)
        with at_hand(named) as copy, Decoder(copy.address) as decoder:
            yield decoder
    elif is_stored(path):
        with path.open("rb") as handle, Decoder(handle) as decoder:
            yield decoder
    else:
        with Decoder(address_of(path)) as decoder:
            yield decoder


def name_of(text: str) -> str:
    """Turn a file's or folder's name into the name of a camera or recording, without control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "_", as_name(text)).strip() or "recording"


def segments_of(video: Path) -> tuple[Path, ...]:
    """Return the files that a playlist names, also one that is still being written; nothing for other files and for
    unreadable playlists."""
    if not is_playlist(video):
        return ()
    try:
        return listed(video)[1:]
    except (OSError, VideoError):
        return ()


def playlist(path: Path) -> tuple[Path, ...]:
    """Return an HLS playlist and the files on disk that it names, as :func:`listed` does.

    Raises :class:`VideoError` also if one of the playlists has no end mark, because FFmpeg would wait for it.
    """
    files = listed(path)
    for file in filter(is_playlist, files):
        text = text_of(file)
        if "#EXTINF" in text and "#EXT-X-ENDLIST" not in text:
            raise VideoError(
                f"{file}: has no #EXT-X-ENDLIST, so it is still being written: expected a whole playlist; if its "
                "recorder was killed, add that line at its end"
            )
    return files


def listed(path: Path, within: frozenset[Path] = frozenset()) -> tuple[Path, ...]:
    """Return an HLS playlist and the files on disk that it names, including those of nested playlists.

    ``within`` are the playlists that led to this one. Raises :class:`VideoError` if a playlist names itself, directly
    or through another.
    """
    within = within | {path.resolve()}
    files = {path: None}
    for part in parts_of(path):
        if not part.is_file():
            continue
        if not is_playlist(part):
            files[part] = None
        elif part.resolve() in within:
            raise VideoError(f"{path}: the playlist names itself: expected a playlist of segments")
        else:
            files |= dict.fromkeys(listed(part, within))
    return tuple(files)


def is_playlist(path: Path) -> bool:
    return path.suffix.lower() in PLAYLISTS


def text_of(path: Path) -> str:
    """Return the text of a playlist."""
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape")


def parts_of(path: Path) -> list[Path]:
    """Return the paths that a playlist names, whether they exist or not, without web addresses."""
    lines = text_of(path).splitlines()
    found = [[line.strip()] if not line.startswith("#") else URIS.findall(line) for line in lines]
    return [path.parent / name for names in found for name in names if name and "://" not in name]


def frames_of(folder: Path, pictures: list[Path], frame_rate: float) -> Recording:
    """Open a folder of frames as one recording. At least one of the pictures must be readable. Links to nowhere are
    counted as missing."""
    reasons: list[str] = []
    files = tuple(picture for picture in pictures if picture.is_file())
    for picture in files or pictures:
        try:
            read_image(picture)
            break
        except ImageError as error:
            reasons.append(str(error))
    else:
        raise VideoError(f"{folder}: none of its {len(pictures)} pictures can be read; the first: {reasons[0]}")
    whole, missing = folder.resolve(), len(pictures) - len(files)
    return Recording(
        str(whole), name_of(whole.name), frame_rate, len(files), "folder", "", None, files, stamp_of(files), missing
    )


def open_stream(url: str, found: Sources) -> None:
    """Open a stream of the network."""
    shown = without_password(url)
    host = shown.partition("://")[2].partition("/")[0] or Path(shown).stem
    error = "no stream there ({}): expected an address that ffplay can play, with its password"
    open_live(Recording(shown, host, DEFAULT_FRAME_RATE, None, "stream", url), error, found)


def open_webcam(number: int, found: Sources) -> None:
    """Open webcam ``number`` of this machine, counted from 0."""
    if sys.platform not in WEBCAMS:
        raise VideoError(f"{number}: no webcams on {sys.platform}: expected a video, a folder, or the URL of a stream")
    form, name = WEBCAMS[sys.platform]
    open_device(form, name.format(number), f"webcam-{number}", found)


def open_device(form: str, address: str, name: str, found: Sources) -> None:
    """Open a camera of this machine."""
    error = "no camera there ({}): expected one that this machine can read"
    open_live(Recording(address, name, DEFAULT_FRAME_RATE, None, "stream", address, form), error, found)


def open_live(stream: Recording, error: str, found: Sources) -> None:
    """Check that a stream answers. Its frame rate is read from it if it declares one.

    ``error`` is what is said if it does not, with {} for FFmpeg's reason.
    """
    try:
        with Decoder(stream.address, form=stream.form, live=True) as decoder:
            found.recordings.append(replace(stream, frame_rate=decoder.frame_rate))
    except VideoError as why:
        found.bad.append(f"{stream.source}: {error.format(why)}")
        found.away.append(stream)
