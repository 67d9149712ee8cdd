"""Embed very many crops into files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_toolkit.errors import InputError
from reid_toolkit.parallel.pool import Pool, ThisProcess
from reid_toolkit.records import Crop
from reid_toolkit.runtime.bulk.jobs import Job, ShardWork, ShardWorker, open_job
from reid_toolkit.runtime.bulk.results import WRITERS, EmbedReport, import_pyarrow, result_of
from reid_toolkit.runtime.engine import Engine


@dataclass(frozen=True)
class ShardStart:
    """Makes the worker of a process."""

    engine: Engine

    def __call__(self) -> ShardWorker:
        return ShardWorker(self.engine.start())


def embed_crops(
    crops: Sequence[Crop],
    out: Path,
    engine: Engine,
    *,
    format: str = "npy",
    pool: Pool | None = None,
    shard_size: int = 1024,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EmbedReport:
    """Embed ``crops`` into the folder ``out``.

    Call it again to continue after an interruption. Crops that cannot be read are left out and listed in ``bad.csv``.
    ``results.py`` describes the files.

    Args:
        crops: the crops in the order of the result.
        out: the folder of the job and its result.
        engine: the model and how each worker runs it.
        format: "npy", or "parquet", which needs pyarrow.
        pool: where the work is done. None for this process. Workers must find the crops under the same paths.
        shard_size: crops per shard, the unit of work. An interruption loses at most the shards in progress.
        on_progress: called with (crops done, crops in all).

    Raises:
        InputError: no crops, an unknown format, or ``out`` holds another job or other things.
        ModelError: see :class:`Embedder`.
        RunError: workers died again and again, or a stored shard is damaged.
        MissingDependencyError: the format is "parquet" and pyarrow is not installed.
    """
    if not crops or format not in WRITERS or shard_size < 1:
        raise InputError(
            f"{len(crops)} crops, format {format!r}, shards of {shard_size}: expected 1 or more of each, and a format "
            f"of {', '.join(WRITERS)}"
        )
    if format == "parquet":
        import_pyarrow()  # raises before the work, not after it
    embedder = engine.start()
    with open_job(out, crops, embedder.fingerprint, embedder.dimension, shard_size, format) as job:
        if pool is None:
            embed_shards(job, ThisProcess(), lambda: ShardWorker(embedder), on_progress)
        else:
            del embedder  # each worker loads its own
            embed_shards(job, pool, ShardStart(engine.for_pool(pool)), on_progress)
        return result_of(job)


def embed_shards(
    job: Job, pool: Pool, start: Callable[[], ShardWorker], on_progress: Callable[[int, int | None], None]
) -> None:
    """Embed the shards that are not finished, and store each as soon as it is."""
    names, total = job.pending(), len(job.crops)
    done = total - sum(len(job.positions(name)) for name in names)
    on_progress(done, total)

    def units() -> Iterator[ShardWork]:
        for name in names:
            positions = job.positions(name)
            yield ShardWork(name, positions.start, tuple(job.crops[position] for position in positions))

    for position, shard in pool.run(start, units()):
        job.write(names[position], shard)
        done += len(job.positions(names[position]))
        on_progress(done, total)
