"""``reid distill``: train a small network to give the descriptors of a large one."""

from pathlib import Path

import click

from reid_toolkit.cli.console import counted, log, print_json, progress_bar, warn_bad
from reid_toolkit.cli.options import FOLDER, RUN_OR_MODEL, Number, Size, json_output, skip_bad


@click.command()
@click.argument("teacher", type=RUN_OR_MODEL)
@click.option("--student", required=True, help="The small backbone: mobilenet_v3_small, osnet_x0_25, timm:NAME, ...")
@click.option("--dataset", type=FOLDER, required=True, help="The crops to learn from; no labels are needed.")
@click.option("--out", type=FOLDER, required=True, help="The run folder to write.")
@click.option("--size", type=Size(), help="Input size of the student, e.g. 128x64.  [default: the teacher's]")
@click.option(
    "--stage", help="If TEACHER is a run: its stage best, initial, last, or a stage's number.  [default: best]"
)
@click.option(
    "--weights", default="imagenet", show_default=True,
    help="The student's first weights: imagenet, none, or the file of a state dict.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True)
@click.option("--learning-rate", type=Number(0, min_open=True), default=1e-3, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--resume", is_flag=True, help="Continue the run in --out after its last finished epoch.")
@skip_bad
@json_output
def command(
    teacher: Path,
    student: str,
    dataset: Path,
    out: Path,
    size: tuple[int, int] | None,
    stage: str | None,
    weights: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: str,
    resume: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Train a small network to give the same descriptors as a large one.

    TEACHER is a run, a model file from `reid export` or `reid adopt`, or a name from `reid models`. The student learns
    the teacher's descriptors, and its distances between crops. --out becomes a run, which `reid export` takes. If
    training was stopped, --resume continues after the last finished epoch.
    """
    if stage is not None and teacher.is_file():
        raise click.UsageError(f"--stage {stage}: {teacher} is a model file, which has no stages")
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.errors import InputError
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.training.devices import choose_device
    from reid_toolkit.training.distillation import Student, distill

    if teacher.suffix == ".onnx" and not teacher.exists():
        raise InputError(
            f"{teacher}: no such file: expected the folder of a run, or a model of `reid export` or `reid adopt`"
        )
    bad: list[str] | None = [] if skip_bad else None
    with progress_bar("distill", "steps") as on_step:
        metrics = distill(
            Embedder(teacher) if teacher.is_file() else teacher, open_dataset(dataset),
            Student(student, weights, epochs, batch_size, learning_rate, seed, size), out,
            stage=stage or "best", resume=resume, device=choose_device(device), bad=bad, on_step=on_step,
        )  # fmt: skip
    warn_bad(bad)
    if as_json:
        print_json({"run": str(out), "student": student, "epochs": metrics})
        return
    last = metrics[-1]
    log.print(
        f"{out}: {student} after {counted(len(metrics), 'epoch')}: mean cosine to the teacher "
        f"{1 - last['descriptor_loss']:.3f}; cosines between crops differ by {last['pairwise_loss'] ** 0.5:.3f} "
        "(root mean square)",
        markup=False,
        soft_wrap=True,
    )
