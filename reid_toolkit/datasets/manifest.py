"""Our own dataset layout: a folder with ``manifest.csv`` and the crops it names (the data contract, docs/data.md)."""

import csv
import errno
import io
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import as_name, csv_text, write_atomic
from reid_toolkit.records import Crop
from reid_toolkit.storage.path import is_stored

NAME = "manifest.csv"
COLUMNS = (
    "path", "camera", "tracklet", "frame", "time", "x", "y", "width", "height", "score", "identity",
)  # fmt: skip
RECORDING = "recording"
"""An optional last column."""
WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
YEAR_10000 = 253_402_300_800
"""Unix time in seconds at which Python's calendar ends, and so every page that shows a time."""


def read_manifest(root: Path) -> Dataset:
    """Read ``root/manifest.csv``. Each crop must be named once and must exist inside ``root``.

    Raises :class:`DatasetError` otherwise, with the row's number (the header is row 1).
    """
    folder = root.resolve()
    crops = read_rows(root / NAME, folder)
    if not crops:
        raise DatasetError(f"{root / NAME}: no crops: expected at least one row")
    return Dataset(folder, "manifest", group_tracklets(crops))


def read_rows(
    path: Path, folder: Path, there: Collection[str] | None = None, content: bytes | None = None
) -> list[Crop]:
    """Read the rows of a manifest, whose crops must exist inside ``folder``. See :func:`read_manifest`.

    ``there`` are the files in the folder, and ``content`` is the content of the manifest, if they are known.
    """
    if there is None and is_stored(folder):
        there = folder.names_below()  # a listing says of 1,000 objects at once that they are there
    rows = read_table(path, COLUMNS, (RECORDING,), content)
    crops = [parse_row(folder, row, origin, there) for origin, row in rows]
    refuse_duplicates(crops)
    return crops


