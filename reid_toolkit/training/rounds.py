"""Algorithm 1: learn from the clusters, extract, select, merge, and again."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import LookupTable, in_passes
from reid_toolkit.training.batches import draw_epoch
from reid_toolkit.training.clock import Clock
from reid_toolkit.training.crop_cache import remove_crop_file
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.distributed import ALONE, World, over_processes
from reid_toolkit.training.features import Features, extract, free_of_cameras
from reid_toolkit.training.merging import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.network import ReidNetwork, build_network
from reid_toolkit.training.progress import AfterStep, Interrupt, Step
from reid_toolkit.training.run_folder import Checkpoint, RunFolder
from reid_toolkit.training.samples import Samples, load_samples, prefetch
from reid_toolkit.training.schedule import epochs, learning_rate, plan
from reid_toolkit.training.stage_metrics import stage_figures
from reid_toolkit.training.state import Place, State, latest, remove_states, save_state, snapshot
from reid_toolkit.training.step import Batch, Learner
from reid_toolkit.training.tensor_files import save_tensors

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
    on_load: Callable[[int, int | None], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    world: World = ALONE,
) -> list[dict[str, Any]]:
    """Run Algorithm 1 on a dataset and write a run folder; returns the rows of metrics.jsonl.

    Identities in the dataset are dropped before anything else. With ``resume``, a run that was stopped goes on from
    the last file that it wrote: at the end of a stage, within one every ``checkpoint_seconds``, and at Ctrl-C (see
    ``progress.py``). On the CPU it gives what an unbroken run would have given, to the bit; ``deterministic`` asks
    torch for the same on a GPU. ``on_warning`` is told of damaged files passed over.

    The processes of a ``world`` share each batch and the extraction of features; the first one merges and writes.

    Raises:
        RunError: the folder holds another run, the loss diverges, there are fewer than two samples, or the processes
            cannot share a batch evenly or see different datasets.
        ImageError: a crop cannot be read and ``bad`` is None (see ``datasets.reading.read_crops``).
    """
    device = device or torch.device("cpu")
    clock, folder, precision = Clock(), RunFolder(out), recipe.training.precision
    fingerprint = dataset.fingerprint

    def begin() -> tuple[State | None, dict[str, Tensor]]:
        folder.check(recipe, fingerprint, resume=resume)
        state = latest(folder, on_warning or (lambda message: None))
        return state, state.weights if state else build_network(recipe.network, recipe.seed).state_dict()

    begun, weights = world.share(begin)
    network = ReidNetwork(recipe.network)
    network.load_state_dict(weights)
    with clock.phase("load"):
        samples = load_samples(
            without_identities(dataset), recipe.network.height, recipe.network.width,
            images=recipe.training.samples == "images", device=device, cache=folder.crops, bad=bad, on_progress=on_load,
            world=world,
        )  # fmt: skip
    names = [(tracklet.name, tracklet.camera) for tracklet in samples.tracklets]
    pairs = cannot_link(samples) if recipe.merging.cannot_link else None
    schedule = plan(recipe, len(samples))
    world.check_same((fingerprint, len(samples)), f"{dataset.root}: differs between processes: copy one to all")
    world.check_divides(min(recipe.training.batch_size, len(samples)))

    labels = begun.labels if begun else torch.arange(len(samples))
    metrics = begun.metrics if begun else []
    if len(labels) != len(samples):
        raise RunError(
            f"{out}: was trained on {len(labels)} samples, of which {len(samples)} can be read now: restore the "
            "others, or train into another --out"
        )
    if world.first and not begun:
        folder.start(recipe, fingerprint)
        save_tensors(folder.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
    if world.first and metrics:
        folder.publish(metrics, names, recipe.selection)
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    if world.size > 1:
        over_processes(network, device)
    features: Features | None = None

    board = SummaryWriter(str(folder.events), purge_step=len(metrics)) if world.first else None
    interrupt = Interrupt()
    # Several processes would have to agree on a step to end at: they end at once, and lose what is not saved yet.
    watched = interrupt.watched() if world.size == 1 else nullcontext()
    with watched, board or nullcontext(), training_on(device, recipe, deterministic=deterministic):
        for stage in range(len(metrics), schedule.stages):
            if metrics and not metrics[-1]["merges"]:
                break  # the constraints forbid every merge that is left
            if begun and begun.rows is not None:
                table, place = LookupTable(begun.rows.to(device), recipe.training.table_momentum), begun.place
                clock.add(begun.seconds)
            else:
                with clock.phase("extract"):
                    features = features or extract(network, samples, device, precision=precision, world=world)
                table, place = make_table(features, labels, recipe, device), Place(stage)
            graph = device.type == "cuda" and world.size == 1
            learner = Learner(network, table, recipe.training, world=world, graph=graph)
            if begun:
                learner.restore(begun.momentum, begun.loss_sum)
                begun = None

            def save(place: Place, learner: Learner = learner, labels: Tensor = labels) -> None:
                with clock.phase("save"):
                    # Of the stages before: at an interrupt, this one's row may be among them already.
                    before = metrics[: place.stage]
                    save_state(folder.checkpoints, snapshot(learner, place, labels, before, clock, folder))

            clusters = int(labels.max()) + 1
            after_step = AfterStep(
                schedule, clusters, on_step, save if world.first else None, checkpoint_seconds, interrupt
            )
            with clock.phase("train"), interrupt.held():
                loss = learn(learner, samples, labels, recipe, place, after_step)
            with after_step.saving_at_interrupt():
                with clock.phase("extract"):
                    features = extract(network, samples, device, precision=precision, world=world)
                if not bool(features.descriptors.isfinite().all()):
                    raise RunError(f"stage {stage}: the network diverged: lower the recipe's learning rates")
                crops = schedule.steps[stage] * min(recipe.training.batch_size, len(samples)) * recipe.training.frames
                speed = round(crops / clock.seconds["train"], 1)
                row: dict[str, Any] = {"stage": stage, "clusters": clusters, "loss": loss, "images_per_second": speed}
                row["crops"] = samples.tier
                last = stage + 1 == schedule.stages
                merge = partial(
                    measure_and_merge,
                    features,
                    labels,
                    samples,
                    pairs,
                    0 if last else schedule.merges,
                    recipe,
                    clock,
                    device,
                )
                found, next_labels = world.share(merge)
                row |= found | clock.row()
                metrics.append(row)
                if board:
                    for key, value in row.items():
                        if key not in ("stage", "crops") and value is not None:
                            board.add_scalar(key, value, stage)
                    with clock.phase("save"):
                        weights = {key: value.cpu() for key, value in network.state_dict().items()}
                        folder.save(Checkpoint(stage, weights, labels, next_labels, metrics))
                        folder.publish(metrics, names, recipe.selection)
            labels = next_labels
    if world.first:
        remove_states(folder.checkpoints)
    if world.local_rank == 0:
        remove_crop_file(folder.crops)
    return metrics


def measure_and_merge(
    features: Features,
    labels: Tensor,
    samples: Samples,
    pairs: NDArray[np.int64] | None,
    merges: int,
    recipe: Recipe,
    clock: Clock,
    device: torch.device,
) -> tuple[dict[str, Any], Tensor]:
    """What a stage's features say of its clusters, for metrics.jsonl, and the clusters (N,) of the next."""
    with clock.phase("measure"):
        cameras = [tracklet.camera for tracklet in samples.tracklets]
        if recipe.merging.camera_statistics:
            features = free_of_cameras(features, cameras)
        row = asdict(stage_figures(features, labels, cameras, device))
        row |= {"largest_cluster": int(torch.bincount(labels).max())}
    row |= {"merges": 0, "merges_forbidden": None, "violations_without": None}
    if not merges or not can_merge(labels.numpy(), pairs):
        return row, labels
    with clock.phase("merge"):
        merging, stopped = merge_allowed(features.descriptors, labels, merges, pairs, recipe.merging, device)
    return row | {"merges": len(merging.history)} | stopped, merging.labels


