"""The loop: learn from the clusters, extract, measure, cluster, and again (Algorithm 1)."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import LookupTable, in_passes
from reid_toolkit.training.batches import Epoch, draw_epoch, drawing_anew
from reid_toolkit.training.clock import Clock, Phase
from reid_toolkit.training.clustering import Clustering, Targets, clustering_of
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.distributed import ALONE, World, over_processes
from reid_toolkit.training.features import Features, extract, folded, free_of_cameras
from reid_toolkit.training.freed_memory import freed_memory_kept
from reid_toolkit.training.network import ReidNetwork, centre_features, drop_dust
from reid_toolkit.training.progress import AfterStep, Pace, Step
from reid_toolkit.training.run import TrainingRun
from reid_toolkit.training.run_folder import load_network
from reid_toolkit.training.samples import Samples, load_samples, prefetch
from reid_toolkit.training.schedule import Place, epochs, learning_rate
from reid_toolkit.training.selection import START, Row, select
from reid_toolkit.training.stage_metrics import stage_figures
from reid_toolkit.training.step import Batch, Learner, make_optimiser
from reid_toolkit.training.teaching import Teacher, check_teacher, taught
from reid_toolkit.training.verdict import Verdict, compare, hold_out

CENTRED_ON = 1024
"""Crops that a new network's feature norm is set by, spread over all."""

