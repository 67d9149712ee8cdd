"""``reid train --gpus N``: starts N processes with torch's own launcher, and reports a failure in one line."""

import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from reid_toolkit.errors import ReidError, RunError
from reid_toolkit.files import write_atomic
from reid_toolkit.training.distributed import LOST

RUN_ID = "reid-train"


def is_one_of_many() -> bool:
    """Whether this process is already one of several that :func:`launch` or ``torchrun`` started."""
    return "LOCAL_RANK" in os.environ


def check_gpus(count: int, device: str) -> None:
    """Raise :class:`RunError` if ``device`` ("auto", "cuda" or "cpu") cannot serve so many processes."""
    gpus = torch.cuda.device_count()
    if device not in ("auto", "cuda", "cpu"):
        raise RunError(f"--gpus {count} with --device {device}: expected auto, cuda or cpu, because each takes its own")
    if device != "cpu" and gpus < count:
        raise RunError(f"--gpus {count}: {gpus} found: ask for at most that, or --device cpu")


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Run ``python -P -m reid_toolkit`` with ``arguments`` in this number of processes on this machine, until they end.

    Only the first process's output is shown.

    Raises:
        RunError: a process failed, and all were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM, and all were ended.
    """
    for name in ("agent.server.api", "multiprocessing.api"):  # these log each signal that they pass on
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=RUN_ID, rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, processes), Std.ALL)),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-P", "-m", "reid_toolkit", *arguments)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            raise RunError(cause(list(error.failures.values()), processes)) from None


def cause(failures: list[ProcessFailure], processes: int) -> str:
    """Return what ended the run: a process that was killed, before processes that miss it; else the first that gave a
    reason.

    A process that loses the others while it ends may abort, so an abort counts only if no process gave a reason.
    """

    def place(failure: ProcessFailure) -> tuple[int, int]:
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGABRT:
            return 0, failure.timestamp
        if Path(failure.error_file).is_file() and LOST not in str(failure.message):
            return 1, failure.timestamp
        return (2 if failure.exitcode < 0 else 3), failure.timestamp

    first = min(failures, key=place)
    if first.exitcode >= 0 and "message" in first.error_file_data:
        return str(first.message)
    how = signal.Signals(-first.exitcode).name if first.exitcode < 0 else f"status {first.exitcode}"
    return (
        f"process {first.local_rank} of {processes} was ended by {how}, and the others with it: what is done is kept, "
        "run the same command again with --resume to go on"
    )


@contextmanager
def telling_launcher() -> Iterator[None]:
    """In a process of :func:`launch`, pass a named error to the launcher, so that it is printed once and not N
    times."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != RUN_ID:
        yield
        return
    try:
        try:
            yield
        finally:  # the launcher sends SIGTERM if another process ends; it must not cut off the message below
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.exit(130)
    except ReidError as error:
        said = {"message": str(error), "timestamp": int(time.time())}
        write_atomic(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), json.dumps(said))
        sys.exit(1)
