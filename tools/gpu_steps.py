"""The steps of tools/gpu_session.py: what each runs, and the seconds it needs. Not a command."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from gpu_goals import MILLION, TAUGHT, UNTAUGHT, WHOLE

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    name: str
    seconds: int
    """What it needs. It does not begin with less, and the steps before it leave it as much."""
    command: Callable[[int], str]
    """The words after ``python``, for the seconds that it gets."""
    extra: bool = False
    """Whether it only uses time that the others left."""
    lacks: str = ""
    """What is missing for it. Then it does not run."""


def steps(options: argparse.Namespace) -> list[Step]:
    """Return all steps, in order of worth."""
    make = _Tiny(options) if options.tiny else _Commands(options)
    pictures = make.lacks()
    return [
        Step("training", 390, make.training),
        Step("cuhk03", 165, lambda _: make.study(UNTAUGHT), lacks=pictures),
        Step("million", 112, make.million),
        Step("embedder", 43, make.embedder),
        Step("plain", 70, make.plain, extra=True),
        Step("clusters", 90, make.clusters, extra=True),
        Step(
            "taught", 165, make.taught, extra=True,
            lacks=pictures or ("" if make.teacher else "a teacher: an ONNX file in the pack"),
        ),
        Step("tests", 60, lambda _: "-m pytest -q -m gpu tests/method tests/training tests/runtime", extra=True),
    ]  # fmt: skip


class _Commands:
    """The commands, in full size."""

    training_rows, training_size = f"--rows {WHOLE}", "--device cuda"
    study_size = ""
    merging_size, sizes = "--device cuda --dimension 2048", (MILLION, 50_000)
    plain_seconds = 40
    # TensorRT comes last, because it may build its engine for minutes.
    embedder_size = "--models resnet50 --ways 'ours, CUDA' 'torch eager, CUDA' 'ours, TensorRT' --seconds 0.5"

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, named(options.out)
        self.teacher: Path | None = next(iter(sorted(options.pack.glob("*.onnx"))), None) if options.pack else None

    def lacks(self) -> str:
        """Return what the study of CUHK03 lacks."""
        if not self.options.pack or not (self.options.pack / "train").is_dir():
            return "a pack with pictures: --pack"
        return "" if self.options.weights.is_file() else f"weights: there is no file {named(self.options.weights)}"

    def training(self, limit: int) -> str:
        # Outside of --seconds come the start, the drawing and the last stage; outside of --timeout the first two.
        times = f"--epochs 20 --seconds {limit - 45} --timeout {limit - 25}"
        return f"{self.bench_training()} {self.training_rows} {times} --out {self.out}/training.json"

    def plain(self, limit: int) -> str:
        times = f"--seconds {self.plain_seconds} --timeout {limit - 25}"
        return f"{self.bench_training()} --rows plain {times} --out {self.out}/plain.json"

    def bench_training(self) -> str:
        return f"tools/bench_training.py {self.training_size}"

    def study(self, row: str) -> str:
        read = f"--pictures {named(self.options.pack)} --weights {named(self.options.weights)} --he-2015"
        kept = f"--runs {named(self.options.runs)} --json {self.out}/cuhk03.json"
        return f"tools/study_cuhk03.py {read} {kept} --rows {quote(row)} {self.study_size}".rstrip()

    def taught(self, _: int) -> str:
        return f"{self.study(TAUGHT)} --teacher {named(self.teacher)}"

    def million(self, limit: int) -> str:
        # The smaller set comes last, and takes half a minute. It says how the cost grows if a million takes too long.
        sizes = " ".join(map(str, self.sizes))
        return self.merging(f"--data people --paths camera_aware --sizes {sizes} --timeout {limit - 40}")

    def clusters(self, limit: int) -> str:
        what = f"--data clustered --paths bounded --sizes {self.sizes[0]}"
        return self.merging(f"{what} --tf32 --timeout {limit - 10}")  # TF32 is for screening only

    def merging(self, what: str) -> str:
        return f"tools/bench_merging.py {self.merging_size} {what} --append --out {self.out}/merging.json"

    def embedder(self, limit: int) -> str:
        how = f"--sources frame --batches 1 16 64 --threads 2 --rounds 1 --timeout {limit - 20}"
        return f"tools/bench_embedder.py {self.embedder_size} {how} --out {self.out}/embedder.json"


class _Tiny(_Commands):
    """The same commands in miniature, on the CPU. Most CPUs emulate bfloat16, so it is left out."""

    training_rows = "--rows dbc"
    training_size = "--device cpu --images 32 --height 32 --width 32 --backbone resnet18"
    study_size = "--people 30 --size 64 32 --rounds 2 2 --precision float32"
    merging_size, sizes = "--device cpu --dimension 16", (400, 200)
    plain_seconds = 2
    embedder_size = "--models demo --ways ours 'ours, CUDA' 'torch eager, CUDA' 'ours, TensorRT' --seconds 0.05"


def named(path: Path | None) -> str:
    """Return the path as commands name it, for a shell. They run in the repository's folder."""
    return quote(str(path.relative_to(ROOT) if path and path.is_relative_to(ROOT) else path))
