"""Our own dataset folder: ``manifest.csv`` and the crops it names (the data contract, docs/data.md)."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import as_name, csv_text, write_atomic
from reid_toolkit.records import Crop

NAME = "manifest.csv"
COLUMNS = (
    "path", "camera", "tracklet", "frame", "time", "x", "y", "width", "height", "score", "identity",
)  # fmt: skip
RECORDING = "recording"
"""A column behind these, which may be missing."""
WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
YEAR_10000 = 253_402_300_800
"""Seconds of Unix time; the calendar of Python, and of every page that shows a time, ends there."""


def read_manifest(root: Path) -> Dataset:
    """Read ``root/manifest.csv``. Every crop it names must exist, once, inside ``root``.

    Raises :class:`DatasetError`, naming the row (the header is row 1), for anything else.
    """
    path = root / NAME
    folder = root.resolve()
    crops = [parse_row(folder, row, origin) for origin, row in read_table(path, COLUMNS, (RECORDING,))]
    refuse_duplicates(crops)
    if not crops:
        raise DatasetError(f"{path}: no crops: expected at least one row")
    return Dataset(folder, "manifest", group_tracklets(crops))


def read_table(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a UTF-8 CSV file that has exactly these columns, or these and then the ``optional`` ones, each after its
    place, "FILE, row 2".

    Rows are counted as a spreadsheet does: the header is row 1, and blank ones are passed over but counted.
    Raises :class:`DatasetError` for a missing file, one that is not CSV, or other columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets write a byte-order mark
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


def parse_row(folder: Path, row: Mapping[str, str], origin: str) -> Crop:
    """One row of the manifest as a :class:`Crop`; ``folder`` is the resolved dataset folder."""
    for column in ("path", "camera", "tracklet"):
        if not row[column]:
            raise DatasetError(f"{origin}: {column} is empty")
    return Crop(
        path=locate(folder, row["path"], origin),
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


def locate(folder: Path, name: str, origin: str) -> Path:
    """The file that a row calls ``name``, links followed: it must lie in ``folder``, wherever a link leads."""
    try:
        path = (folder / name).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long; links in a circle; a NUL
        raise DatasetError(f"{origin}: {name[:100]!r}: cannot be a path") from None
    if PurePosixPath(name).is_absolute() or not path.is_relative_to(folder):
        raise DatasetError(f"{origin}: path {name!r} leads out of the dataset folder: expected a relative one inside")
    if not found:
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
        raise DatasetError(f"{origin}: time is {row['time']!r}: expected seconds (milliseconds look like this)")
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
    """Raise :class:`DatasetError` when two rows name the same file."""
    seen: dict[Path, str] = {}
    for crop in crops:
        if crop.path in seen:
            raise DatasetError(f"{crop.origin}: {crop.path.name!r} is named twice, before in {seen[crop.path]}")
        seen[crop.path] = crop.origin


def write_manifest(root: Path, crops: Iterable[Crop]) -> None:
    """Write ``root/manifest.csv``, all or nothing. The crops' files must lie under ``root``."""
    folder, crops = root.resolve(), list(crops)
    known = any(crop.recording for crop in crops)
    rows = (
        (
            crop.path.resolve().relative_to(folder).as_posix(),
            crop.camera,
            crop.tracklet,
            crop.frame,
            "" if crop.time is None else f"{crop.time:.3f}",
            *(f"{value:.1f}" for value in (crop.x, crop.y, crop.width, crop.height)),
            f"{crop.score:.3f}",
            crop.identity or "",
            *([crop.recording] if known else []),
        )
        for crop in crops
    )
    write_atomic(root / NAME, csv_text([(*COLUMNS, RECORDING) if known else COLUMNS, *rows]))


def check_name(kind: str, name: str) -> None:
    """Refuse a name that no manifest can hold, such as one with a line end in it; raises :class:`DatasetError`."""
    wrong = next((sign for sign in name if unicodedata.category(sign) in ("Cc", "Cs")), None)
    if wrong is not None:
        why = "is no Unicode" if unicodedata.category(wrong) == "Cs" else "is a control character"
        hint = "; lists saved on Windows end each line with it" if wrong == "\r" else ""
        raise DatasetError(f"{kind} {name!r}: {wrong!r} {why}{hint}: expected a name of signs that can be printed")
    if not name.strip():
        raise DatasetError(f"{kind} {name!r}: expected a name")


def as_identity(text: str) -> str | None:
    """Who a table says it is; None where it is empty.

    Whole numbers are written by their value: Market-1501 pads them ("0007", its distractors "0000"), and spreadsheets
    and pandas make them "7.0" and "-1.0" where some are missing.
    """
    text = text.strip()
    if WHOLE_NUMBER.fullmatch(text):
        return str(int(text.partition(".")[0]))
    return as_name(text) or None


def read_identities(path: Path) -> dict[str, str]:
    """Read a CSV of two columns, ``tracklet,identity``: truth for evaluation, kept apart from the dataset.

    An empty identity means that it is not known; others are as :func:`as_identity` has them. Raises
    :class:`DatasetError`, naming the row, for a tracklet named twice and for what :func:`read_table` refuses.
    """
    identities: dict[str, str | None] = {}
    for origin, row in read_table(path, ("tracklet", "identity")):
        tracklet = as_name(row["tracklet"])
        if tracklet in identities:
            raise DatasetError(f"{origin}: tracklet {tracklet!r} is named twice")
        identities[tracklet] = as_identity(row["identity"])
    return {tracklet: identity for tracklet, identity in identities.items() if identity}
