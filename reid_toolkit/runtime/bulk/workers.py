"""Crops without end to descriptors on the disk, with several processes on this machine and on others."""

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
"""Between looks at what the workers have done."""


@dataclass(frozen=True)
class Engine:
    """How this machine embeds; the result does not depend on it."""

    model: Path
    batch_size: int = 32
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    strict: bool = False

    def start(self) -> Embedder:
        """Load the model; raises as :class:`Embedder` does."""
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
    """Embed ``crops`` into the folder ``out``, and return once all of it is done, by whomever.

    Called again, or on several machines at once with the same folder, it goes on with what is missing. Crops that
    cannot be read are left out and named in ``bad.csv``. What the folder holds is told in ``results.py``.

    Args:
        crops: in the order of the result; the same for all who share the job.
        format: "npy", or "parquet", which needs pyarrow.
        workers: processes on this machine; with more than one, each loads the model and takes its part of the cores.
        shard_size: crops in the unit of work, which is what an interruption loses at most.
        stale_after: seconds without a sign of life after which another's shard is taken over.
        on_progress: called with (crops done, crops in all).

    Raises:
        InputError: no crops, an unknown format, or ``out`` holds another job or other things.
        ModelError: as :class:`Embedder`.
        RunError: all workers died, or a stored shard is damaged.
        MissingDependencyError: pyarrow is asked for and not installed.
    """
    if not crops or format not in WRITERS or min(workers, shard_size) < 1 or not stale_after > 0:
        raise InputError(
            f"{len(crops)} crops, format {format!r}, {workers} workers, shards of {shard_size}, stale after "
            f"{stale_after}: expected 1 or more of each, and a format of {', '.join(WRITERS)}"
        )
    if format == "parquet":
        import_pyarrow()  # before the work, not after it
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
    """Have processes do a job's shards; returns when none is pending. One that dies is made good by the others."""
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
        # All are asked: asking is what buries a dead one, and only then the others take over what it had.
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
            "shards are kept; run the same command again to go on, perhaps with fewer workers"
        )


def raise_first(receivers: "list[Connection[Any, ReidError | OSError]]") -> None:
    """Raise what a worker has sent, if one has; of a killed one there is only the end of its pipe."""
    for receiver in [receiver for receiver in receivers if receiver.poll()]:
        with suppress(EOFError):
            raise receiver.recv()
        receivers.remove(receiver)


def run_worker(job: Job, engine: Engine, stale_after: float, sender: "Connection[ReidError | OSError, Any]") -> None:
    """The life of a worker process: shards until none is left; an error is sent to the parent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # gives up its claim on the way out
    warnings.simplefilter("ignore", RuntimeWarning)  # the parent has said it
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
    """A process started inside does not see Ctrl-C, which a terminal sends to all: its parent stops it."""
    if threading.current_thread() is not threading.main_thread():  # where Python refuses to set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
