"""Algorithm 1: learn from the clusters, extract, select, merge, and again."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.checkpoint import Checkpoint, RunFolder, save_tensors
from reid_toolkit.training.constraints import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.crop_file import remove_crop_file
from reid_toolkit.training.features import extract
from reid_toolkit.training.learner import Learner
from reid_toolkit.training.network import ReidNetwork, build_network
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.selection import select, self_retrieval
from reid_toolkit.training.stage import learn
from reid_toolkit.training.store import load_samples


@dataclass(frozen=True)
class Step:
    """Where training is, for a progress display."""

    stage: int
    stages: int
    """Stages in all, so far as can be known."""
    clusters: int
    loss: float
    """The epoch's mean, as it was about a second ago."""
    done: int
    """Training steps done, of ``total``, in this whole run."""
    total: int


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    bad: list[str] | None = None,
    on_load: Callable[[int, int | None], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> list[dict[str, Any]]:
    """Run Algorithm 1 on a dataset and write a run folder; returns the rows of metrics.jsonl.

    Identities in the dataset are dropped before anything else. With ``resume``, a run that was stopped goes on
    after its last finished stage, and gives what an unbroken run would have given on the CPU.

    Raises:
        RunError: the folder holds another run, the loss diverges, or there are fewer than two samples.
        ImageError: a crop cannot be read and ``bad`` is None (see ``datasets.reading.read_crops``).
    """
    device = device or torch.device("cpu")
    folder = RunFolder(out)
    fingerprint = dataset.fingerprint
    folder.check(recipe, fingerprint, resume=resume)
    checkpoint = folder.load(folder.stages()[-1]) if folder.stages() else None
    if checkpoint:
        network = ReidNetwork(recipe.network)
        network.load_state_dict(checkpoint.weights)
    else:
        network = build_network(recipe.network, recipe.seed)
    samples = load_samples(
        without_identities(dataset), recipe.network.height, recipe.network.width,
        images=recipe.training.samples == "images", device=device, cache=folder.crops, bad=bad, on_progress=on_load,
    )  # fmt: skip
    names = [(tracklet.name, tracklet.camera) for tracklet in samples.tracklets]
    pairs = cannot_link(samples) if recipe.merging.cannot_link else None
    schedule = plan(recipe, len(samples))

    labels = torch.arange(len(samples))
    metrics: list[dict[str, Any]] = []
    if checkpoint:
        labels, metrics = checkpoint.next_labels, checkpoint.metrics
        if len(labels) != len(samples):
            raise RunError(
                f"{out}: was trained on {len(labels)} samples, of which {len(samples)} can be read now: restore the "
                "others, or train into another --out"
            )
        folder.publish(metrics, names, select(metrics, recipe.selection))
    else:
        folder.start(recipe, fingerprint)
        save_tensors(folder.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
    network.to(device)
    features = extract(network, samples, device)

    with SummaryWriter(str(folder.events), purge_step=len(metrics)) as board:
        for stage in range(len(metrics), schedule.stages):
            if metrics and not metrics[-1]["merges"]:
                break  # the constraints forbid every merge that is left
            began = time.monotonic()
            clusters = int(labels.max()) + 1
            table = LookupTable.from_clusters(
                features.embeddings.to(device), labels.to(device), recipe.training.table_momentum
            )

            done = itertools.count(sum(schedule.steps[:stage]) + 1)

            def report(loss: float, done: Iterator[int] = done, stage: int = stage, clusters: int = clusters) -> None:
                if on_step:
                    on_step(Step(stage, schedule.stages, clusters, loss, next(done), sum(schedule.steps)))

            loss = learn(Learner(network, table, recipe.training), samples, labels, recipe, stage, report)
            features = extract(network, samples, device)
            if not bool(features.descriptors.isfinite().all()):
                raise RunError(f"stage {stage}: the network diverged: lower the recipe's learning rates")
            row: dict[str, Any] = {
                "stage": stage, "clusters": clusters, "loss": loss, "self_retrieval": self_retrieval(features),
                "largest_cluster": int(torch.bincount(labels).max()), "merges": 0, "merges_forbidden": None,
                "violations_without": None,
            }  # fmt: skip
            next_labels = labels
            if stage + 1 < schedule.stages and can_merge(labels.numpy(), pairs):
                merging, stopped = merge_allowed(
                    features.descriptors, labels, schedule.merges, pairs, recipe.merging, device
                )
                next_labels = merging.labels
                row |= {"merges": len(merging.history), **stopped}
            row["seconds"] = round(time.monotonic() - began, 3)
            metrics.append(row)
            for key, value in row.items():
                if key != "stage" and value is not None:
                    board.add_scalar(key, value, stage)
            state = {key: value.cpu() for key, value in network.state_dict().items()}
            folder.save(Checkpoint(stage, state, labels, next_labels, metrics))
            folder.publish(metrics, names, select(metrics, recipe.selection))
            labels = next_labels
    remove_crop_file(folder.crops)
    return metrics


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
