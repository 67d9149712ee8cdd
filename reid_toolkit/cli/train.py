"""``reid train``: learn from a dataset, with a word before on what will be done, and a bar that says where it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from reid_toolkit.cli.console import log, print_json, warn, warn_bad
from reid_toolkit.cli.options import FOLDER, MODEL, Number, Size, json_output, skip_bad

if TYPE_CHECKING:
    from reid_toolkit.config import Recipe
    from reid_toolkit.datasets import Dataset
    from reid_toolkit.training.clock import Phase
    from reid_toolkit.training.progress import Step


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--recipe", help="A shipped recipe's name, or a TOML file. [default: chosen for machine and dataset]")
@click.option("--out", type=FOLDER, required=True, help="The run folder to write.")
@click.option(
    "--minutes",
    type=Number(min=0, min_open=True),
    help="Run as many rounds as fit in about that time.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out where it was stopped.")
@click.option(
    "--checkpoint-seconds",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    help="Seconds between two saved states within a stage.",
)
@click.option("--weights", help="'imagenet', 'none', or a state dict's file; instead of the recipe's.")
@click.option(
    "--backbone",
    help="Instead of the recipe's: mobilenet_v2, osnet_x0_25, timm:repvit_m0_9, ... An unknown one lists them.",
)
@click.option(
    "--size", type=Size(), help="Height and width of the network's input, as 128x64; instead of the recipe's."
)
@click.option(
    "--teacher",
    type=MODEL,
    metavar="MODEL",
    help="A model of `reid adopt` or `reid export`, or the name of one of `reid models`, that knows people: the first "
    "two thirds of the rounds learn the clusters that it sees.",
)
@click.option("--seed", type=int, help="Instead of the recipe's.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs of this machine to share.")
@click.option(
    "--deterministic", is_flag=True, help="On a GPU, the same bits each time, and slower; a CPU gives them anyway."
)
@skip_bad
@json_output
def command(
    dataset: Path,
    recipe: str | None,
    out: Path,
    minutes: float | None,
    resume: bool,
    checkpoint_seconds: float,
    weights: str | None,
    backbone: str | None,
    size: tuple[int, int] | None,
    teacher: Path | None,
    seed: int | None,
    device: str,
    gpus: int,
    deterministic: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Learn who is who from DATASET, without labels.

    Without --recipe it looks at the machine and the dataset, times a few steps, and says what it will do and how long
    that takes. Change it with --minutes, --backbone and --size.

    DATASET is a folder of `reid ingest`, a plain folder of crops, or a benchmark in its own layout. The run folder
    gets metrics, TensorBoard events, a checkpoint a stage, and the selected model. Stopped at any moment, it goes on
    with --resume: Ctrl-C saves the step it is at, and a second one ends it at once; after a power cut a minute's work
    is lost at most.
    """
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.errors import InputError
    from reid_toolkit.recipe_files import load_recipe
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.training.devices import choose_device
    from reid_toolkit.training.distributed import join_world
    from reid_toolkit.training.launch import check_gpus, is_one_of_many, launch, telling_launcher
    from reid_toolkit.training.rounds import train
    from reid_toolkit.training.run_folder import RunFolder
    from reid_toolkit.training.teaching import taught_by
    from reid_toolkit.training.verdict import FEW, Verdict

    named = load_recipe(recipe) if recipe else None
    height, width = size or (None, None)
    network: dict[str, Any] = {"weights": weights, "backbone": backbone, "height": height, "width": width}
    given = {name: value for name, value in network.items() if value is not None}

    def change(found: "Recipe") -> "Recipe":
        return replace(found, network=replace(found.network, **given), seed=found.seed if seed is None else seed)

    if gpus > 1 and not is_one_of_many():
        check_gpus(gpus, device)
        options = {"--recipe": recipe, "--out": out, "--checkpoint-seconds": checkpoint_seconds, "--weights": weights}
        shape = f"{size[0]}x{size[1]}" if size else None
        options |= {
            "--teacher": teacher and str(teacher),
            "--backbone": backbone,
            "--size": shape,
            "--seed": seed,
            "--device": device,
            "--minutes": minutes,
        }
        flags = {"--resume": resume, "--deterministic": deterministic, "--skip-bad": skip_bad, "--json": as_json}
        launch(gpus, [
            "train", str(dataset), *(flag for flag, given in flags.items() if given),
            *(str(part) for option in options.items() if option[1] is not None for part in option),
        ])  # fmt: skip
        return
    with telling_launcher(), join_world(device) as (world, device):
        data = open_dataset(dataset)
        bad: list[str] | None = [] if skip_bad else None
        pictures = named is not None and named.training.samples == "images"
        count, what = (len(data.crops), "pictures") if pictures else (len(data.tracklets), "tracklets")
        if world.first and count < FEW:
            warn(
                f"{dataset}: {count} {what} are few to learn from: with less than {FEW} it cannot be "
                "told whether training helps, so the network before training is kept unless its weights were random; "
                "give it more footage of different people"
            )
        if world.first and len(data.cameras) == 1:
            warn(
                f"{dataset}: one camera: the network cannot learn how a person looks in another camera, so expect less"
            )
        begun = world.share(partial(RunFolder(out).begun, resume=resume))
        if begun and minutes is not None:
            raise InputError(f"--minutes: {out} goes on with the rounds that it began with: leave --minutes out")
        going_on = begun and not recipe
        plan = partial(plan_run, named, change, data, device, minutes, world.size)
        chosen = change(RunFolder(out).recipe()) if going_on else world.share(plan)
        tutor = Embedder(teacher) if teacher else None
        if tutor:
            chosen = taught_by(chosen, tutor)
        unit = "round" if chosen.rounds.count else "stage"
        with training_bars(unit, hidden=not world.first) as (on_load, on_phase, on_step):
            metrics = train(
                data, chosen, out, resume=resume, device=choose_device(device), deterministic=deterministic,
                checkpoint_seconds=checkpoint_seconds, bad=bad, on_load=on_load, on_phase=on_phase, on_step=on_step,
                on_warning=warn, world=world, teacher=tutor,
            )  # fmt: skip
    if not world.first:
        return
    warn_bad(bad)
    model = RunFolder(out).model()
    if as_json:
        print_json({"run": str(out), "selected": model, "stages": metrics})
        return
    log.print(f"{out}: {story(metrics, model)}{stopped(metrics)}{read_from(metrics)}", markup=False, soft_wrap=True)
    if model.get("verdict"):
        log.print(Verdict(**model["verdict"]).sentence(), markup=False, soft_wrap=True)


