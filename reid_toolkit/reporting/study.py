"""Measures a run's stages from their checkpoints: without labels, and against identities if there are any.

Training imports nothing from this module, so identities cannot influence its choices.
"""

from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, Split, open_dataset
from reid_toolkit.datasets.dataset import with_identities
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import RunError
from reid_toolkit.evaluation.clustering import NOBODY, agreement
from reid_toolkit.evaluation.protocol import Embedded, evaluate, free_of_cameras
from reid_toolkit.training.features import Features, extract
from reid_toolkit.training.features import free_of_cameras as free_features
from reid_toolkit.training.merging import cannot_link, in_one_cluster, merge_allowed
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.run_folder import Checkpoint, RunFolder
from reid_toolkit.training.samples import Samples, load_samples
from reid_toolkit.training.stage_metrics import stage_figures
from reid_toolkit.training.verdict import hold_out

SPLITS: tuple[Split, ...] = ("train", "query", "gallery")


@dataclass(frozen=True)
class Study:
    """A run, and the pictures on which it is measured."""

    folder: RunFolder
    recipe: Recipe
    samples: Samples
    """The samples that the run clustered, in the order of its labels."""
    query: Samples
    gallery: Samples
    """The same object as ``query`` if the layout has only one part."""

    @property
    def identities(self) -> list[str | None]:
        """The identity of each of ``samples``. It is the crop's, because a crop may have become a tracklet of its
        own."""
        return [tracklet.crops[0].identity for tracklet in self.samples.tracklets]

    @property
    def people(self) -> int:
        """How many people are known among ``samples``."""
        return len(set(self.identities) - set(NOBODY))


def open_study(run: Path, dataset: Path, identities: Path | None, bad: list[str] | None = None) -> Study:
    """Open a run and the dataset it was trained on. Identities come from a CSV file, else from the dataset.

    Crops that cannot be read are left out, and their messages are appended to ``bad``; if ``bad`` is None, they raise
    :class:`ImageError`. Raises :class:`RunError` if the dataset is another one, if its samples are others or in another
    order than those of the run, or if no stage is finished.
    """
    folder = RunFolder(run)
    require_stages(folder)
    recipe = folder.recipe()
    parts = [open_dataset(dataset, split=split) for split in SPLITS]
    if parts[0].fingerprint != folder.dataset():
        raise RunError(f"{run}: was not trained on {dataset} as it is now: expected fingerprint {folder.dataset()}")
    if identities:
        parts = with_identities(parts, read_identities(identities))
    height, width, images = recipe.network.height, recipe.network.width, recipe.training.samples == "images"
    shape = height, width, bad is not None
    samples, *others = (load(part, images and not place, *shape) for place, part in enumerate(parts))
    if bad is not None:
        bad += dict.fromkeys(message for one in (samples, *others) for message in one.bad)
    kept = samples.held.take(~hold_out(samples.held.tracklets, recipe.training.held_out))
    check_samples(folder, kept, dataset)
    query, gallery = (one.held for one in others)
    return Study(folder, recipe, kept, query, gallery)


def check_samples(folder: RunFolder, samples: Samples, dataset: Path) -> None:
    """Raise :class:`RunError` if the run's labels are not of these samples in this order."""
    if folder.order() not in (None, samples.order):
        raise RunError(
            f"{folder.path}: its clusters are of other samples than {dataset} gives now, or in another order, because "
            "other crops can be read, or are decoded to other pixels: restore the files and the version of "
            "opencv-python, or make the report without --dataset"
        )


def require_stages(folder: RunFolder) -> None:
    """Raise :class:`RunError` if ``folder`` is no run, or has no finished stage yet."""
    folder.dataset()
    if not folder.stages():
        raise RunError(f"{folder.path}: no stage is done: expected checkpoints of `reid train`; resume it")


class Loaded(NamedTuple):
    """The samples of a part of a dataset."""

    held: Samples
    bad: tuple[str, ...]
    """Messages about crops that cannot be read."""