def read_table(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = (), content: bytes | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a UTF-8 CSV file, each after its place, such as "FILE, row 2".

    The header must be exactly ``columns``, or ``columns`` followed by the ``optional`` ones. Rows are counted as a
    spreadsheet counts them: the header is row 1, and blank rows are skipped but counted. ``content`` is the file's
    content, if it was read before. Raises :class:`DatasetError` if the file is missing, is not CSV, or has other
    columns.
    """
    try:
        content = path.read_bytes() if content is None else content
        text = content.decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file: expected a CSV file with the header {','.join(columns)}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not text: expected a UTF-8 CSV file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 0
    try:
        header = tuple(next(reader, ()))
        if header == columns + optional:
            columns = header
        if header != columns:
            odd = [name for name in header if name not in columns] or [c for c in columns if c not in header]
            raise DatasetError(
                f"{path}: wrong columns ({', '.join(map(repr, odd)) or 'another order'}): "
                f"expected the header {','.join(columns)}"
            )
        for number, values in enumerate(reader, start=2):
            if not values:
                continue
            origin = f"{path}, row {number}"
            if len(values) != len(columns):
                raise DatasetError(f"{origin}: expected {len(columns)} values, got {len(values)}")
            yield origin, dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}, row {max(number, 1) + 1}: not CSV: {error}") from None


def parse_row(folder: Path, row: Mapping[str, str], origin: str, there: Collection[str] | None = None) -> Crop:
    """Return one row of the manifest as a :class:`Crop`. ``folder`` is the dataset folder, with links resolved.
    ``there`` are the files in it, if they are known."""
    for column in ("path", "camera", "tracklet"):
        if not row[column]:
            raise DatasetError(f"{origin}: {column} is empty")
    return Crop(
        path=locate(folder, row["path"], origin, there),
        camera=as_name(row["camera"]),
        tracklet=as_name(row["tracklet"]),
        frame=parse_frame(row["frame"], origin),
        time=parse_time(row, origin) if row["time"] else None,
        x=parse_number(row, "x", origin),
        y=parse_number(row, "y", origin),
        width=parse_number(row, "width", origin),
        height=parse_number(row, "height", origin),
        score=parse_number(row, "score", origin),
        identity=as_identity(row["identity"]),
        recording=row.get(RECORDING, ""),
        origin=origin,
    )


def locate(folder: Path, name: str, origin: str, there: Collection[str] | None = None) -> Path:
    """Return the file that a row calls ``name``, with links resolved. It must lie in ``folder``."""
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder)
        exists = path.is_file() if there is None else inside and path.relative_to(folder).as_posix() in there
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: a circle of links. ValueError: a NUL character. Other errors are of the disk, not of the name.
        if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            raise
        raise DatasetError(f"{origin}: {name[:100]!r}: cannot be a path") from None
    if PurePosixPath(name).is_absolute() or not inside:
        raise DatasetError(f"{origin}: path {name!r} leads out of the dataset folder: expected a path inside it")
    if not exists:
        raise DatasetError(f"{origin}: {name!r}: no such file")
    return path


def parse_frame(text: str, origin: str) -> int:
    try:
        frame = int(text)
    except ValueError:
        frame = -1
    if frame < 0:
        raise DatasetError(f"{origin}: frame is {text!r}: expected a whole number from 0")
    return frame


def parse_time(row: Mapping[str, str], origin: str) -> float:
    seconds = parse_number(row, "time", origin)
    if not 0 <= seconds < YEAR_10000:
        raise DatasetError(f"{origin}: time is {row['time']!r}: expected seconds (this looks like milliseconds)")
    return seconds


def parse_number(row: Mapping[str, str], column: str, origin: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{origin}: {column} is {row[column]!r}: expected a finite number")
    return value


def refuse_duplicates(crops: Iterable[Crop]) -> None:
    """Raise :class:`DatasetError` if two rows name the same file."""
    seen: dict[Path, str] = {}
    for crop in crops:
        if crop.path in seen:
            raise DatasetError(f"{crop.origin}: {crop.path.name!r} is named twice, before in {seen[crop.path]}")
        seen[crop.path] = crop.origin


def write_manifest(root: Path, crops: Iterable[Crop]) -> None:
    """Write ``root/manifest.csv``, completely or not at all. The crops' files must lie under ``root``."""
    write_atomic(root / NAME, manifest_text(root, crops))


def manifest_text(root: Path, crops: Iterable[Crop]) -> str:
    """The content of the manifest of the folder ``root``. The crops' files must lie under it."""
    folder, crops = root.resolve(), list(crops)
    has_recordings = any(crop.recording for crop in crops)
    rows = (
        (
            below(crop.path, folder),
            crop.camera,
            crop.tracklet,
            crop.frame,
            "" if crop.time is None else f"{crop.time:.3f}",
            *(f"{value:.1f}" for value in (crop.x, crop.y, crop.width, crop.height)),
            f"{crop.score:.3f}",
            crop.identity or "",
            *([crop.recording] if has_recordings else []),
        )
        for crop in crops
    )
    return csv_text([(*COLUMNS, RECORDING) if has_recordings else COLUMNS, *rows])


def below(path: Path, folder: Path) -> str:
    """The path as the manifest of ``folder`` names it; links in ``folder`` are resolved.

    Paths that a manifest was read from begin with the folder. They are not resolved again: that asks the disk for each
    of their parts, and a dataset's manifest is written anew with every recording.
    """
    with suppress(ValueError):
        name = path.relative_to(folder).as_posix()
        if ".." not in name:
            return name
    return path.resolve().relative_to(folder).as_posix()


def check_name(kind: str, name: str) -> None:
    """Raise :class:`DatasetError` for a name that a manifest cannot hold, such as a name with a line break."""
    wrong = next((sign for sign in name if unicodedata.category(sign) in ("Cc", "Cs")), None)
    if wrong is not None:
        why = "is not valid Unicode" if unicodedata.category(wrong) == "Cs" else "is a control character"
        hint = "; lists saved on Windows end each line with it" if wrong == "\r" else ""
        raise DatasetError(f"{kind} {name!r}: {wrong!r} {why}{hint}: expected printable characters only")
    if not name.strip():
        raise DatasetError(f"{kind} {name!r}: expected a name")


def as_identity(text: str) -> str | None:
    """Return the identity that a cell of a table names; None if the cell is empty.

    Whole numbers are normalised, because Market-1501 pads them ("0007", and "0000" for distractors), and spreadsheets
    and pandas write "7.0" and "-1.0" if some values of a column are missing.
    """
    text = text.strip()
    if WHOLE_NUMBER.fullmatch(text):
        return str(int(text.partition(".")[0]))
    return as_name(text) or None


def read_identities(path: Path) -> dict[str, str]:
    """Read true identities for evaluation from a CSV file with the columns ``tracklet,identity``.

    An empty identity means unknown; :func:`as_identity` reads the others. Raises :class:`DatasetError`, with the row's
    number, if a tracklet is named twice or :func:`read_table` refuses the file.
    """
    identities: dict[str, str | None] = {}
    for origin, row in read_table(path, ("tracklet", "identity")):
        tracklet = as_name(row["tracklet"])
        if tracklet in identities:
            raise DatasetError(f"{origin}: tracklet {tracklet!r} is named twice")
        identities[tracklet] = as_identity(row["identity"])
    return {tracklet: identity for tracklet, identity in identities.items() if identity}
