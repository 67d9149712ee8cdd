"""The result of a job: its shards joined into files, and a list of the crops that could not be read."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import MissingDependencyError, RunError
from reid_toolkit.files import atomic_path, csv_line, parse_json, remove_folder, write_atomic
from reid_toolkit.records import Crop
from reid_toolkit.runtime.bulk.jobs import Job, printable

Row = tuple[str, str, str, int, float | None]
COLUMNS = ("path", "camera", "tracklet", "frame", "time")
Write = Callable[[NDArray[np.float32], list[Row]], object]
"""Writes the next descriptors (B, D) and their rows of the manifest."""


@dataclass(frozen=True)
class EmbedReport:
    """The counts and files of a finished job."""

    crops: int
    """Number of crops in the list."""
    embedded: int
    bad: int
    """Number of crops that could not be read."""
    first_bad: str
    """Error message of the first of them. Empty if there is none."""
    descriptors: str
    """Name of the file of descriptors."""
    model: str
    """Fingerprint of the model file."""
    dimension: int


def result_of(job: Job) -> EmbedReport:
    """Join the shards of a job, which are all finished, unless that was done before. Gives the report."""
    if not job.done:
        job.report.unlink(missing_ok=True)  # of a result that is gone; it would stand beside half of the new one
        join(job)
    remove_folder(job.shards)
    try:
        report = EmbedReport(**parse_json(job.report.read_bytes()))
    except (ValueError, TypeError):
        raise RunError(f"{job.report}: damaged: delete {job.folder} and run the same command again") from None
    if (report.model, report.crops) != (job.asked.model, job.asked.crops):
        raise RunError(
            f"{job.report}: a result of {report.crops} crops and model {report.model}, expected {job.asked.crops} "
            f"and {job.asked.model}: delete {job.folder} and run the same command again"
        )
    return report


def join(job: Job) -> None:
    """Write the result file by file, the report last. Shards are read one at a time."""
    total = sum(len(job.read(name).kept) for name in job.names)
    descriptors = f"descriptors.{job.asked.format}"
    bad: list[tuple[int, str]] = []
    with (
        WRITERS[job.asked.format](job.folder / descriptors, total, job.asked.dimension) as write,
        open_csv(job.folder / "manifest.csv", ("row", *COLUMNS)) as manifest,
    ):
        done = 0
        for name in job.names:
            shard = job.read(name)
            rows = [row_of(job.crops[position]) for position in shard.kept.tolist()]
            write(shard.descriptors, rows)
            manifest((number, *row) for number, row in enumerate(rows, start=done))
            done += len(rows)
            bad += shard.bad
    with open_csv(job.folder / "bad.csv", ("path", "problem")) as file:
        file((printable(str(job.crops[position].path)), why) for position, why in bad)
    first = bad[0][1] if bad else ""
    report = EmbedReport(len(job.crops), total, len(bad), first, descriptors, job.asked.model, job.asked.dimension)
    write_atomic(job.report, json.dumps(asdict(report), indent=1) + "\n")


def row_of(crop: Crop) -> Row:
    return printable(str(crop.path)), printable(crop.camera), printable(crop.tracklet), crop.frame, crop.time


@contextmanager
def open_csv(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[Iterable[Iterable[object]]], object]]:
    """Yield a function that adds rows to a new CSV file with this header."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        handle.write(csv_line(columns))
        yield lambda rows: handle.writelines(map(csv_line, rows))


@contextmanager
def write_npy(path: Path, total: int, dimension: int) -> Iterator[Write]:
    """Yield a function that fills a (total, dimension) float32 array in a .npy file."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    # Plain writes, because a full disk is an error for them. A file that is mapped into memory gets its space only when
    # it is filled, and a process that fills a page for which there is no space is killed.
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {**header, "shape": (total, dimension)})
        yield lambda descriptors, rows: handle.write(descriptors.astype(np.float32, copy=False).tobytes())


@contextmanager
def write_parquet(path: Path, total: int, dimension: int) -> Iterator[Write]:
    """Yield a function that fills a Parquet table: the columns of the manifest, and "descriptor" with ``dimension``
    float32 values."""
    pyarrow, parquet = import_pyarrow()
    kinds = (pyarrow.string(), pyarrow.string(), pyarrow.string(), pyarrow.int64(), pyarrow.float64())
    vector = pyarrow.list_(pyarrow.float32(), dimension)
    schema = pyarrow.schema([*zip(COLUMNS, kinds, strict=True), ("descriptor", vector)])

    def write(descriptors: NDArray[np.float32], rows: list[Row]) -> None:
        columns = [pyarrow.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
        flat = pyarrow.array(descriptors.reshape(-1))
        columns.append(pyarrow.FixedSizeListArray.from_arrays(flat, dimension))
        writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))

    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        yield write


def import_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises :class:`MissingDependencyError` if they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "Parquet needs pyarrow, which is not installed: in reid's checkout, pip install '.[parquet]'; or write .npy"
        ) from None
    return pyarrow, pyarrow.parquet


WRITERS: dict[str, Callable[[Path, int, int], AbstractContextManager[Write]]] = {
    "npy": write_npy,
    "parquet": write_parquet,
}
"""The writers by format."""
