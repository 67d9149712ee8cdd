"""A teacher: another network that knows people, whose descriptors of the samples help to make clusters.

Its descriptors are computed once and stored beside the run, because there are many rounds and teachers are slow.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def taught_by(recipe: Recipe, teacher: Teacher) -> Recipe:
    """Return the recipe with its first rounds taught: as many as it says, or two thirds.

    Raises:
        InputError: it has stages instead of rounds.
    """
    rounds = recipe.rounds
    if not rounds.count:
        raise InputError("--teacher: the recipe has stages, which go on from their own clusters: expected rounds")
    count = rounds.taught or max(1, rounds.count * 2 // 3)
    return replace(recipe, rounds=replace(rounds, taught=count, teacher=teacher.fingerprint))


def check_teacher(recipe: Recipe, teacher: Teacher | None, where: Path) -> None:
    """Raise :class:`RunError` if the teacher given is not the one that the recipe names, or only one of them exists."""
    expected, given = recipe.rounds.teacher, teacher.fingerprint if teacher else ""
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
