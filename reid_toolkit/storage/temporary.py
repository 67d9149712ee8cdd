"""Temporary folders that are removed even if their process is killed.

A worker that copies a recording to the disk may be stopped or killed at any moment, and the copy may be large. So a
process of its own waits for the end of this one, and removes what is left.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

REMOVER = """
import os, shutil, sys
if os.fork(): os._exit(0)
sys.stdin.buffer.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Its input ends when the other process does. It forks once, so that it is no child of that process: Ray kills the
children of its workers."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder in the system's folder for temporary files (TMPDIR). It is removed afterwards."""
    folder = Path(tempfile.mkdtemp(dir=place_of(os.getpid())))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def place_of(process: int) -> Path:
    """The folder of all temporary folders of this process, whose number is ``process``: a fork makes its own."""
    place = Path(tempfile.mkdtemp(prefix="reid-"))
    reading, _ = os.pipe()  # nothing is written: the other end stays open as long as this process lives
    remover = [sys.executable, "-I", "-S", "-c", REMOVER, str(place)]
    try:
        subprocess.run(
            remover, stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    finally:
        os.close(reading)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
