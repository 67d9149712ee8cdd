"""Trains a small network, the student, to give a teacher's descriptors. It uses crops alone, without identities.

The teacher is a run, or a model file such as those of ``reid adopt``. The student sees the same views as the teacher,
or smaller ones if a size is given, and learns to match

- the teacher's descriptor, through the student's embedding head: a linear map if their widths differ;
- the distances between crops, by the student's own descriptors, which are those that will be exported.

Matching a larger network's outputs on the same views follows Hinton et al. 2015 and Beyer et al. 2022; matching
distances follows Park et al. 2019 (relational knowledge distillation).
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe, Recipe, RoundsRecipe
from reid_toolkit.datasets import Dataset, without_identities
from reid_toolkit.errors import RunError
from reid_toolkit.files import write_atomic
from reid_toolkit.training.augmentation import augment
from reid_toolkit.training.batches import draw_cuts
from reid_toolkit.training.freed_memory import freed_memory_kept
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.run_folder import RunFolder, load_network, load_tensors, save_tensors
from reid_toolkit.training.samples import Samples, load_samples
from reid_toolkit.training.teaching import Model
from reid_toolkit.training.tensor_files import on_cpu
from reid_toolkit.version import __version__

PAIRS = 10.0
"""Weight of the pairwise loss, because its squared differences of cosines are about a tenth of the other loss."""


@dataclass(frozen=True)
class Student:
    """The settings of a student. Crops are cut and mirrored as in the teacher's recipe, or as in the paper if the
    teacher is a model file."""

    backbone: str
    weights: str = "imagenet"
    """As in ``config.NetworkRecipe.weights``."""
    epochs: int = 60
    """Passes over all crops."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    """AdamW's rate at the first step. It falls to 0 along half a cosine."""
    seed: int = 0
    size: tuple[int, int] | None = None
    """Height and width of its input; None for the teacher's size."""

    def recipe(self, teacher: Recipe, dimension: int) -> Recipe:
        """Make the student's recipe from the teacher's and the width of the teacher's descriptors."""
        height, width = self.size or (teacher.network.height, teacher.network.width)
        network = NetworkRecipe(
            self.backbone, self.weights, embedding=dimension, dropout=0.0, height=height, width=width
        )
        training = replace(
            teacher.training, samples="images", frames=1, batch_size=self.batch_size, first_epochs=self.epochs,
            first_learning_rate=self.learning_rate, norm_crops=0,  # not used here, and may not divide this batch
        )  # fmt: skip
        return replace(teacher, seed=self.seed, network=network, training=training, rounds=RoundsRecipe())


class Guide(Protocol):
    """A teacher that computes descriptors of views."""

    recipe: Recipe
    """Only the size of views, and how crops are cut, are used."""
    dimension: int
    fingerprint: str

    def __call__(self, views: Tensor) -> Tensor:
        """Map views (B, 3, H, W), RGB from 0 to 1, to descriptors (B, D) of length 1."""


class RunGuide:
    """A run's network at one stage, as a teacher. See :class:`Guide`."""

    def __init__(self, path: Path, stage: str, device: torch.device) -> None:
        """Raises :class:`RunError` if ``path`` holds no run or the run has no such stage."""
        source = RunFolder(path)
        source.dataset()  # raises if it is no run
        self.network = load_network(source, stage).to(device).eval()
        self.recipe = source.recipe()
        self.dimension = self.network.dimension
        self.fingerprint = fingerprint(self.network)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> Tensor:
        return F.normalize(self.network(standardise(views)), dim=1)


