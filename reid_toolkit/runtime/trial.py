"""Chooses between onnxruntime on the CPU and OpenVINO by a short measurement, which is remembered.

    CACHE/providers/
      KEY.json     the choice for a model, by versions, processor, threads and batch size
      .lock        locked while a process measures, because two at once would mislead each other

The choice is made for each of two cases, because they can differ: several crops at once, and a crop alone.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from reid_toolkit.errors import ReidError, first_line
from reid_toolkit.files import locked, parse_json, write_atomic
from reid_toolkit.runtime.session import usable_cores
from reid_toolkit.version import __version__

TOLERANCE = 1e-4
"""How far apart the two descriptors of a crop may be. A distance between two crops then changes by at most twice as
much, 0.0002: a fifth of the last digit in which `reid calibrate` shows its limits. At the steepest curve that we have
seen (20 a unit) a probability changes by at most 0.1 points."""
MARGIN = 1.1
"""OpenVINO must be so many times as fast as onnxruntime, by the clock and by the processor's time. Other work on the
machine slows the clock's seconds at random, but hardly the processor's."""
TURNS = 6
"""Turns of each. The best turn of each counts, because other work on the machine can only slow a turn."""
TURN_SECONDS = 0.1
"""A turn takes about so long at most: fewer crops than the batch size if the network is slow."""
PATIENCE = 30.0
"""Seconds to wait for another process that measures."""
FORMAT = "reid-provider-1"

Short = Literal["cpu", "openvino"]
Rows = NDArray[np.float32]
Run = Callable[[NDArray[np.uint8]], Rows]
"""A batch (B, H, W, 3) to descriptors (B, D)."""


@dataclass(frozen=True)
class Choice:
    """Which of the two runs a model."""

    several: Short
    """For several crops at once."""
    alone: Short
    """For a crop alone."""
    why: str
    """A sentence for people."""
    faster: dict[str, float] | None = None
    """How many times as fast as onnxruntime OpenVINO was, for "several" and "alone": by the clock or by the processor's
    time, the smaller."""
    difference: float | None = None
    """The largest distance between the two descriptors of a crop."""
    crops: int | None = None
    """How many crops were several."""


STAY = Choice("cpu", "cpu", "")
UNFINISHED = "the process that measured ended unexpectedly"
"""Why, while a process measures. Without the lock, it may be measuring still."""


def chosen(fingerprint: str, threads: int | None, batch_size: int, measure: Callable[[], Choice]) -> Choice:
    """The remembered choice for a model, or what ``measure`` finds, which is then remembered. Never raises.

    If the cache folder cannot be written, nothing is measured: each start would have to measure again.
    """
    facts = facts_of(fingerprint, threads, batch_size)
    try:
        path = folder() / f"{key_of(facts)}.json"
        held = read(path, facts)
        if held and held.why != UNFINISHED:
            return held
        path.parent.mkdir(parents=True, exist_ok=True)
        with waiting_for(path.parent / ".lock"):
            return read(path, facts) or measured(path, facts, measure)
    except TimeoutError:
        return replace(STAY, why=f"another process has been measuring for {PATIENCE:.0f} seconds")
    except (OSError, ReidError) as error:
        why = f"not measured, because the cache folder cannot be used ({first_line(error)}); REID_CACHE names another"
        return replace(STAY, why=why)


def measured(path: Path, facts: dict[str, Any], measure: Callable[[], Choice]) -> Choice:
    """Measure, and remember what is found."""
    # If OpenVINO ends this process, as on a processor that it was not built for, the next start does not try again.
    write(path, facts, replace(STAY, why=UNFINISHED))
    try:
        choice = measure()
    except Exception as error:  # openvino's exceptions have no common base class
        choice = replace(STAY, why=f"the measurement failed: {first_line(error)}")
    except BaseException:  # an interruption says nothing about OpenVINO
        path.unlink(missing_ok=True)
        raise
    write(path, facts, choice)
    return choice


def compare(plain: Run, other: Run, batch_size: int, size: tuple[int, int], cores: int) -> Choice:
    """Compare onnxruntime (``plain``) with OpenVINO (``other``): descriptors first, then speed, in turns."""
    crops = drawn(1, *size)
    plain(crops)
    seconds = min(timed(plain, crops)[0] for _ in range(3))
    count = min(batch_size, max(cores, int(TURN_SECONDS * cores / seconds)))
    crops = drawn(count, *size)
    cases = {"alone": crops[:1], "several": crops}  # in this order, because two descriptors that differ end the trial
    difference = 0.0
    for batch in cases.values():
        apart = float(np.linalg.norm(plain(batch) - other(batch), axis=1).max())
        difference = max(difference, apart if np.isfinite(apart) else 2.0)
        if difference > TOLERANCE:
            why = f"OpenVINO's descriptors differ by {difference:.2g}, more than calibration allows ({TOLERANCE:g})"
            return replace(STAY, why=why, difference=difference, crops=len(batch))
    faster = {}
    for name, batch in cases.items():
        turns = np.array([(timed(plain, batch), timed(other, batch)) for _ in range(TURNS)])
        theirs, ours = turns.min(axis=0)
        faster[name] = float((theirs / ours).min())
    picked: dict[str, Short] = {name: "openvino" if faster[name] >= MARGIN else "cpu" for name in cases}
    if cores == 1 and faster["alone"] < 1:  # both cases have one session, so that the model is in memory once
        picked["several"] = "cpu"
    if cores == 1:
        picked["alone"] = picked["several"]
    why = (
        f"OpenVINO is {faster['several']:.2f} times as fast as onnxruntime with {count} crops at once and "
        f"{faster['alone']:.2f} times with a crop alone (used from {MARGIN:g} times)"
    )
    return Choice(picked["several"], picked["alone"], why, faster, difference, count)


def timed(run: Run, batch: NDArray[np.uint8]) -> tuple[float, float]:
    """Seconds of a run: by the clock, and of the processor over all threads."""
    began, busy = time.perf_counter(), time.process_time()
    run(batch)
    return time.perf_counter() - began, max(time.process_time() - busy, 1e-9)


def drawn(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """(count, height, width, 3) uint8: soft blobs under fine noise, with as much light and contrast as photos have."""
    import cv2

    generator = np.random.default_rng(0)
    crops = np.empty((count, height, width, 3), np.uint8)
    for crop in crops:
        blobs = generator.integers(0, 256, (max(height // 16, 2), max(width // 16, 2), 3)).astype(np.uint8)
        soft = cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)
        crop[:] = np.clip(soft + generator.normal(0, 4, soft.shape), 0, 255)
    return crops


def remembered(fingerprint: str) -> list[tuple[dict[str, Any], Choice]]:
    """The choices for a model on this machine, with the versions that are installed now: (facts, choice)."""
    found = []
    with suppress(OSError, ReidError):
        for path in sorted(folder().glob("*.json")):
            facts = facts_in(path)
            now = facts and facts_of(fingerprint, facts.get("threads"), facts.get("batch_size"))
            if facts and facts == now and (choice := read(path, facts)):
                found.append((facts, choice))
    return found


def folder() -> Path:
    """The folder of choices. Raises :class:`InputError` if there is no home folder."""
    from reid_toolkit.catalogue.cache import cache_folder

    return cache_folder() / "providers"


def facts_of(fingerprint: str, threads: Any, batch_size: Any) -> dict[str, Any]:
    """All that a choice depends on."""
    return {
        "model": fingerprint, "reid": __version__, "onnxruntime": onnxruntime.__version__,
        "openvino": version_of("openvino") or version_of("onnxruntime-openvino"), "processor": processor(),
        "cores": usable_cores(), "threads": threads, "batch_size": batch_size,
    }  # fmt: skip


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name and a digest of its instructions, because virtual machines often hide the exact name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    told = {name.strip(): value.strip() for name, value in told.items()}
    flags = told.get("flags") or told.get("Features") or ""
    name = told.get("model name") or told.get("CPU part") or ""
    return f"{platform.machine()} {name} {hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def key_of(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def facts_in(path: Path) -> dict[str, Any] | None:
    """The facts of a stored choice. None if the file is damaged."""
    try:
        table = parse_json(path.read_text(encoding="utf-8"))
        facts = table["facts"] if table["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None


def read(path: Path, facts: dict[str, Any]) -> Choice | None:
    """The stored choice for these facts. None if there is none, or if the file is damaged."""
    if facts_in(path) != facts:
        return None
    try:
        table = parse_json(path.read_text(encoding="utf-8"))["choice"]
        choice = Choice(**table)
        sound = {choice.several, choice.alone} <= {"cpu", "openvino"} and isinstance(choice.why, str)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if sound else None


def write(path: Path, facts: dict[str, Any], choice: Choice) -> None:
    write_atomic(path, json.dumps({"format": FORMAT, "facts": facts, "choice": asdict(choice)}, indent=1) + "\n")


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold the lock of a file. Raises :class:`TimeoutError` if another process holds it for ``PATIENCE`` seconds."""
    if os.name == "nt":  # two processes at once only measure twice
        yield
        return
    until = time.monotonic() + PATIENCE
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path))
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError from None
            time.sleep(0.1)
        yield
