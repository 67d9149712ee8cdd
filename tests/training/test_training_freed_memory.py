"""Memory that is freed is kept while training, and given back afterwards."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc, so nothing is kept"
)

BEGIN = """
import ctypes
import resource
from pathlib import Path
import torch
from reid_toolkit.training.freed_memory import freed_memory_kept

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: with huge pages there would be few to count
LARGE = 50 * 2**20  # a feature map of 64 crops in MobileNetV2 at 128x64; glibc gives back all blocks of over 32 MiB
PAGES = LARGE // resource.getpagesize()

def asked_for(blocks):
    "Pages that this process asks the system for, to use large blocks one after another."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.ones(LARGE, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    "Bytes of this process in memory."
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024

"""


def in_a_new_process(text: str) -> None:
    """Run Python there, because the heap of a process that did other things before has holes of all sizes."""
    done = subprocess.run([sys.executable, "-c", BEGIN + text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_freed_memory_is_used_again() -> None:
    in_a_new_process("""
assert asked_for(10) > 9 * PAGES
with freed_memory_kept():
    asked_for(10)  # until the holes in the heap are large enough
    assert asked_for(10) < PAGES
""")


def test_afterwards_smaller_blocks_are_used_again_as_before() -> None:
    """glibc learns by itself to keep blocks of up to 32 MiB."""
    in_a_new_process("""
LARGE, PAGES = LARGE // 4, PAGES // 4
asked_for(10)
assert asked_for(10) < 2 * PAGES
with freed_memory_kept():
    asked_for(10)
asked_for(10)
assert asked_for(10) < 2 * PAGES
""")


def test_it_is_given_back_at_the_end_also_after_an_error() -> None:
    in_a_new_process("""
before = resident()
try:
    with freed_memory_kept():
        held = [torch.ones(LARGE, dtype=torch.uint8) for _ in range(4)]
        del held
        assert resident() > before + 3 * LARGE
        raise KeyboardInterrupt
except KeyboardInterrupt:
    assert resident() < before + LARGE
else:
    raise AssertionError("the error was lost")
""")
