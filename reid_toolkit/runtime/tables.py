"""The files a job's result is written to: whole or not at all, a shard at a time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import MissingDependencyError
from reid_toolkit.files import atomic_path, csv_line

Row = tuple[str, str, str, int, float | None]
COLUMNS = ("path", "camera", "tracklet", "frame", "time")
Write = Callable[[NDArray[np.float32], list[Row]], None]
"""Takes the next descriptors, (B, D), and what they are."""


@contextmanager
def open_csv(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[Iterable[Iterable[object]]], object]]:
    """A function that adds rows to a new CSV file with this header."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        handle.write(csv_line(columns))
        yield lambda rows: handle.writelines(map(csv_line, rows))


@contextmanager
def write_npy(path: Path, total: int, dimension: int) -> Iterator[Write]:
    """A (total, dimension) float32 array, filled row by row."""
    with atomic_path(path) as temporary:
        # A file can be mapped only if it has a byte in it.
        if not total:
            np.save(temporary, np.empty((0, dimension), np.float32))
            yield lambda descriptors, rows: None
            return
        array = np.lib.format.open_memmap(temporary, "w+", np.float32, (total, dimension))
        done = 0

        def write(descriptors: NDArray[np.float32], rows: list[Row]) -> None:
            nonlocal done
            array[done : done + len(rows)] = descriptors
            done += len(rows)

        yield write
        array.flush()


@contextmanager
def write_parquet(path: Path, total: int, dimension: int) -> Iterator[Write]:
    """A table with the columns of the manifest and "descriptor", a list of ``dimension`` float32."""
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
    """pyarrow and its parquet module; raises :class:`MissingDependencyError` when it is not installed."""
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
"""By format."""
