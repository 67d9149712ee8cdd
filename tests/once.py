"""Folders that take long to make, made by one of pytest's workers and read by all of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` of this test run, which ``make(folder)`` fills at the first call in any worker.

    Tests must not change it. If ``make`` fails, the next call tries again.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own in it
    folder, making = base / name, base / f"{name}.partial"
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(folder)
    return folder
