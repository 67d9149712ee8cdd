"""A teacher: another network that knows people. Its descriptors of the samples give the first rounds their clusters,
and the network learns to see these clusters as the teacher does.

Its descriptors are computed once and stored beside the run, because there are many rounds and teachers are slow.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from reid_toolkit.config import Recipe
from reid_toolkit.datasets.dataset import embed_groups
from reid_toolkit.errors import InputError, RunError
from reid_toolkit.images import Image
from reid_toolkit.records import Tracklet
from reid_toolkit.training.features import Features, free_of_cameras
from reid_toolkit.training.tensor_files import load_tensors, save_tensors


class Teacher(Protocol):
    """The part of :class:`reid_toolkit.runtime.Embedder` that this module uses."""

    batch_size: int
    fingerprint: str

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]: ...


class About(Protocol):
    """The part of :class:`reid_toolkit.runtime.metadata.ModelMetadata` that this module uses."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def dimension(self) -> int: ...


class Model(Teacher, Protocol):
    """A :class:`Teacher` whose input size and descriptor width are known."""

    @property
    def metadata(self) -> About: ...


SOFTER = 2.0
"""The temperature of :func:`lesson_loss` as a multiple of the temperature of the repelled loss."""


def taught_by(recipe: Recipe, teacher: Teacher) -> Recipe:
    """Return the recipe with its first rounds taught: as it says, or two thirds of them with the teacher's weight 1.

    Raises:
        InputError: it has stages instead of rounds, or names another teacher.
    """
    rounds = recipe.rounds
    if not rounds.count:
        raise InputError("--teacher: the recipe has stages, which go on from their own clusters: expected rounds")
    if rounds.teacher not in ("", teacher.fingerprint):
        raise InputError(
            f"--teacher: the recipe names the teacher {rounds.teacher}, got {teacher.fingerprint}: expected its model, "
            "or a recipe without rounds.teacher, taught and teacher_weight"
        )
    changes: dict[str, Any] = {"teacher": teacher.fingerprint}
    if not rounds.taught:
        changes |= {"taught": max(1, rounds.count * 2 // 3), "teacher_weight": 1.0}
    return replace(recipe, rounds=replace(rounds, **changes))


def check_teacher(recipe: Recipe, given: str, where: Path) -> None:
    """Raise :class:`RunError` if the teacher with the fingerprint ``given`` ("" for none) is not the one that the
    recipe names, or only one of them exists."""
    expected = recipe.rounds.teacher
    if expected != given:
        raise RunError(
            f"{where}: its clusters come from the teacher {expected or '(none)'}, got {given or 'none'}: expected the "
            "same; name its model with --teacher, or train into another --out"
        )


def taught(
    teacher: Teacher, tracklets: Sequence[Tracklet], cameras: Sequence[str], recipe: Recipe, path: Path
) -> Features:
    """Return the teacher's features (N, D) of the samples, freed of their cameras' bias if the recipe says so. They are
    read from ``path`` if it holds those of this teacher and these samples; otherwise they are computed and written."""
    key = of_samples(teacher, tracklets)
    rows = read(path, key)
    if rows is None:
        rows = describe(teacher, tracklets)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"descriptors": rows}, {"key": key})
    features = Features(rows, rows, torch.zeros(2, *rows.shape))
    return free_of_cameras(features, cameras) if recipe.merging.camera_statistics else features


def lesson_loss(embedded: Tensor, table: Tensor, lessons: Tensor, means: Tensor, temperature: float) -> Tensor:
    """Return how much a network's view of the clusters differs from its teacher's: a scalar.

    A view of a sample is a probability for each of C clusters: softmax over the cosines between the sample and the
    clusters' means. The loss is the Kullback-Leibler divergence from the teacher's view to the network's, averaged over
    the batch, and multiplied by the square of :data:`SOFTER`, so that gradients keep their scale (Hinton et al. 2015,
    "Distilling the knowledge in a neural network", section 2). So the network learns the teacher's distances between a
    sample and all clusters; the clusters alone only say which is the nearest. Corrections change the clusters, but not
    how the teacher sees a sample.

    Rows have length 1: ``embedded`` (B, E) and the ``table`` (C, E) are the network's, ``lessons`` (B, L) and ``means``
    (C, L) the teacher's. ``temperature`` is that of the repelled loss.
    """
    own = log_softmax(embedded @ table.T / (SOFTER * temperature), dim=1)
    wanted = log_softmax(lessons @ means.T / (SOFTER * temperature), dim=1)
    return SOFTER**2 * kl_div(own, wanted, reduction="batchmean", log_target=True)


def of_samples(teacher: Teacher, tracklets: Sequence[Tracklet]) -> str:
    """Return a digest of a teacher and of the samples that it describes."""
    names = "\n".join(f"{tracklet.name}\0{tracklet.camera}\0{len(tracklet.crops)}" for tracklet in tracklets)
    return hashlib.sha256(f"{teacher.fingerprint}\n{names}".encode(errors="surrogateescape")).hexdigest()


def read(path: Path, key: str) -> Tensor | None:
    """Read stored descriptors. None if the file is missing, damaged, or of another teacher or other samples."""
    try:
        tensors, header = load_tensors(path)
    except (RunError, OSError):
        return None
    return tensors.get("descriptors") if header.get("key") == key else None


def describe(teacher: Teacher, tracklets: Sequence[Tracklet]) -> Tensor:
    """Compute the mean descriptor of each sample, normalised to length 1 as in a gallery: (N, D) float32.

    Raises :class:`ImageError` for a crop that cannot be read. Crops that were to be left out are already gone.
    """
    means = [np.zeros(0, np.float32)] * len(tracklets)
    for place, rows in embed_groups(teacher, [tracklet.crops for tracklet in tracklets]):
        mean = rows.mean(axis=0)
        means[place] = mean / np.linalg.norm(mean)
    return torch.from_numpy(np.stack(means).astype(np.float32))