class ModelGuide:
    """A model file, run by its runtime, as a teacher. See :class:`Guide`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        about = model.metadata
        self.recipe = Recipe(network=NetworkRecipe(height=about.height, width=about.width))
        self.dimension = about.dimension
        self.fingerprint = model.fingerprint

    def __call__(self, views: Tensor) -> Tensor:
        crops = (views.clamp(0, 1) * 255).round().to(torch.uint8)
        bgr = crops.flip(1).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return torch.from_numpy(self.model.embed(list(bgr))).to(views.device)


def distill(
    teacher: Path | Model,
    dataset: Dataset,
    student: Student,
    out: Path,
    *,
    stage: str = "best",
    resume: bool = False,
    device: torch.device | None = None,
    bad: list[str] | None = None,
    on_step: Callable[[int, int | None], None] | None = None,
) -> list[dict[str, Any]]:
    """Train a student of ``teacher`` into the run folder ``out``. Returns one row per epoch.

    ``teacher`` is a run's folder, used at ``stage``, or a model, which has no stages. ``reid export`` accepts the
    folder ``out``, which is complete after every epoch. With ``resume`` training goes on after the last epoch; on the
    CPU the result equals that of an uninterrupted run.

    Raises:
        RunError: the run has no such stage; ``out`` holds another run; the loss diverges; there are fewer than two
        crops.
        ImageError: a crop cannot be read and ``bad`` is None.
    """
    device = device or torch.device("cpu")
    guide: Guide = RunGuide(teacher, stage, device) if isinstance(teacher, Path) else ModelGuide(teacher)
    recipe, views = student.recipe(guide.recipe, guide.dimension), guide.recipe.network
    folder, origin = RunFolder(out), {"teacher": guide.fingerprint}
    folder.check(recipe, dataset.fingerprint, resume=resume)
    state = folder.checkpoints / "distillation.safetensors"
    samples = load_samples(without_identities(dataset), views.height, views.width, images=True, device=device, bad=bad)
    network = build_network(recipe.network, recipe.seed).to(device)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.1  # MobileNetV3's own 0.01 is for runs of 100,000 steps
    optimiser = torch.optim.AdamW(network.parameters(), lr=student.learning_rate, weight_decay=0.05)
    metrics: list[dict[str, Any]] = []
    if state.exists():
        metrics = restore(state, network, optimiser, origin)
    else:
        save_tensors(folder.checkpoints / "initial.safetensors", weights(network), {"stage": "initial"})
        folder.start(recipe, dataset.fingerprint)
    for epoch in range(len(metrics), student.epochs):
        with freed_memory_kept():
            losses = learn_epoch(guide, network, optimiser, samples, recipe, epoch, on_step)
        metrics.append({"epoch": epoch, **losses})
        if not math.isfinite(metrics[-1]["loss"]):
            raise RunError(f"epoch {epoch}: the loss is not finite: give a lower --learning-rate and another --out")
        header = {**origin, "metrics": json.dumps(metrics)}
        save_tensors(state, {**weights(network), **moments(optimiser)}, header)
        publish(folder, network, metrics)
    publish(folder, network, metrics)
    return metrics


def learn_epoch(
    teacher: Guide,
    student: ReidNetwork,
    optimiser: torch.optim.Optimizer,
    samples: Samples,
    recipe: Recipe,
    epoch: int,
    on_step: Callable[[int, int | None], None] | None,
) -> dict[str, float]:
    """Train on all crops once; returns the mean losses. Random choices depend only on the recipe's seed and
    ``epoch``."""
    settings = recipe.training
    generator = np.random.default_rng((recipe.seed, epoch))
    order = generator.permutation(len(samples))
    parts = np.split(order, range(settings.batch_size, len(order), settings.batch_size))
    batches = [part for part in parts if len(part) > 1]  # batch norm needs two crops
    device = next(student.parameters()).device
    student.train()
    sums = torch.zeros(2, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(int(generator.integers(2**32)))  # stochastic depth draws from torch's global generator
        for step, batch in enumerate(batches):
            done, total = epoch * len(batches) + step, settings.first_epochs * len(batches)
            for group in optimiser.param_groups:
                group["lr"] = settings.first_learning_rate * (1 + math.cos(math.pi * done / total)) / 2
            boxes = draw_cuts(len(batch), teacher.recipe, generator)
            boxes = boxes if boxes is None else boxes.to(device)
            views = augment(to_rgb(samples.read(batch)), boxes, None)
            losses = distillation_losses(student, standardise(resized(views, recipe.network)), teacher(views))
            optimiser.zero_grad()
            (losses[0] + PAIRS * losses[1]).backward()
            optimiser.step()
            sums += losses.detach()
            if on_step:
                on_step(done + 1, total)
    descriptors, pairs = (sums / len(batches)).tolist()
    return {"loss": descriptors + PAIRS * pairs, "descriptor_loss": descriptors, "pairwise_loss": pairs}


def resized(views: Tensor, network: NetworkRecipe) -> Tensor:
    """Resize views (B, 3, H, W) to the size of a network's input."""
    size = (network.height, network.width)
    if views.shape[2:] == size:
        return views
    return F.interpolate(views, size, mode="bilinear", align_corners=False, antialias=True)


def distillation_losses(student: ReidNetwork, images: Tensor, wanted: Tensor) -> Tensor:
    """Return the two losses (2,) of a student against a teacher's descriptors ``wanted``, (B, D) rows of length 1.

    They are the mean of 1 - cosine of the mapped descriptors, and the mean squared difference of the cosines between
    crops. For vectors of length 1 the latter equals the mean squared difference of squared distances, divided by 4.
    """
    pooled = student(images)  # (B, S)
    own = F.normalize(pooled, dim=1)
    descriptors = 1 - (student.embed(pooled) * wanted).sum(dim=1).mean()
    pairs = F.mse_loss(own @ own.T, wanted @ wanted.T)  # (B, B)
    return torch.stack([descriptors, pairs])


def publish(folder: RunFolder, network: ReidNetwork, metrics: list[dict[str, Any]]) -> None:
    """Write the files that ``reid export`` and people read."""
    save_tensors(folder.path / "best.safetensors", weights(network), {"stage": "distilled"})
    write_atomic(folder.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in metrics))
    model = {"stage": "distilled", **metrics[-1], "dataset": folder.dataset(), "toolkit": __version__}
    write_atomic(folder.path / "model.json", json.dumps(model, indent=2) + "\n")


def weights(network: ReidNetwork) -> dict[str, Tensor]:
    return on_cpu(network.state_dict())


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return AdamW's state as flat tensors named "optimiser.<parameter>.<name>"."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{name}": value.cpu() for i, part in state.items() for name, value in part.items()}


def restore(
    path: Path, network: ReidNetwork, optimiser: torch.optim.Optimizer, origin: dict[str, str]
) -> list[dict[str, Any]]:
    """Fill network and optimiser from the state after an epoch. Returns the metrics up to that epoch.

    Raises :class:`RunError` if the file is damaged or belongs to another teacher.
    """
    tensors, header = load_tensors(path)
    if header.get("teacher") != origin["teacher"]:
        raise RunError(
            f"{path}: cannot resume with another teacher: expected {header.get('teacher')}, got {origin['teacher']}"
        )
    state: dict[int, dict[str, Tensor]] = {}
    for key in [key for key in tensors if key.startswith("optimiser.")]:
        _, number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensors.pop(key)
    network.load_state_dict(tensors)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return list(json.loads(header["metrics"]))


def fingerprint(network: ReidNetwork) -> str:
    """16 hex digits that identify a network's weights."""
    digest = hashlib.sha256()
    for key, value in weights(network).items():
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