READ_EVERY = 1.0
"""Seconds between two looks at the loss, each of which waits for the device."""


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    deterministic: bool = False,
    checkpoint_seconds: float = 60.0,
    bad: list[str] | None = None,
    teacher: Teacher | None = None,
    known: KnownPairs | None = None,
    on_load: Callable[[int, int | None], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_phase: Callable[[Phase], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    world: World = ALONE,
) -> list[dict[str, Any]]:
    """Run Algorithm 1 on a dataset, write a run folder, and return the rows of metrics.jsonl.

    Identities in the dataset are dropped before anything else. With ``resume``, a run that was stopped goes on from
    the last file that it wrote. It writes one at the end of each stage, within a stage every ``checkpoint_seconds``,
    and at Ctrl-C (see ``progress.py``). On the CPU a resumed run gives what an unbroken one would have given, to the
    bit; ``deterministic`` makes torch do the same on a GPU.

    ``teacher`` gives the clusters of the recipe's first rounds, where that has rounds that are taught. These rounds
    also learn its similarities (:func:`reid_toolkit.training.teaching.lesson_loss`). Only the first process needs it.

    ``known`` are pairs of tracklets that a user corrected: the clusters obey them. They are stored with the run. None
    takes those that a resumed run began with. Pairs with a tracklet that is held out of training are not used, and
    ``on_warning`` says how many.

    ``on_load`` is called with crops read and crops in all, ``on_phase`` with what begins, ``on_step`` after each
    training step, and ``on_warning`` for each damaged file that is passed over.

    The processes of a ``world`` share each batch and the extraction of features. The first one merges and writes.

    Raises:
        RunError: the folder holds another run, a run with other corrections, or one whose samples were in another
            order; the loss diverges; there are fewer than two samples; the processes cannot share a batch or
            norm_crops evenly, or see different datasets; or the teacher is not the recipe's.
        ImageError: a crop cannot be read and ``bad`` is None (see ``datasets.dataset.read_crops``).
    """
    device = device or torch.device("cpu")
    teachers = world.share(lambda: teacher.fingerprint if teacher else "")
    check_teacher(recipe, teachers, out)
    run, warn = TrainingRun(out, recipe, dataset.fingerprint, device, world, on_phase, known), on_warning or ignore
    network = run.restore(resume=resume, on_warning=warn)
    with run.clock.phase("load"):
        samples = load_samples(
            without_identities(dataset), recipe.network.height, recipe.network.width,
            images=recipe.training.samples == "images", device=device, cache=run.folder.crops, bad=bad,
            on_progress=on_load, world=world,
        )  # fmt: skip
    every, held = samples, hold_out(samples.tracklets, recipe.training.held_out)
    samples = every.take(~held)
    run.check(samples, dataset.root)
    lessons = None
    if teachers:
        with run.clock.phase("extract"):
            lessons = world.share(partial(lessons_of, teacher, samples, run))
    clustering = clustering_of(recipe, samples, device, lessons, used(run.known, samples, warn, world))
    world.check_divides(batch_size(recipe, len(samples)), recipe.training.norm_crops)
    if recipe.network.head == "batch_norm" and not run.state:
        world.share_weights(network, partial(centre, network, samples))
    run.start(samples)
    move_to_device(network, recipe, device, world)
    with run.recording(), training_on(device, recipe, deterministic=deterministic):
        run_stages(run, network, samples, clustering, on_step, checkpoint_seconds)
        if world.first:
            run.publish(judge(run, every, held))
    run.clean_up()
    return run.metrics


def lessons_of(teacher: Teacher | None, samples: Samples, run: TrainingRun) -> Features:
    """The features of the samples by the teacher, which the first process has."""
    assert teacher is not None
    return taught(teacher, samples.tracklets, samples.cameras, run.recipe, run.folder.lessons)


def ignore(message: str) -> None:
    """Do nothing with a warning."""


def used(known: KnownPairs, samples: Samples, on_warning: Callable[[str], None], world: World) -> KnownPairs:
    """The ``known`` pairs of which both tracklets are learned from. Says how many are not."""
    kept = known.among({tracklet.crops[0].tracklet for tracklet in samples.tracklets})
    if world.first and len(kept) < len(known):
        on_warning(
            f"{len(known) - len(kept)} of {len(known)} corrected pairs are not used, because one of their tracklets is "
            "held out of training or cannot be read"
        )
    return kept


def run_stages(
    run: TrainingRun,
    network: ReidNetwork,
    samples: Samples,
    clustering: Clustering,
    on_step: Callable[[Step], None] | None,
    checkpoint_seconds: float,
) -> None:
    """The loop: run every stage that is left, with the clusters that ``clustering`` makes.

    Raises:
        RunError: the loss or the network diverges.
    """
    recipe, device, world, clock, schedule = run.recipe, run.device, run.world, run.clock, clustering.schedule
    pace = Pace(schedule, time.monotonic())
    look = partial(look_at, network, samples, recipe, device, world)
    # Adam goes on from stage to stage.
    optimiser = make_optimiser(network, recipe.training, device) if recipe.training.optimiser == "adam" else None
    state, run.state = run.state, None  # so that its tensors are freed once they are used
    features: Features | None = None
    if state:
        labels = state.labels
    else:
        with clock.phase("extract"):
            features = look()
        start = world.share(partial(measure_start, features, samples, recipe, clock, device))
        run.save_start(start, network, len(samples))
        labels = world.share(partial(initial_labels, clustering, features, samples, recipe, clock))
    while not clustering.is_over(run.metrics):
        stage, targets = len(run.metrics), clustering.targets(len(run.metrics), labels)

        if state and state.rows is not None:  # the run was stopped within this stage
            table = LookupTable(state.rows.to(device), recipe.training.table_momentum)
            place = state.place
        else:
            with clock.phase("extract"):
                features = features or look()
            table, place = make_table(features, targets, recipe, device), Place(stage)

        graph = device.type == "cuda" and world.size == 1
        learner = Learner(
            network, table, recipe.training, optimiser=optimiser, world=world, graph=graph,
            means=lesson_means(targets, device), teacher_weight=recipe.rounds.teacher_weight,
        )  # fmt: skip
        if state:
            learner.restore(state.momentum, state.loss_sum)
            state = None
        clusters, save = len(table.rows), partial(run.save_state, learner, labels) if world.first else None
        after_step = AfterStep(pace, clusters, on_step, save, checkpoint_seconds, run.interrupt)
        with clock.phase("train"), run.interrupt.postponed(), freed_memory_kept():
            loss = learn(learner, samples, targets, recipe, place, after_step)

        if recipe.rounds.count:
            drop_dust(network)
        with after_step.saving_at_interrupt():
            with clock.phase("extract"):
                features = look()
            if not bool(features.descriptors.isfinite().all()):
                raise RunError(f"stage {stage}: the network diverged: lower the recipe's learning rates")
            crops = schedule.steps[stage] * batch_size(recipe, len(samples)) * recipe.training.frames
            speed = round(crops / clock.seconds["train"], 1)
            row: Row = {"stage": stage, "clusters": int(labels.max()) + 1, "loss": loss, "images_per_second": speed}
            row |= {"crops": samples.tier}
            finish = partial(measure_and_merge, clustering, stage, features, labels, samples, recipe, clock, device)
            next_labels, figures = world.share(finish)
            run.save_stage(row | figures, network, labels, next_labels, optimiser)
        labels = next_labels


def batch_size(recipe: Recipe, count: int) -> int:
    """Samples in a step of a run on ``count`` samples."""
    return recipe.training.batch_size if recipe.rounds.count else min(recipe.training.batch_size, count)


def centre(network: ReidNetwork, samples: Samples) -> None:
    """Give a new network's features the mean 0 and the deviation 1, as seen on :data:`CENTRED_ON` crops."""
    rows = torch.linspace(0, len(samples.crops) - 1, min(CENTRED_ON, len(samples.crops))).long()
    centre_features(network, samples.read(rows).cpu())


def look_at(network: ReidNetwork, samples: Samples, recipe: Recipe, device: torch.device, world: World) -> Features:
    """The features of all samples, as the network is now."""
    if recipe.rounds.count and device.type == "cpu":
        network = folded(network)  # rounds extract as often as they train on as many crops
    return extract(network, samples, device, precision=recipe.training.precision, world=world)


def move_to_device(network: ReidNetwork, recipe: Recipe, device: torch.device, world: World) -> None:
    """Put the network where it trains, in the memory layout that is fastest there, as one of the world's processes."""
    network.to(device)
    # Another layout is another rounding: on a CPU the paper's recipes keep theirs, so that runs give what they gave.
    if device.type == "cuda" or recipe.rounds.count:
        network.to(memory_format=torch.channels_last)
    if world.size > 1:
        over_processes(network, device)


def make_table(features: Features, targets: Targets, recipe: Recipe, device: torch.device) -> LookupTable:
    """Make a table with a row for each class, as the network sees it now."""
    kept = targets.classes >= 0
    embeddings, momentum = features.embeddings[kept].to(device), recipe.training.table_momentum
    return LookupTable.from_clusters(embeddings, targets.classes[kept].to(device), momentum)


def lesson_means(targets: Targets, device: torch.device) -> Tensor | None:
    """The teacher's mean of each class (C, L), if the stage learns from a teacher."""
    if targets.lessons is None:
        return None
    kept = targets.classes >= 0
    return LookupTable.from_clusters(targets.lessons[kept], targets.classes[kept]).rows.to(device)


def initial_labels(
    clustering: Clustering, features: Features, samples: Samples, recipe: Recipe, clock: Clock
) -> Tensor:
    """Make the clusters of stage 0 (N,)."""
    with clock.phase("merge"):
        return clustering.initial(to_cluster(features, samples, recipe))


def measure_start(features: Features, samples: Samples, recipe: Recipe, clock: Clock, device: torch.device) -> Row:
    """The line of metrics.jsonl of the network before training, to which each sample is its own cluster."""
    with clock.phase("measure"):
        figures = measure(to_cluster(features, samples, recipe), torch.arange(len(samples)), samples, device)
    return {"stage": START, "clusters": len(samples), "loss": None} | figures


def measure(features: Features, labels: Tensor, samples: Samples, device: torch.device) -> Row:
    """What a line of metrics.jsonl says of features and clusters, whoever made them."""
    row = asdict(stage_figures(features, labels, samples.cameras, device))
    return row | {"largest_cluster": int(torch.bincount(labels).max())}


def judge(run: TrainingRun, samples: Samples, held: NDArray[np.bool_]) -> Verdict | None:
    """Compare the stage that the recipe's rule keeps with the network before training; None where it keeps that one."""
    stage = select([*run.start_row, *run.metrics], run.recipe.selection)
    if stage == START:
        return None
    before, after = (
        look_at(load_network(run.folder, name).to(run.device), samples, run.recipe, run.device, ALONE)
        for name in ("initial", str(stage))
    )
    begun_from_weights = run.recipe.network.weights != "none"
    return compare(before, after, samples.cameras, held, stage, begun_from_weights=begun_from_weights)


def measure_and_merge(
    clustering: Clustering,
    stage: int,
    features: Features,
    labels: Tensor,
    samples: Samples,
    recipe: Recipe,
    clock: Clock,
    device: torch.device,
) -> tuple[Tensor, Row]:
    """Measure the clusters that a stage learned, and make those of the next stage.

    Returns the next labels (N,), and all figures for metrics.jsonl.
    """
    with clock.phase("measure"):
        features = to_cluster(features, samples, recipe)
        row = measure(features, labels, samples, device)
    with clock.phase("merge"):
        next_labels, figures = clustering.after(stage, features, labels)
    return next_labels, row | figures


def to_cluster(features: Features, samples: Samples, recipe: Recipe) -> Features:
    """The features that are measured and clustered: freed of their cameras' bias where the recipe says so."""
    if not recipe.merging.camera_statistics:
        return features
    return free_of_cameras(features, samples.cameras)


def learn(
    learner: Learner,
    samples: Samples,
    targets: Targets,
    recipe: Recipe,
    start: Place,
    after_step: Callable[[Place, float], None],
) -> float:
    """Train a stage on ``targets``, on the CPU, from ``start`` on; returns the last epoch's mean loss.

    ``after_step`` is called with the place after it, and with the epoch's mean loss as it was last looked at.

    Raises:
        RunError: the loss is not finite.
    """
    stage, first = start.stage, start.step
    loss, looked = math.nan, -math.inf
    numbers = range(start.epoch, epochs(recipe, stage))
    # The next epoch is drawn while this one is learned.
    drawn_ahead = prefetch(partial(draw_epoch, samples, recipe, targets.classes, stage), numbers, threads=1, ahead=1)
    for epoch, drawn in zip(numbers, drawn_ahead, strict=True):
        learner.set_rate(learning_rate(recipe, len(samples), stage, epoch))
        if not first:
            learner.loss_sum.zero_()
        for step, of_step in enumerate(batches(drawn, first, samples, targets, learner), first):
            with drawing_anew(learner.device, recipe.seed, stage, epoch, step, learner.world.rank):
                learner.step(*of_step)
            if time.monotonic() - looked > READ_EVERY:
                loss, looked = float(learner.loss_sum) / (step + 1), time.monotonic()
            after_step(Place(stage, epoch, step + 1), loss)
        first = 0
        loss = float(learner.loss_sum) / len(drawn)
        if not math.isfinite(loss):
            raise RunError(f"stage {stage}, epoch {epoch}: the loss is not finite: lower the recipe's learning rates")
    return loss


def batches(
    drawn: Epoch, first: int, samples: Samples, targets: Targets, learner: Learner
) -> Iterator[tuple[Batch, Tensor, Sequence[Tensor]]]:
    """What :meth:`Learner.step` takes in each step of an epoch, from step ``first`` on."""
    classes, device, world = targets.classes[drawn.samples], learner.device, learner.world
    order, sizes = in_passes(classes)
    own = drawn.part(world.rank, world.size)
    classes, order, at_device = classes.to(device), order.to(device), own.to(device)
    own_classes = classes.chunk(world.size, dim=1)[world.rank]
    weights = None if targets.weights is None else targets.weights.to(device)[own_classes]
    lessons = None if targets.lessons is None else targets.lessons[own.samples].to(device)
    crops = own.crops.to(samples.pixels.rows.device)
    for step, pixels in enumerate(samples.read_ahead(crops[first:]), first):
        boxes, colours, erased, kept = at_device.views(step)
        own_weights = None if weights is None else weights[step]
        batch = Batch(
            pixels, boxes, colours, erased, kept, own_classes[step], own_weights,
            None if lessons is None else lessons[step],
        )  # fmt: skip
        yield batch, classes[step], order[step].split(sizes[step])
