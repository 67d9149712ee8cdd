"""Our own dataset folder: ``manifest.csv`` and the crops it names (the data contract, docs/data.md)."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import write_atomic
from reid_toolkit.records import Crop

NAME = "manifest.csv"
COLUMNS = (
    "path", "camera", "tracklet", "frame", "time", "x", "y", "width", "height", "score", "identity",
)  # fmt: skip


def read_manifest(root: Path) -> Dataset:
    """Read ``root/manifest.csv``. Every crop it names must exist, once, inside ``root``.

    Raises :class:`DatasetError`, naming the row (the header is row 1), for anything else.
    """
    path = root / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{root}: not a dataset folder: it has no {NAME}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not text: expected a UTF-8 CSV file") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = tuple(reader.fieldnames or ())
        if header != COLUMNS:
            odd = [name for name in header if name not in COLUMNS] or [c for c in COLUMNS if c not in header]
            raise DatasetError(
                f"{path}: wrong columns ({', '.join(map(repr, odd)) or 'another order'}): "
                f"expected the header {','.join(COLUMNS)}"
            )
        folder = root.resolve()
        rows = ((f"{path}, row {reader.line_num}", row) for row in reader)
        crops = [parse_row(folder, row, origin) for origin, row in rows]
    except csv.Error as error:
        raise DatasetError(f"{path}, row {reader.line_num}: not CSV: {error}") from None
    refuse_duplicates(crops)
    if not crops:
        raise DatasetError(f"{path}: no crops: expected at least one row")
    return Dataset(folder, "manifest", group_tracklets(crops))


def parse_row(folder: Path, row: Mapping[str | None, str], origin: str) -> Crop:
    """One row of the manifest as a :class:`Crop`; ``folder`` is the resolved dataset folder."""
    if None in row or None in row.values():
        raise DatasetError(f"{origin}: expected {len(COLUMNS)} values, got another number")
    for column in ("path", "camera", "tracklet"):
        if not row[column]:
            raise DatasetError(f"{origin}: {column} is empty")
    path = (folder / row["path"]).resolve()
    if not path.is_relative_to(folder):
        raise DatasetError(f"{origin}: path {row['path']!r} leads out of the dataset folder: expected one inside")
    if not path.is_file():
        raise DatasetError(f"{origin}: {row['path']!r}: no such file")
    return Crop(
        path=path,
        camera=row["camera"],
        tracklet=row["tracklet"],
        frame=parse_frame(row["frame"], origin),
        time=parse_number(row, "time", origin) if row["time"] else None,
        x=parse_number(row, "x", origin),
        y=parse_number(row, "y", origin),
        width=parse_number(row, "width", origin),
        height=parse_number(row, "height", origin),
        score=parse_number(row, "score", origin),
        identity=row["identity"] or None,
        origin=origin,
    )


def parse_frame(text: str, origin: str) -> int:
    try:
        frame = int(text)
    except ValueError:
        frame = -1
    if frame < 0:
        raise DatasetError(f"{origin}: frame is {text!r}: expected a whole number from 0")
    return frame


def parse_number(row: Mapping[str | None, str], column: str, origin: str) -> float:
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
    folder = root.resolve()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for crop in crops:
        writer.writerow(
            (
                crop.path.resolve().relative_to(folder).as_posix(),
                crop.camera,
                crop.tracklet,
                crop.frame,
                "" if crop.time is None else f"{crop.time:.3f}",
                *(f"{value:.1f}" for value in (crop.x, crop.y, crop.width, crop.height)),
                f"{crop.score:.3f}",
                crop.identity or "",
            )
        )
    write_atomic(root / NAME, text.getvalue())


def read_identities(path: Path) -> dict[str, str]:
    """Read a CSV of two columns, ``tracklet,identity``: truth for evaluation, kept apart from the dataset."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            if tuple(reader.fieldnames or ()) != ("tracklet", "identity"):
                raise DatasetError(f"{path}: wrong columns: expected the header tracklet,identity")
            return {row["tracklet"]: row["identity"] for row in reader}
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file: expected a CSV with the columns tracklet,identity") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a CSV file: {error}") from None
