"""What tools say of the machine, their command and their memory, and how they write JSON. Not a command."""

import ctypes
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any


def processor() -> str:
    """Return the processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, platform.processor() or "CPU")


@cache
def gpu() -> str:
    """Return the GPU's name, memory and driver, as the driver's tool says them."""
    if shutil.which("nvidia-smi") is None:
        return "no GPU"
    words = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "no GPU"


def origin(*more: str) -> dict[str, Any]:
    """Return the command, the day, the machine and its load, for a JSON. ``more`` is said of the machine, instead of
    its GPU. Of absolute paths only the names are kept, because a JSON is published."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    cores = f"{len(os.sched_getaffinity(0))} cores"
    return {
        "command": shlex.join(["python", f"tools/{Path(sys.argv[0]).name}", *words]),
        "date": date.today().isoformat(),
        "machine": ", ".join([processor(), platform.machine(), cores, *(more or [gpu()])]),
        "load": round(os.getloadavg()[0], 2),
    }


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON, or nothing."""
    from reid_toolkit.files import write_atomic  # here, because gpu_session.py also starts where we are not installed

    write_atomic(path, json.dumps(content, indent=1) + "\n")


def memory(field: str, process: int | str = "self") -> int:
    """Return VmRSS (now) or VmHWM (peak) of a process, in bytes."""
    for text in Path(f"/proc/{process}/status").read_text().splitlines():
        if text.startswith(field):
            return int(text.split()[1]) * 1024
    raise LookupError(field)


def forget_peak() -> int:
    """Let this process's VmHWM begin anew. Return the bytes it has now, which are no part of the next peak."""
    ctypes.CDLL(None).malloc_trim(0)  # frees memory of earlier work, which the next work would use again
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def resident(process: int) -> int:
    """Return a process's bytes in memory; 0 if it has just ended."""
    try:
        return memory("VmRSS", process)
    except (FileNotFoundError, LookupError, ProcessLookupError):
        return 0


def largest_child() -> int:
    """Return the largest peak, in bytes, of the processes that this one started and that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