def story(metrics: list[dict[str, Any]], model: dict[str, Any]) -> str:
    """What was done, and which stage is kept."""
    from reid_toolkit.training.selection import START

    last = metrics[-1]
    if "learned_clusters" in last:
        done = f"{len(metrics)} rounds, the last learned {last['learned_clusters']} clusters"
        unit, clusters = "round", last["learned_clusters"]
    else:
        done = f"{len(metrics)} stages, {metrics[0]['clusters']} samples merged into {last['clusters']} clusters"
        unit, clusters = "stage", model["clusters"]
    if model["stage"] == START:
        return f"{done}; the network before training is kept"
    kept = clusters if model["stage"] == last["stage"] else model["clusters"]
    return f"{done}; selected {unit} {model['stage']} ({kept} clusters)"


def stopped(metrics: list[dict[str, Any]]) -> str:
    """What the constraints did, where somebody was seen at once with another."""
    counts = [row["merges_forbidden"] for row in metrics if row.get("merges_forbidden") is not None]
    return f"; {sum(counts)} merges of people seen at once were stopped" if counts else ""


def read_from(metrics: list[dict[str, Any]]) -> str:
    """Where the crops were kept, which a run of an earlier version does not say."""
    tier = metrics[-1].get("crops")
    return f"; crops read from {tier}" if tier else ""