def make_table(features: Features, labels: Tensor, recipe: Recipe, device: torch.device) -> LookupTable:
    """A row for each cluster, as the network sees it now."""
    embeddings, momentum = features.embeddings.to(device), recipe.training.table_momentum
    return LookupTable.from_clusters(embeddings, labels.to(device), momentum)


def learn(
    learner: Learner,
    samples: Samples,
    labels: Tensor,
    recipe: Recipe,
    start: Place,
    after_step: Callable[[Place, float], None],
) -> float:
    """Train a stage on ``labels`` (N,) int64, on the CPU, from ``start`` on; returns the last epoch's mean loss.

    ``after_step`` is called with the place after it, and with the epoch's mean loss as it was last looked at.

    Raises:
        RunError: the loss is not finite.
    """
    stage, first = start.stage, start.step
    loss, looked = math.nan, -math.inf
    numbers = range(start.epoch, epochs(recipe.training, stage))
    # The next epoch is drawn while this one is learned.
    drawn_ahead = prefetch(partial(draw_epoch, samples, recipe, stage), numbers, threads=1, ahead=1)
    for epoch, drawn in zip(numbers, drawn_ahead, strict=True):
        learner.set_rate(learning_rate(recipe.training, stage, epoch))
        if not first:
            learner.loss_sum.zero_()
        classes = labels[drawn.samples]
        order, sizes = in_passes(classes)
        device = learner.device
        own = drawn.part(learner.world.rank, learner.world.size)
        classes, order, at_device = classes.to(device), order.to(device), own.to(device)
        own_classes = classes.chunk(learner.world.size, dim=1)[learner.world.rank]
        crops = own.crops.to(samples.pixels.rows.device)
        for step, pixels in enumerate(samples.read_ahead(crops[first:]), first):
            batch = Batch(pixels, *at_device.views(step), own_classes[step])
            learner.step(batch, classes[step], order[step].split(sizes[step]))
            if time.monotonic() - looked > READ_EVERY:
                loss, looked = float(learner.loss_sum) / (step + 1), time.monotonic()
            after_step(Place(stage, epoch, step + 1), loss)
        first = 0
        loss = float(learner.loss_sum) / len(drawn)
        if not math.isfinite(loss):
            raise RunError(f"stage {stage}, epoch {epoch}: the loss is not finite: lower the recipe's learning rates")
    return loss
