"""Runs everything that waits for a GPU: one command, 12 minutes of one H200 with 16 cores.

    python tools/gpu_session.py --out results --pack .carry/pack
    python tools/gpu_session.py --out results --pack .carry/pack --seconds 570    where a command may take 600 s
    python tools/gpu_session.py --out trial --pack .carry/pack --tiny             in miniature, on a CPU

The steps, in order of worth: the whole schedule of `dbc` at Market-1501's size, `dbc_cameras` with ResNet-50 on CUHK03,
neighbours and merging of a million samples, and the embedder with CUDA and TensorRT. If time is left: the plain way to
train, merge_clusters on a million samples, `dbc_cameras` taught by another model, and the tests marked gpu.

Each step has a time of its own, and gets what earlier steps left over. It begins only if its time is left. A step that
takes too long is stopped, and the next one begins. The same command again goes on: it skips the steps that are done,
runs those that were not tried, and then repeats those that failed. For this it needs OUT, and --runs to resume a
training that was stopped.

OUT gets the JSON of each tool, log.txt, and summary.json: each goal as met, missed or not measured, and each step. The
status is 0 if no step failed and none is left. --pack is a folder of tools/pack_session.py. If it holds an ONNX file of
`reid adopt`, that is the teacher. --wheels is a folder of wheels that this machine lacks. They are installed into
--runs, without their dependencies.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from gpu_goals import GOALS, Goal, read
from gpu_steps import ROOT, Step, steps
from machine import gpu, save

GRACE = 3
"""Seconds between asking a step to end and ending it."""
TRIED = ("failed", "stopped")


class Session:
    """What was done so far, in OUT/summary.json, and the time that is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.end = options, time.monotonic() + options.seconds
        self.path, self.log = options.out / "summary.json", options.out / "log.txt"
        options.out.mkdir(parents=True, exist_ok=True)
        options.runs.mkdir(parents=True, exist_ok=True)
        known = read(self.path)
        if known.get("tiny", options.tiny) != options.tiny:
            made = "without" if options.tiny else "with"
            sys.exit(f"error: {options.out}: holds results of a session {made} --tiny: name another folder")
        self.steps: dict[str, dict[str, Any]] = known.get("steps", {})
        self.packages = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]

    def left(self) -> float:
        return self.end - time.monotonic()

    def keep(self, name: str, status: str, **about: object) -> None:
        """Write what became of a step."""
        self.steps[name] = {"status": status, **about}
        print(f"== {name}: {status}{''.join(f', {key} {value}' for key, value in about.items())}", flush=True)
        self.write()

    def write(self) -> list[dict[str, str]]:
        """Write the summary, and return its goals."""
        goals = [{"goal": goal.says, **self.result(goal)} for goal in GOALS]
        about = {"date": date.today().isoformat(), "device": gpu(), "tiny": self.options.tiny}
        save(self.path, about | {"goals": goals, "steps": self.steps})
        return goals

    def result(self, goal: Goal) -> dict[str, str]:
        if self.options.tiny:
            return {"result": "not measured", "figures": "in miniature, figures mean nothing"}
        found = goal.judge(self.options.out)
        if found:
            return {"result": found[0], "figures": found[1]}
        step = self.steps.get(goal.step, {"status": "waits"})
        says = f": {step['says']}" if "says" in step else ""
        return {"result": "not measured", "figures": f"step {goal.step} {step['status']}{says}"}

    def run(self, step: Step, limit: int) -> None:
        """Run a step for at most ``limit`` seconds. Its output goes to the log."""
        command = f"python {step.command(limit)}"
        words = shlex.split(command)[1:]
        print(f"== {step.name}, at most {limit} s: {command}", flush=True)
        status, seconds, output = self.call(f"{step.name}: {command}", words, limit)
        print("\n".join(output[-12:]), flush=True)
        about: dict[str, object] = {"seconds": round(seconds, 1), "limit": limit, "command": command}
        if status is None:
            self.keep(step.name, "stopped", says=f"more than {limit} s", **about)
        elif status:
            self.keep(step.name, "failed", says=(output or [f"status {status}"])[-1], **about)
        else:
            self.keep(step.name, "done", **about)

    def call(self, title: str, words: list[str], limit: float) -> tuple[int | None, float, list[str]]:
        """Return the status (None: it took too long), the seconds and the lines of a Python command.

        It has a process group of its own, which ends with it: processes that it started must not use the GPU longer.
        """
        began, limit = time.monotonic(), max(1, limit)
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(self.packages)}
        if self.options.tiny:
            environment.setdefault("OMP_NUM_THREADS", "1")  # so small a work only waits for more threads
        with self.log.open("a+b") as log:
            log.write(f"== {title}\n".encode())
            log.flush()
            start = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                process_group=0,
            )  # fmt: skip
            status: int | None = None
            try:
                status = process.wait(max(0.5, limit - GRACE))
            except subprocess.TimeoutExpired:
                send(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
            finally:
                send(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(start)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        return status, time.monotonic() - began, lines


def send(group: int, what: signal.Signals) -> None:
    """Send a signal to all processes of a group, if there are any."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, what)


def next_step(waiting: list[Step], left: float) -> tuple[Step, int] | None:
    """Return the step to run now, and its seconds: its own, and what the others that can still run do not need."""
    for extra in (False, True):
        chosen, spare = [], int(left)
        for step in waiting:
            if step.extra == extra and step.seconds <= spare:
                chosen.append(step)
                spare -= step.seconds
        if chosen:
            return chosen[0], chosen[0].seconds + spare
    return None


def install(session: Session, wheels: Path) -> None:
    """Install the wheels into a folder of this session, once."""
    site = session.options.runs / "site"
    if not site.exists():
        files = [str(path) for path in sorted(wheels.glob("*.whl"))]
        how = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(site) + ".new"]
        status, _, output = session.call("install", ["-m", "pip", "install", *how, *files], min(60, session.left()))
        if status != 0:
            sys.exit(f"error: --wheels {wheels}: {(output or ['more than 60 s'])[-1]}")
        Path(str(site) + ".new").rename(site)
    session.packages.append(str(site))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; a second call goes on there")
    parser.add_argument("--pack", type=Path, help="CUHK03 and weights, as tools/pack_session.py makes them")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of ResNet-50; by default those in the pack")
    parser.add_argument("--runs", type=Path, help="folder of unfinished training runs; by default OUT-runs")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to use in addition to what is installed")
    parser.add_argument("--seconds", type=int, default=720, help="time of this call")
    parser.add_argument("--tiny", action="store_true", help="the same steps in miniature, on the CPU")
    options = parser.parse_args(arguments)
    options.weights = options.weights or (options.pack or Path()) / "weights.safetensors"
    options.runs = options.runs or options.out.with_name(options.out.name + "-runs")
    for name in ("out", "pack", "weights", "runs", "wheels"):  # steps run in the repository's folder
        if getattr(options, name):
            setattr(options, name, getattr(options, name).absolute())
    if not options.tiny and gpu() == "no GPU":
        sys.exit("error: no GPU: nvidia-smi finds none: run this on a machine with one, or in miniature with --tiny")
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # reid need not be installed
    session = Session(options)
    if options.wheels:
        install(session, options.wheels)
    return work_off(session, steps(options))


def work_off(session: Session, planned: list[Step]) -> int:
    """Run the steps that are not done, those that were never tried first. Returns the status of the command."""
    for step in planned:
        if step.lacks and status_of(session, step) != "done":
            session.keep(step.name, "cannot run", says=f"it needs {step.lacks}")
    waiting = [step for step in planned if not step.lacks and status_of(session, step) != "done"]
    waiting.sort(key=lambda step: status_of(session, step) in TRIED)
    while chosen := next_step(waiting, session.left()):
        step, limit = chosen
        waiting.remove(step)
        session.run(step, limit)
    left = max(0, int(session.left()))
    for step in waiting:
        if status_of(session, step) not in TRIED:
            session.keep(step.name, "waits", says=f"it needs {step.seconds} s, and {left} s were left")
    for goal in session.write():
        print(f"{goal['result']:12}  {goal['goal']}: {goal['figures']}")
    return int(any(status_of(session, step) in (*TRIED, "waits") for step in planned))


def status_of(session: Session, step: Step) -> str:
    return str(session.steps.get(step.name, {}).get("status", ""))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a running step ends too
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
