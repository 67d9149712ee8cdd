"""Runs probes in processes of their own, because an import can crash or hang."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

SECONDS = 60.0
"""For a probe. A healthy one needs about a second."""


def probe(name: str, *arguments: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The answer of the probe ``name`` (a function of :mod:`reid_toolkit.doctor.probes`).

    If it fails, the answer has ``error``, one line, instead: of a Python exception, of a crash, or of a probe that does
    not end. ``signal`` is the name of the signal that ended it, if there was one.
    """
    code = "from reid_toolkit.doctor.probes import main; main()"
    # -P: files of the working directory must not stand in for modules.
    command = [sys.executable, "-P", "-c", code, name, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"does not answer within {seconds:g} s"}
    if done.returncode < 0:
        ended = signal.Signals(-done.returncode).name
        return {"error": f"crashes the process ({ended})", "signal": ended}
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        return {"error": said[-1][:300] if said else f"ends with status {done.returncode}"}
    return answer