class TimeLeft(TimeRemainingColumn):
    """Counts down to a task's ``ends``, a time of time.monotonic, where it has one."""

    def render(self, task: Task) -> Text:
        ends = task.fields.get("ends")
        if ends is None:
            return super().render(task)
        minutes, seconds = divmod(max(0, round(ends - time.monotonic())), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", style="progress.remaining")


DOING: "dict[Phase, str]" = {
    "load": "reads crops", "train": "learns", "extract": "describes all crops", "measure": "measures",
    "merge": "clusters", "save": "saves",
}  # fmt: skip


@contextmanager
def training_bars(
    unit: str, *, hidden: bool = False
) -> Iterator[tuple[Callable[[int, int | None], None], Callable[["Phase"], None], Callable[["Step"], None]]]:
    """Yield callbacks for crops read, for what training does now, and for training steps.

    Stages or rounds (``unit``) have the numbers that metrics and reports give them, from 0 to the last one's.
    """
    # What is longest comes last, where a narrow terminal cuts it off.
    columns = TextColumn("{task.description}"), BarColumn(), TimeLeft(), TextColumn("{task.fields[state]}")
    with Progress(*columns, console=log, disable=hidden) as progress:
        reading = progress.add_task("read crops", total=None, state="")
        training = progress.add_task("train", total=None, state="", ends=None, visible=False)
        where = ""

        def on_load(done: int, total: int | None) -> None:
            progress.update(reading, completed=done, total=total, state=f"{done}/{total}")

        def on_phase(phase: "Phase") -> None:
            progress.update(training, state=f"{where}{DOING[phase]}", visible=phase != "load")

        def on_step(step: "Step") -> None:
            nonlocal where
            where = f"{unit} {step.stage}/{step.stages - 1} · "
            ends = None if step.seconds_left is None else time.monotonic() + step.seconds_left
            state = f"{where}learns {step.clusters} clusters · loss {step.loss:.3f}"
            progress.update(training, completed=step.done, total=step.total, state=state, ends=ends)

        yield on_load, on_phase, on_step
        progress.update(training, state=f"{where}done", ends=time.monotonic())


def plan_run(
    named: "Recipe | None",
    change: "Callable[[Recipe], Recipe]",
    data: "Dataset",
    device: str,
    minutes: float | None,
    processes: int,
) -> "Recipe":
    """The recipe to train by: the one that was ``named``, or one that suits the machine, with the ``change`` of other
    options. What is chosen here is said, with the time that it takes.

    Raises:
        InputError: ``minutes`` cannot be met.
    """
    from reid_toolkit.recipe_files import load_recipe
    from reid_toolkit.training.choosing import propose, recipe_name, suited
    from reid_toolkit.training.devices import choose_device, device_name

    if named and minutes is None:
        return change(named)
    on, name = choose_device(device), recipe_name(data)
    recipe = change(named or suited(load_recipe(name), on))
    by = "" if named else f"; recipe {name}"
    proposed = propose(recipe, data, on, minutes=minutes, processes=processes)
    network, cameras = proposed.recipe.network, len(data.cameras)
    log.print(
        f"{data.root}: {len(data.tracklets):,} tracklets of {cameras} {'camera' if cameras == 1 else 'cameras'}, "
        f"{len(data.crops):,} crops{by}; {network.backbone} at {network.height}x{network.width}, "
        f"{proposed.recipe.rounds.count} rounds of {proposed.steps} training steps on {device_name(on)}: "
        f"takes {in_words(proposed.seconds)}, estimated from a few steps timed here; change that with --minutes, "
        "--backbone or --size",
        markup=False,
        soft_wrap=True,
    )
    return proposed.recipe


def in_words(seconds: float) -> str:
    """A forecast, no more exact than it is."""
    minutes = seconds / 60
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:.1f} hours"
