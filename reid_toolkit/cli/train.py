"""``reid train``: says what it will do, learns from a dataset, and says whether that helped."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli.console import counted, log, print_json, warn, warn_bad
from reid_toolkit.cli.known_corrections import corrections_of, corrections_option
from reid_toolkit.cli.options import FOLDER, MODEL, Number, Size, json_output, skip_bad
from reid_toolkit.cli.training_bars import training_bars
from reid_toolkit.errors import InputError

if TYPE_CHECKING:
    from reid_toolkit.config import Recipe
    from reid_toolkit.datasets import Dataset


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--recipe", help="A shipped recipe's name, or a TOML file. [default: one that suits machine and dataset]")
@click.option("--out", type=FOLDER, required=True, help="The run folder to write.")
@click.option(
    "--minutes",
    type=Number(min=0, min_open=True),
    help="Run as many rounds as fit in about this time.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out where it was stopped.")
@click.option(
    "--checkpoint-seconds",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    help="Seconds between two saved states within a stage.",
)
@click.option("--weights", help="'imagenet', 'none', or a file with a state dict. [default: the recipe's]")
@click.option(
    "--backbone",
    help="mobilenet_v2, osnet_x0_25, timm:repvit_m0_9, ...; an unknown name lists all. [default: the recipe's]",
)
@click.option(
    "--size", type=Size(), help="Height and width of the network's input, such as 128x64. [default: the recipe's]"
)
@click.option(
    "--teacher",
    type=MODEL,
    metavar="MODEL",
    help="A model that can tell people apart: a file of `reid adopt` or `reid export`, or a name from `reid models`. "
    "The first two thirds of the rounds learn the clusters that it finds, and how similar it finds people to them.",
)
@corrections_option
@click.option("--seed", type=int, help="[default: the recipe's]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs of this machine to share.")
@click.option(
    "--deterministic", is_flag=True, help="Slower on a GPU, but gives the same bits each time; a CPU always does."
)
@skip_bad
@json_output
@click.pass_context
def command(
    context: click.Context,
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
    corrections: str | None,
    seed: int | None,
    device: str,
    gpus: int,
    deterministic: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Learn who is who from DATASET, without labels.

    Without --recipe, it looks at the machine and the dataset, times a few steps, and says what it will do and how long
    that takes. Change the plan with --minutes, --backbone and --size.

    DATASET is a folder of `reid ingest`, a plain folder of crops, or a benchmark in its own layout. The run folder
    gets metrics, TensorBoard events, a checkpoint for each stage, and the selected model. A run that was stopped goes
    on with --resume. Ctrl-C saves the current step; a second Ctrl-C stops at once. After a power cut, at most a
    minute's work is lost.
    """
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.recipe_files import load_recipe
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.training.devices import choose_device
    from reid_toolkit.training.distributed import join_world
    from reid_toolkit.training.launch import check_gpus, is_one_of_many, launch, telling_launcher
    from reid_toolkit.training.rounds import train
    from reid_toolkit.training.run_folder import RunFolder
    from reid_toolkit.training.teaching import taught_by

    named = None if recipe is None else load_recipe(recipe)
    if gpus > 1 and not is_one_of_many():
        check_gpus(gpus, device)
        launch(gpus, ["train", *as_typed(context, leave_out="--gpus")])
        return
    bad: list[str] | None = [] if skip_bad else None
    with telling_launcher(), join_world(device) as (world, device):
        data = open_dataset(dataset)
        if world.first:
            warn_of_little(data, named)
        begun = world.share(partial(RunFolder(out).begun, resume=resume))
        if begun and minutes is not None:
            raise InputError(f"--minutes: {out} goes on with the rounds that it began with: leave --minutes out")
        change = partial(changed, weights=weights, backbone=backbone, size=size, seed=seed)
        plan = partial(plan_run, named, change, data, device, minutes, world.size, deterministic)
        # Only the first process has the run folder, and only it asks the teacher. The others may be on other machines.
        chosen = change(world.share(RunFolder(out).recipe)) if begun and named is None else world.share(plan)
        tutor = Embedder(teacher) if teacher and world.first else None
        chosen = world.share(lambda: taught_by(chosen, tutor) if tutor else chosen)
        known = None if corrections is None else world.share(partial(corrections_of, corrections, data))
        unit = "round" if chosen.rounds.count else "stage"
        with training_bars(unit, hidden=not world.first) as (on_load, on_phase, on_step):
            metrics = train(
                data, chosen, out, resume=resume, device=choose_device(device), deterministic=deterministic,
                checkpoint_seconds=checkpoint_seconds, bad=bad, on_load=on_load, on_phase=on_phase, on_step=on_step,
                on_warning=warn, world=world, teacher=tutor, known=known,
            )  # fmt: skip
    if world.first:
        warn_bad(bad)
        show(out, metrics, as_json=as_json)


