"""Algorithm 1: learn from the clusters, extract, select, merge, and again."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.checkpoint import Checkpoint, RunFolder
from reid_toolkit.training.clock import Clock
from reid_toolkit.training.constraints import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.crop_file import remove_crop_file
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.features import Features, extract
from reid_toolkit.training.figures import stage_figures
from reid_toolkit.training.learner import Learner
from reid_toolkit.training.network import ReidNetwork, build_network
from reid_toolkit.training.progress import AfterStep, Step
from reid_toolkit.training.resume import latest, snapshot
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.selection import select
from reid_toolkit.training.stage import learn
from reid_toolkit.training.state import Place, remove_states, save_state
from reid_toolkit.training.store import load_samples
from reid_toolkit.training.tensor_files import save_tensors


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    checkpoint_seconds: float = 60.0,
    bad: list[str] | None = None,
    on_load: Callable[[int, int | None], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Run Algorithm 1 on a dataset and write a run folder; returns the rows of metrics.jsonl.

    Identities in the dataset are dropped before anything else. With ``resume``, a run that was stopped goes on from
    the last file that it wrote: at the end of a stage, and within one every ``checkpoint_seconds``. On the CPU it
    gives what an unbroken run would have given, to the bit. ``on_warning`` is told of damaged files passed over.

    Raises:
        RunError: the folder holds another run, the loss diverges, or there are fewer than two samples.
        ImageError: a crop cannot be read and ``bad`` is None (see ``datasets.reading.read_crops``).
    """
    device = device or torch.device("cpu")
    clock, folder, precision = Clock(), RunFolder(out), recipe.training.precision
    fingerprint = dataset.fingerprint
    folder.check(recipe, fingerprint, resume=resume)
    begun = latest(folder, on_warning or (lambda message: None))
    if begun:
        network = ReidNetwork(recipe.network)
        network.load_state_dict(begun.weights)
    else:
        network = build_network(recipe.network, recipe.seed)
    with clock.phase("load"):
        samples = load_samples(
            without_identities(dataset), recipe.network.height, recipe.network.width,
            images=recipe.training.samples == "images", device=device, cache=folder.crops, bad=bad, on_progress=on_load,
        )  # fmt: skip
    names = [(tracklet.name, tracklet.camera) for tracklet in samples.tracklets]
    pairs = cannot_link(samples) if recipe.merging.cannot_link else None
    schedule = plan(recipe, len(samples))

    labels = begun.labels if begun else torch.arange(len(samples))
    metrics = begun.metrics if begun else []
    if len(labels) != len(samples):
        raise RunError(
            f"{out}: was trained on {len(labels)} samples, of which {len(samples)} can be read now: restore the "
            "others, or train into another --out"
        )
    if not begun:
        folder.start(recipe, fingerprint)
        save_tensors(folder.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
    if metrics:
        folder.publish(metrics, names, select(metrics, recipe.selection))
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    features: Features | None = None

    with SummaryWriter(str(folder.events), purge_step=len(metrics)) as board, training_on(device, recipe):
        for stage in range(len(metrics), schedule.stages):
            if metrics and not metrics[-1]["merges"]:
                break  # the constraints forbid every merge that is left
            if begun and begun.rows is not None:
                table, place = LookupTable(begun.rows.to(device), recipe.training.table_momentum), begun.place
                clock.add(begun.seconds)
            else:
                with clock.phase("extract"):
                    features = features or extract(network, samples, device, precision=precision)
                table, place = make_table(features, labels, recipe, device), Place(stage)
            learner = Learner(network, table, recipe.training, graph=device.type == "cuda")
            if begun:
                learner.restore(begun.momentum, begun.loss_sum)
                begun = None

            def save(place: Place, learner: Learner = learner, labels: Tensor = labels) -> None:
                with clock.phase("save"):
                    save_state(folder.checkpoints, snapshot(learner, place, labels, metrics, clock, folder))

            clusters = int(labels.max()) + 1
            with clock.phase("train"):
                after_step = AfterStep(schedule, clusters, on_step, save, checkpoint_seconds)
                loss = learn(learner, samples, labels, recipe, place, after_step)
            with clock.phase("extract"):
                features = extract(network, samples, device, precision=precision)
            if not bool(features.descriptors.isfinite().all()):
                raise RunError(f"stage {stage}: the network diverged: lower the recipe's learning rates")
            crops = schedule.steps[stage] * min(recipe.training.batch_size, len(samples)) * recipe.training.frames
            with clock.phase("measure"):
                row: dict[str, Any] = {
                    "stage": stage, "clusters": clusters, "loss": loss,
                    **asdict(stage_figures(features, labels, [camera for _, camera in names], device)),
                    "largest_cluster": int(torch.bincount(labels).max()), "merges": 0, "merges_forbidden": None,
                    "violations_without": None, "images_per_second": round(crops / clock.seconds["train"], 1),
                    "crops": samples.tier,
                }  # fmt: skip
            next_labels = labels
            if stage + 1 < schedule.stages and can_merge(labels.numpy(), pairs):
                with clock.phase("merge"):
                    merging, stopped = merge_allowed(
                        features.descriptors, labels, schedule.merges, pairs, recipe.merging, device
                    )
                next_labels = merging.labels
                row |= {"merges": len(merging.history), **stopped}
            metrics.append(row | clock.row())
            for key, value in metrics[-1].items():
                if key not in ("stage", "crops") and value is not None:
                    board.add_scalar(key, value, stage)
            with clock.phase("save"):
                weights = {key: value.cpu() for key, value in network.state_dict().items()}
                folder.save(Checkpoint(stage, weights, labels, next_labels, metrics))
                folder.publish(metrics, names, select(metrics, recipe.selection))
            labels = next_labels
    remove_states(folder.checkpoints)
    remove_crop_file(folder.crops)
    return metrics


def make_table(features: Features, labels: Tensor, recipe: Recipe, device: torch.device) -> LookupTable:
    """A row for each cluster, as the network sees it now."""
    embeddings, momentum = features.embeddings.to(device), recipe.training.table_momentum
    return LookupTable.from_clusters(embeddings, labels.to(device), momentum)


def choose_device(name: str) -> torch.device:
    """ "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:N"; else :class:`RunError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"device {name!r} cannot be used here ({reason}): expected cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise RunError(f"device {name!r} is not one we train on: expected cpu, cuda or cuda:N")
    return device
