"""Repairs a dataset that its reader refuses: unreadable parts are set aside and named."""

import csv
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from reid_toolkit.datasets import manifest
from reid_toolkit.datasets.dataset import group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import parse_json, write_atomic
from reid_toolkit.footage.changes import BEFORE, dropped_paths, new_place
from reid_toolkit.footage.dataset_writer import (
    FORGOTTEN,
    JOURNAL,
    forgotten_names,
    is_listed,
    names_ever,
    open_folder,
    read_journal,
    write_journal,
    write_names,
)
from reid_toolkit.records import Crop


@dataclass
class Findings:
    """The faults of a dataset."""

    rows: dict[int, str] = field(default_factory=dict)
    """Refused rows of the manifest, counted as a spreadsheet does, each with the reason."""
    recordings: dict[str, str] = field(default_factory=dict)
    """Folders in ``crops`` of finished recordings that could not be entered, each with the reason."""
    kept: list[str] = field(default_factory=list)
    """The manifest's lines without the refused rows."""

    @property
    def sound(self) -> bool:
        """Whether nothing needs to be set aside."""
        return not self.rows and not self.recordings

    def sentences(self) -> list[str]:
        """Return one sentence for each fault."""
        rows = [f"manifest.csv, row {row}: {why}" for row, why in self.rows.items()]
        return rows + [f"crops/{name}: {why}" for name, why in self.recordings.items()]


def inspect(root: Path) -> Findings:
    """Check a folder of `reid ingest`, or of another program that writes our manifest.

    Raises :class:`DatasetError` for faults that cannot be set aside: no manifest, another header, a damaged journal.
    """
    findings = Findings()
    entries = read_journal(root / JOURNAL)
    for folder in sorted((root / "crops").glob("[!.]*")):
        if (folder / JOURNAL).exists():
            try:
                entry = parse_json((folder / JOURNAL).read_text(encoding="utf-8"))
                if entry["crops"] and not is_listed(folder, entry, entries):
                    manifest.read_manifest(folder)
            except (DatasetError, ValueError, KeyError, TypeError) as error:
                findings.recordings[folder.name] = plain(error, folder)
    path = root / manifest.NAME
    if not path.exists() and findings.recordings:
        return findings
    inspect_rows(root, findings)
    return findings


def inspect_rows(root: Path, findings: Findings) -> None:
    """Check the manifest line by line, so that a name with a line break spoils only its own two lines."""
    path, folder = root / manifest.NAME, root.resolve()
    try:
        manifest.read_manifest(root)
        return  # the reader accepts it, so no line needs a check
    except DatasetError:
        pass
    try:
        header, *lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file: expected a dataset of `reid ingest`") from None
    columns = tuple(next(csv.reader([header.rstrip("\r")]), ()))
    if columns not in (manifest.COLUMNS, (*manifest.COLUMNS, manifest.RECORDING)):
        raise DatasetError(f"{path}: wrong header: expected {','.join(manifest.COLUMNS)}; restore it from a copy")
    crops: dict[int, Crop] = {}
    seen: dict[Path, int] = {}
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        origin = f"{path}, row {number}"
        try:
            rows = list(csv.reader([line.removesuffix("\r")], strict=True))
            damaged = any("\udc80" <= sign <= "\udcff" for sign in line)
            if len(rows) != 1 or len(rows[0]) != len(columns) or damaged:
                raise DatasetError(f"{origin}: expected {len(columns)} values of text in one line")
            crop = manifest.parse_row(folder, dict(zip(columns, rows[0], strict=True)), origin)
            if crop.path in seen:
                raise DatasetError(f"{origin}: {crop.path.name!r} is named twice, before in row {seen[crop.path]}")
        except DatasetError as error:
            findings.rows[number] = plain(error, root)
            continue
        except csv.Error as error:
            findings.rows[number] = "a carriage return in a name" if "\r" in line else f"not CSV: {error}"
            continue
        seen[crop.path], crops[number] = number, crop
    tracklets: defaultdict[str, list[int]] = defaultdict(list)
    for number, crop in crops.items():
        tracklets[crop.tracklet].append(number)
    for numbers in tracklets.values():
        try:
            group_tracklets(crops[number] for number in numbers)
        except DatasetError as error:
            findings.rows |= dict.fromkeys(numbers, plain(error, root))
    kept = (line for number, line in enumerate(lines, start=2) if line.strip() and number not in findings.rows)
    findings.kept = [header, *kept]


def plain(error: Exception, root: Path) -> str:
    """Return an error's message without the place at its beginning."""
    text = str(error)
    for place in (f"{root / manifest.NAME}, row ", f"{root / manifest.NAME}: ", f"{root}: "):
        if text.startswith(place):
            text = text.removeprefix(place)
            return text.partition(": ")[2] if place.endswith("row ") else text
    return text


def repair(root: Path) -> Findings:
    """Move what the reader refuses into ``root``/set-aside: folders of recordings, a list of the rows, and the manifest
    as it was. Nothing is deleted.

    Raises as :func:`inspect` does, and if another process is adding to the dataset.
    """
    if not (root / manifest.NAME).exists() and not (root / "crops").exists():
        inspect(root)  # raises before a lock file is made in a folder that is not a dataset
    with open_folder(root):
        findings = inspect(root)
        if findings.sound:
            return findings
        place = new_place(root)
        if findings.rows:
            shutil.copyfile(root / manifest.NAME, place / BEFORE)
            report = "".join(f"row {row}: {why}\n" for row, why in findings.rows.items())
            write_atomic(place / "rows.txt", report.encode(errors="surrogateescape"))
            if len(findings.kept) > 1:
                content = "".join(f"{line}\n" for line in findings.kept)
                write_atomic(root / manifest.NAME, content)
            else:
                (root / manifest.NAME).unlink()
        for name in findings.recordings:
            (root / "crops" / name).rename(place / name)
        forget_lost(root)
        return findings


def forget_lost(root: Path) -> None:
    """Remove recordings without crops from the journal, so that they can be ingested again, under another name.
    Recordings whose crops the user dropped stay."""
    entries = read_journal(root / JOURNAL)
    folder = root.resolve() / "crops"
    crops = manifest.read_manifest(root).crops if (root / manifest.NAME).exists() else ()
    paths = {crop.path for crop in crops} | {root.resolve() / path for path in dropped_paths(root)}
    there = {path.relative_to(folder).parts[0] for path in paths if path.is_relative_to(folder)}
    kept = [entry for entry in entries if not entry["crops"] or entry["name"] in there]
    if len(kept) < len(entries):
        names = forgotten_names(root) | names_ever([entry for entry in entries if entry not in kept])
        write_names(root / FORGOTTEN, sorted(names))
        write_journal(root / JOURNAL, kept)
