"""Embed very many crops into files, with several processes on this machine and on others."""

import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reid_toolkit.errors import InputError, ReidError, RunError
from reid_toolkit.records import Crop
from reid_toolkit.runtime.bulk.claims import Claims
from reid_toolkit.runtime.bulk.jobs import Job, open_job, work
from reid_toolkit.runtime.bulk.results import WRITERS, EmbedReport, import_pyarrow, result_of
from reid_toolkit.runtime.embedder import Embedder
from reid_toolkit.runtime.session import usable_cores

LOOK_SECONDS = 0.2
"""Seconds between two looks at the progress of the workers."""


@dataclass(frozen=True)
class Engine:
    """How this machine embeds. The result depends only on the model, not on the other settings."""

    model: Path
    batch_size: int = 32
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    strict: bool = False

    def start(self) -> Embedder:
        """Load the model. Raises as :class:`Embedder` does."""
        return Embedder(
            self.model,
            batch_size=self.batch_size,
            threads=self.threads,
            providers=self.providers,
            strict=self.strict,
        )


def embed_crops(
    crops: Sequence[Crop],
    out: Path,
    engine: Engine,
    *,
    format: str = "npy",
    workers: int = 1,
    shard_size: int = 1024,
    stale_after: float = 300.0,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EmbedReport:
    """Embed ``crops`` into the folder ``out``. Returns when all shards are done, also those of other processes.

    Call it again to continue after an interruption, or on several machines with the same folder to share the work.
    Crops that cannot be read are left out and listed in ``bad.csv``. ``results.py`` describes the files.

    Args:
        crops: the crops in the order of the result. The list must be the same for all processes that share the job.
        out: the folder of the job and its result.
        engine: the model and the settings of this machine.
        format: "npy", or "parquet", which needs pyarrow.
        workers: processes on this machine. If there are several, each loads the model and uses its part of the cores.
        shard_size: crops per shard, the unit of work. An interruption loses at most the shards in progress.
        stale_after: take over the shard of another process after so many seconds without a sign of life.
        on_progress: called with (crops done, crops in all).

    Raises:
        InputError: no crops, an unknown format, or ``out`` holds another job or other things.
        ModelError: see :class:`Embedder`.
        RunError: all workers died, or a stored shard is damaged.
        MissingDependencyError: the format is "parquet" and pyarrow is not installed.
    """
    if not crops or format not in WRITERS or min(workers, shard_size) < 1 or not stale_after > 0:
        raise InputError(
            f"{len(crops)} crops, format {format!r}, {workers} workers, shards of {shard_size}, stale after "
            f"{stale_after}: expected 1 or more of each, and a format of {', '.join(WRITERS)}"
        )
    if format == "parquet":
        import_pyarrow()  # raises before the work, not after it
    embedder = engine.start()
    job = open_job(out, crops, embedder.fingerprint, embedder.dimension, shard_size, format)
    claims = Claims(job.shards, stale_after)

    def look() -> None:
        left = sum(len(job.positions(name)) for name in job.pending())
        on_progress(len(crops) - left, len(crops))

    look()
    if workers == 1:
        work(job, embedder, claims, look)
    elif job.pending():
        del embedder
        run_workers(job, engine, workers, stale_after, look)
    return result_of(job, claims)


def run_workers(job: Job, engine: Engine, workers: int, stale_after: float, look: Callable[[], None]) -> None:
    """Embed the shards of a job in several processes. Returns when no shard is pending. If a worker dies, the others
    take over its shard."""
    context = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
    if engine.threads is None:
        engine = replace(engine, threads=max(1, usable_cores() // workers))
    receivers: list[Connection[Any, ReidError | OSError]] = []
    processes = []
    try:
        for _ in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=run_worker, args=(job, engine, stale_after, sender), daemon=True)
            with interrupts_ignored():
                process.start()
            sender.close()
            processes.append(process)
            receivers.append(receiver)
        # Every process is asked, because is_alive() also removes a dead process from the system. Only then the others
        # see that it has stopped, and take over its shard.
        while sum(process.is_alive() for process in processes):
            time.sleep(LOOK_SECONDS)
            look()
            raise_first(receivers)
        raise_first(receivers)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    if job.pending():
        died = sorted({f"exit status {process.exitcode}" for process in processes})
        raise RunError(
            f"{job.folder}: all {workers} workers died ({', '.join(died)}; -9 is often a lack of memory): finished "
            "shards are kept: run the same command again to continue, perhaps with fewer workers"
        )


def raise_first(receivers: "list[Connection[Any, ReidError | OSError]]") -> None:
    """Raise the first error that a worker has sent. A killed worker sends nothing: its pipe only ends."""
    for receiver in [receiver for receiver in receivers if receiver.poll()]:
        with suppress(EOFError):
            raise receiver.recv()
        receivers.remove(receiver)


def run_worker(job: Job, engine: Engine, stale_after: float, sender: "Connection[ReidError | OSError, Any]") -> None:
    """The main function of a worker process. It embeds shards until none is left, and sends errors to the parent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit, so that the worker gives up its claim
    warnings.simplefilter("ignore", RuntimeWarning)  # the parent has given the same warning
    parent = multiprocessing.parent_process()

    def look() -> None:
        if parent is not None and not parent.is_alive():
            sys.exit(1)

    try:
        work(job, engine.start(), Claims(job.shards, stale_after), look)
    except (ReidError, OSError) as error:
        sender.send(error)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started within this context ignore Ctrl-C, which a terminal sends to all processes. Their parent stops
    them."""
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers only in the main thread
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
