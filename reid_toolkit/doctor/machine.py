"""Looks at the machine: system, cores, memory, disk, clock and GPU. It needs Python alone."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from reid_toolkit.catalogue.cache import FOLDER, cache_folder
from reid_toolkit.doctor.findings import Finding
from reid_toolkit.errors import InputError
from reid_toolkit.version import __version__

LEAST_DISK = 1e9
"""Bytes. With less free space, a note says so."""
LEAST_MEMORY = 5e8
"""Bytes. `reid watch` with a small model needs about half of it."""
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""This toolkit is not older. A board without a battery starts its clock in 1970 or 2000."""
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
NOT_SYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2)."""


def look_at_machine(gallery: Path | None = None) -> list[Finding]:
    """All findings about the machine. ``gallery``: the folder of a gallery whose disk is looked at, too."""
    return [system(), cores(), memory(), *disks(gallery), clock(time.time()), gpus()]


def system() -> Finding:
    """Python, the operating system, and whether this is a container."""
    name = f"{platform.system()} {platform.release()}"
    with suppress(OSError, KeyError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    boxed = any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))) or "container" in os.environ
    facts = {
        "reid": __version__, "python": platform.python_version(), "executable": sys.executable, "system": name,
        "kernel": platform.release(), "architecture": platform.machine(), "container": boxed,
    }  # fmt: skip
    where = ", in a container" if boxed else ""
    found = f"reid {__version__}, Python {facts['python']}, {name}, {facts['architecture']}{where}"
    return Finding("machine", "system", "ok", found, facts=facts)


def cores(control_groups: Path = Path("/sys/fs/cgroup")) -> Finding:
    """The cores that this process may use, and the limit of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = core_limit(control_groups)
    facts = {"cores": usable, "all_cores": os.cpu_count(), "limit": limit}
    if limit is None or limit >= usable:
        return Finding("machine", "cores", "ok", f"{usable} of {os.cpu_count()}", facts=facts)
    few = max(1, int(limit))
    mend = f"give long commands that have the option `--cores {few}`, and Embedder `threads={few}`"
    found = f"{usable}, but the container's limit is {limit:g}: threads beyond it wait for each other"
    return Finding("machine", "cores", "note", found, mend, facts)