@cache
def load(dataset: Dataset, images: bool, height: int, width: int, skip_bad: bool) -> Loaded:
    """Decode the tracklets once, even if several runs and splits ask for them."""
    bad: list[str] | None = [] if skip_bad else None
    return Loaded(load_samples(dataset, height, width, images=images, bad=bad), tuple(bad or ()))


class Model:
    """A run's network with given weights, and its features of the study's pictures."""

    def __init__(self, study: Study, weights: dict[str, torch.Tensor], device: torch.device) -> None:
        self.study, self.device = study, device
        self._weights = weights
        self._features: dict[int, Features] = {}

    @cached_property
    def network(self) -> ReidNetwork:
        """The network, on the device."""
        network = ReidNetwork(self.study.recipe.network)
        network.load_state_dict(self._weights)
        return network.to(self.device)

    def features(self, samples: Samples) -> Features:
        """Return the features of the study's samples. They are extracted once."""
        if id(samples) not in self._features:
            self._features[id(samples)] = extract(self.network, samples, self.device)
        return self._features[id(samples)]

    def embedded(self, samples: Samples) -> Embedded:
        """Return the descriptors of the samples in the form that the evaluation takes."""
        return Embedded(samples.tracklets, self.features(samples).descriptors.numpy())

    def retrieval(self) -> dict[str, Any]:
        """Return rank-1 and mAP by identities, fractions 0-1. "rank-1" and "mAP" are without camera statistics;
        "freed_rank-1" and "freed_mAP" are with them, as in a search, or None if there are too few tracklets. Raises
        :class:`reid_toolkit.errors.InputError` if no identity is known."""
        study = self.study
        query = self.embedded(study.query)
        gallery = query if study.gallery is study.query else self.embedded(study.gallery)
        plain = evaluate(query, gallery).overall
        sides = free_of_cameras(query, gallery)
        freed = evaluate(*sides).overall if sides else None
        return {
            "rank-1": plain.rank(1),
            "mAP": plain.mean_ap,
            "freed_rank-1": freed.rank(1) if freed else None,
            "freed_mAP": freed.mean_ap if freed else None,
        }


class Stage(Model):
    """One stage of a study: its checkpoint, and its network's features of the pictures."""

    def __init__(self, study: Study, number: int, device: torch.device) -> None:
        self.checkpoint: Checkpoint = study.folder.load(number)
        if len(self.checkpoint.labels) != len(study.samples):  # runs of earlier versions do not say their order
            raise RunError(
                f"{study.folder.path}: its clusters are of {len(self.checkpoint.labels)} samples, and "
                f"{len(study.samples)} can be read now: restore the others, or make the report without --dataset"
            )
        super().__init__(study, self.checkpoint.weights, device)

    def figures(self) -> dict[str, Any]:
        """Return the figures that need no label, as a row of metrics.jsonl has them. Older versions wrote fewer into
        it."""
        study, labels = self.study, self.checkpoint.labels
        features = self.features(study.samples)
        cameras = study.samples.cameras
        if study.recipe.merging.camera_statistics:
            features = free_features(features, cameras)
        row: dict[str, Any] = {"violations_without": None}
        pairs, merges = cannot_link(study.samples), self.checkpoint.metrics[-1].get("merges")
        if merges and study.recipe.merging.cannot_link:
            row |= merge_allowed(features.descriptors, labels, merges, pairs, study.recipe.merging, self.device)[1]
        return asdict(stage_figures(features, labels, cameras, self.device)) | row

    def truth(self) -> dict[str, Any]:
        """Return scores by identities of the model (:meth:`retrieval`) and of the clusters, fractions 0-1.
        ``violations`` is None if no two tracklets were seen at the same time. Raises
        :class:`reid_toolkit.errors.InputError` if no identity is known."""
        study = self.study
        labels, pairs = self.checkpoint.labels.numpy(), cannot_link(study.samples)
        return {
            **self.retrieval(),
            **asdict(agreement(labels, study.identities)),
            "violations": float(in_one_cluster(labels, pairs).mean()) if len(pairs) else None,
        }
