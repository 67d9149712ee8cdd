"""``reid train --gpus N``: N processes by torch's own launcher, and one line when one of them fails."""

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
    """Whether this process is one of several already, by :func:`launch` or by ``torchrun``."""
    return "LOCAL_RANK" in os.environ


def check_gpus(count: int, device: str) -> None:
    """Raise :class:`RunError` unless ``device`` ("auto", "cuda" or "cpu") can be had by so many processes."""
    found = torch.cuda.device_count()
    if device not in ("auto", "cuda", "cpu"):
        raise RunError(f"--gpus {count} with --device {device}: expected auto, cuda or cpu, since each takes its own")
    if device != "cpu" and found < count:
        raise RunError(f"--gpus {count}: {found} found: ask for at most that, or --device cpu for processes without")


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Run ``python -m reid_toolkit`` with ``arguments`` in so many processes on this machine, to the end.

    What the first one prints is seen, what the others print is not.

    Raises:
        RunError: one failed, and all were ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM, and all were ended.
    """
    for name in ("agent.server.api", "multiprocessing.api"):  # which tell of each signal that they pass on
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=RUN_ID, rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, processes), Std.ALL)),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "reid_toolkit", *arguments)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            raise RunError(cause(list(error.failures.values()), processes)) from None


def cause(failures: list[ProcessFailure], processes: int) -> str:
    """What ended the run: a process that was killed, before others that miss it; else the first that said why.

    A process that loses the others while it ends may abort by itself, so an abort counts only where nobody said why.
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
    """In a process of :func:`launch`, hand a named error to it, so that it is said once and not by each of them."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != RUN_ID:
        yield
        return
    try:
        try:
            yield
        finally:  # the launcher sends SIGTERM when another process ends; it must not cut off what is said below
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.exit(130)
    except ReidError as error:
        said = {"message": str(error), "timestamp": int(time.time())}
        write_atomic(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), json.dumps(said))
        sys.exit(1)