def core_limit(control_groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores that the control groups of this process allow. None without a limit."""
    limits = []
    for folder in groups_of_this_process(control_groups, "cpu"):
        with suppress(OSError, ValueError):  # version 2: "150000 100000", or "max 100000"
            quota, period = (folder / "cpu.max").read_text().split()
            limits.append(float(quota) / float(period))
        with suppress(OSError, ValueError):  # version 1; -1 is no limit
            quota = (folder / "cpu.cfs_quota_us").read_text()
            if float(quota) > 0:
                limits.append(float(quota) / float((folder / "cpu.cfs_period_us").read_text()))
    return min(limits, default=None)


def memory(control_groups: Path = Path("/sys/fs/cgroup"), table: Path = Path("/proc/meminfo")) -> Finding:
    """Memory of the machine, what is free of it, and the limit of the container."""
    held: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in table.read_text().splitlines():
            name, _, amount = line.partition(":")
            if amount.strip().endswith("kB"):
                held[name] = int(amount.split()[0]) * 1024
    total, free, limit = held.get("MemTotal"), held.get("MemAvailable"), memory_limit(control_groups)
    facts = {"bytes": total, "available": free, "limit": limit}
    if total is None:
        return Finding("machine", "memory", "ok", "cannot be told on this system", facts=facts)
    limited = limit is not None and limit < total
    found = f"{total / 1e9:.1f} GB" + (f", {free / 1e9:.1f} GB available" if free is not None else "")
    found += f"; the container's limit is {limit / 1e9:.1f} GB" if limited and limit is not None else ""
    usable = min(amount for amount in (total, free, limit) if amount is not None)
    if usable < LEAST_MEMORY:
        mend = "stop other programs, raise the container's limit, or take a smaller model"
        return Finding("machine", "memory", "note", f"{found}: this is little", mend, facts)
    return Finding("machine", "memory", "ok", found, facts=facts)


def memory_limit(control_groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The bytes of memory that the control groups of this process allow. None without a limit."""
    limits = []
    for folder in groups_of_this_process(control_groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" is no limit
                limits.append(int((folder / name).read_text()))
    return min((limit for limit in limits if limit < 2**60), default=None)  # version 1 writes a huge number for none


def groups_of_this_process(root: Path, controller: str) -> Iterator[Path]:
    """The folder of each control group that limits this process, in version 2 and 1."""
    yield root  # in a container, this is the container's own
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, place = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        base = root / controller if names else root
        own = base / place.lstrip("/")
        yield base
        for folder in (own, *own.parents):
            if folder == base or base not in folder.parents:
                break
            yield folder


def disks(gallery: Path | None) -> list[Finding]:
    """Free space where galleries, downloaded models and temporary files lie."""
    found = []
    with suppress(OSError):  # the working directory may have been deleted
        found.append(disk("disk here", Path.cwd(), None))
    if gallery is not None:
        found.append(disk("disk of the gallery", gallery, "free some space, or keep records for less time"))
    try:
        found.append(disk("disk of models", cache_folder(), f"set {FOLDER} to a folder that you may write"))
    except InputError as error:  # its message says what to do
        found.append(Finding("machine", "disk of models", "note", str(error)))
    try:
        found.append(disk("disk of temporary files", Path(tempfile.gettempdir()), "set TMPDIR to another folder"))
    except OSError:
        mend = "set TMPDIR to a folder that you may write"
        found.append(Finding("machine", "disk of temporary files", "note", "no folder can be written", mend))
    return found


def disk(name: str, path: Path, mend: str | None) -> Finding:
    """The disk on which ``path`` lies, or will lie once it is made."""
    there = path.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        usage = shutil.disk_usage(there)
    except OSError as error:
        return Finding("machine", name, "note", f"{path}: {error.strerror}", mend)
    writable = os.access(there, os.W_OK)
    facts = {"path": str(path), "free": usage.free, "bytes": usage.total, "writable": writable}
    found = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free ({path})"
    if not writable:
        return Finding("machine", name, "note", f"{found}, cannot be written", mend, facts)
    if usage.free < LEAST_DISK:
        return Finding("machine", name, "note", f"{found}: this is little", mend or "free some space", facts)
    return Finding("machine", name, "ok", found, facts=facts)


def clock(now: float) -> Finding:
    """Whether the clock can be right, and whether the system synchronises it."""
    in_step = synchronised()
    facts = {"now": now, "synchronised": in_step, "timezone": os.environ.get("REID_TIMEZONE", "UTC")}
    try:
        shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        shown = f"{now:g} seconds since 1970"
    mend = "turn on time synchronisation: `timedatectl set-ntp true`, or install chrony"
    if not EARLIEST <= now <= LATEST:
        wrong = f"{shown} cannot be right: times of people, retention and certificates depend on it"
        return Finding("machine", "clock", "note", wrong, mend, facts)
    if in_step is False:
        found = f"{shown}; the system does not synchronise it (a virtual machine may get its time from its host)"
        return Finding("machine", "clock", "note", found, mend, facts)
    told = "synchronised" if in_step else "whether it is synchronised cannot be told here"
    return Finding("machine", "clock", "ok", f"{shown}, {told}", facts=facts)


def synchronised() -> bool | None:
    """Whether the kernel's clock is kept in step with others. None if the system does not tell."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    state = (ctypes.c_ubyte * 512)()  # struct timex, with its first field 0: nothing is set. It has 208 bytes
    try:
        answer = ctypes.CDLL(None).adjtimex(state)
    except (OSError, AttributeError):
        return None
    status = int.from_bytes(bytes(state[40:44]), sys.byteorder)
    return None if answer < 0 else not status & NOT_SYNCHRONISED


def gpus() -> Finding:
    """NVIDIA's GPUs, by their driver's own command."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("machine", "GPU", "ok", "none, or no NVIDIA driver", facts={"gpus": []})
    names = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not names:
        said = (done.stdout + done.stderr).strip().splitlines()
        mend = "mend the NVIDIA driver; in a container, start it with the GPU (`--gpus all`)"
        return Finding("machine", "GPU", "note", said[0] if said else "nvidia-smi fails", mend, {"gpus": []})
    return Finding("machine", "GPU", "ok", "; ".join(names), facts={"gpus": names})