def as_typed(context: click.Context, *, leave_out: str) -> list[str]:
    """The arguments that start this command again with the same options, in another process."""
    words = []
    for param in context.command.params:
        value = context.params[str(param.name)]
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif value is not None and value is not False and leave_out not in param.opts:
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [param.opts[0]] if value is True else [param.opts[0], text]
    return words


def changed(
    recipe: "Recipe", *, weights: str | None, backbone: str | None, size: tuple[int, int] | None, seed: int | None
) -> "Recipe":
    """The recipe with the options that override it."""
    height, width = size or (None, None)
    settings: dict[str, Any] = {"weights": weights, "backbone": backbone, "height": height, "width": width}
    given = {name: value for name, value in settings.items() if value is not None}
    return replace(recipe, network=replace(recipe.network, **given), seed=recipe.seed if seed is None else seed)


def warn_of_little(data: "Dataset", named: "Recipe | None") -> None:
    """Say before the work if there is too little to learn from."""
    from reid_toolkit.training.verdict import FEW

    pictures = named is not None and named.training.samples == "images"
    count, what = (len(data.crops), "pictures") if pictures else (len(data.tracklets), "tracklets")
    if count < FEW:
        warn(
            f"{data.root}: {count} {what} are few to learn from: with less than {FEW} it cannot be told whether "
            "training helps, so the network before training is kept unless its weights were random; give it more "
            "footage of different people"
        )
    if len(data.cameras) == 1:
        warn(f"{data.root}: one camera: the network cannot learn how a person looks in another camera, so expect less")


def show(out: Path, metrics: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print what was done, which stage is kept, and whether training helped."""
    from reid_toolkit.training.run_folder import RunFolder
    from reid_toolkit.training.verdict import read_verdict

    folder = RunFolder(out)
    model = folder.model()
    if as_json:
        print_json({"run": str(out), "selected": model, "stages": metrics})
        return
    said = f"{story(metrics, model)}{stopped(metrics, corrected='corrections' in model)}{read_from(metrics)}"
    log.print(f"{out}: {said}", markup=False, soft_wrap=True)
    if verdict := read_verdict(folder):
        log.print(verdict.sentence(), markup=False, soft_wrap=True)


def story(metrics: list[dict[str, Any]], model: dict[str, Any]) -> str:
    """What was done, and which stage is kept."""
    from reid_toolkit.training.selection import START

    last = metrics[-1]
    if "learned_clusters" in last:
        done = f"{counted(len(metrics), 'round')}, the last learned {last['learned_clusters']} clusters"
        unit, clusters = "round", last["learned_clusters"]
    else:
        stages = counted(len(metrics), "stage")
        begun = "clusters" if "corrections" in model else "samples"  # corrections tie samples together
        done = f"{stages}, {metrics[0]['clusters']} {begun} merged into {last['clusters']} clusters"
        unit, clusters = "stage", model["clusters"]
    if model["stage"] == START:
        return f"{done}; the network before training is kept"
    kept = clusters if model["stage"] == last["stage"] else model["clusters"]
    return f"{done}; selected {unit} {model['stage']} ({counted(kept, 'cluster')})"


def stopped(metrics: list[dict[str, Any]], *, corrected: bool) -> str:
    """What the constraints did, where somebody was seen at once with another, or a user said that they are two."""
    counts = [row["merges_forbidden"] for row in metrics if row.get("merges_forbidden") is not None]
    whom = "people seen at once, or kept apart by corrections," if corrected else "people seen at once"
    return f"; {sum(counts)} merges of {whom} were stopped" if counts else ""


def read_from(metrics: list[dict[str, Any]]) -> str:
    """Where the crops were kept, which a run of an earlier version does not say."""
    tier = metrics[-1].get("crops")
    return f"; crops read from {tier}" if tier else ""


def plan_run(
    named: "Recipe | None",
    change: "Callable[[Recipe], Recipe]",
    data: "Dataset",
    device: str,
    minutes: float | None,
    processes: int,
    deterministic: bool,
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
    proposed = propose(recipe, data, on, minutes=minutes, processes=processes, deterministic=deterministic)
    network, cameras = proposed.recipe.network, len(data.cameras)
    log.print(
        f"{data.root}: {counted(len(data.tracklets), 'tracklet')} of {counted(cameras, 'camera')}, "
        f"{counted(len(data.crops), 'crop')}{by}; {network.backbone} at {network.height}x{network.width}, "
        f"{counted(proposed.recipe.rounds.count, 'round')} of {proposed.steps} training steps on {device_name(on)}: "
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
