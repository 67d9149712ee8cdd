"""Algorithm 1: learn from the clusters, extract, select, merge, and again."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.batches import epoch_batches, steps_per_epoch
from reid_toolkit.training.checkpoint import Checkpoint, RunFolder, save_tensors, seeded
from reid_toolkit.training.constraints import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.features import extract
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.selection import select, self_retrieval
from reid_toolkit.training.store import Samples, load_samples
from reid_toolkit.training.transforms import augment


@dataclass(frozen=True)
class Step:
    """Where training is, for a progress display."""

    stage: int
    stages: int
    """Stages in all, so far as can be known."""
    clusters: int
    loss: float
    done: int
    """Training steps done, of ``total``, in this whole run."""
    total: int


@dataclass(frozen=True)
class Plan:
    """How long a run is: fixed by the recipe and the number of samples."""

    merges: int
    """The paper's k: merges between two stages."""
    stages: int
    steps: tuple[int, ...]
    """Training steps of each stage."""


def plan(recipe: Recipe, count: int) -> Plan:
    """Algorithm 1's schedule for ``count`` samples: train while C > k, merging k after each stage.

    The merge after the last stage is left out, since nothing would be trained on it.
    """
    merges = max(1, math.floor(recipe.merging.fraction * count))
    stages = math.ceil((count - merges) / merges)
    per_epoch = steps_per_epoch(count, recipe.training.batch_size)
    first, later = recipe.training.first_epochs, recipe.training.later_epochs
    return Plan(merges, stages, tuple(per_epoch * (later if stage else first) for stage in range(stages)))


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
        images=recipe.training.samples == "images", bad=bad, on_progress=on_load,
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

            def report(loss: float, steps: int, stage: int = stage, clusters: int = clusters) -> None:
                if on_step:
                    done = sum(schedule.steps[:stage]) + steps
                    on_step(Step(stage, schedule.stages, clusters, loss, done, sum(schedule.steps)))

            loss = learn(network, table, samples, labels.to(device), recipe, stage, device, report)
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
    return metrics


def learn(
    network: ReidNetwork,
    table: LookupTable,
    samples: Samples,
    labels: torch.Tensor,
    recipe: Recipe,
    stage: int,
    device: torch.device,
    report: Callable[[float, int], None],
) -> float:
    """Train one stage against its clusters with the repelled loss (Eq. 2); returns the last epoch's mean loss."""
    settings = recipe.training
    optimiser = torch.optim.SGD(
        network.parameter_groups(settings.backbone_factor), lr=settings.first_learning_rate,
        momentum=settings.momentum, nesterov=settings.momentum > 0, weight_decay=settings.weight_decay,
    )  # fmt: skip
    generator = seeded(recipe.seed, stage)
    network.train()
    steps, losses = 0, [math.nan]
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())  # dropout draws from torch's own generator
        for epoch in range(settings.later_epochs if stage else settings.first_epochs):
            rate = settings.later_learning_rate if stage else settings.first_learning_rate
            if not stage and epoch >= settings.decay_after:
                rate /= 10
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            losses = []
            for batch in epoch_batches(samples, settings.batch_size, settings.frames, generator):
                images = augment(to_rgb(samples.read(batch.crops).to(device)), settings, generator)
                pooled = network(standardise(images))  # (B * frames, D)
                pooled = pooled.view(len(batch.samples), settings.frames, -1).mean(dim=1)
                embedded = network.embed(pooled)  # (B, E)
                targets = labels[torch.from_numpy(batch.samples).to(device)]
                loss = F.cross_entropy(table.logits(embedded, settings.temperature), targets)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                table.update(embedded.detach(), targets)
                losses.append(loss.item())
                steps += 1
                report(losses[-1], steps)
            if not math.isfinite(sum(losses)):
                raise RunError(
                    f"stage {stage}, epoch {epoch}: the loss is not finite: lower the recipe's learning rates"
                )
    return float(np.mean(losses))


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
