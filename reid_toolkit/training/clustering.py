"""How samples become clusters: what the loop in ``rounds.py`` needs of a way of clustering, and the two ways there are.

``Stages`` is the paper's: clusters grow by merges after each stage. ``Rounds`` makes them anew for each round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from reid_toolkit.config import MergingRecipe, Recipe
from reid_toolkit.errors import RunError
from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.neighbours import camera_aware_similarity, reciprocal_similarity
from reid_toolkit.training.features import Features
from reid_toolkit.training.merging import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import Plan, plan
from reid_toolkit.training.selection import Row


@dataclass(frozen=True)
class Targets:
    """What a stage learns of its clusters."""

    classes: Tensor
    """(N,) int64: each sample's row of the lookup table, 0..T-1, and -1 for samples that are left out."""
    weights: Tensor | None = None
    """(T,) float32: how much each class counts in the loss, 1 on average; None where all count the same."""


class Clustering(Protocol):
    """A way to make the clusters that each stage learns.

    Labels are (N,) int64 on the CPU and number the clusters 0..C-1. Every sample has one, if need be of its own.
    Features are those of all samples, freed of their cameras' bias where the recipe says so.

    The first process alone calls :meth:`initial` and :meth:`after`, and the others get what they return. A resumed run
    reads its labels from a file, so what these methods return may depend on nothing but their arguments.
    """

    @property
    def schedule(self) -> Plan:
        """How many stages there are at most, and how many steps each of them learns."""

    def initial(self, features: Features) -> Tensor:
        """Make the labels of stage 0 from the features of the network before training."""

    def targets(self, labels: Tensor) -> Targets:
        """What a stage learns of the clusters ``labels``."""

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Make the labels of the next stage, and the figures to add to this stage's line of metrics.jsonl.

        ``features`` are those after the stage, and ``labels`` the clusters that it learned. The last stage is no
        exception: the labels returned after it are stored, and never learned.
        """

    def is_over(self, metrics: Sequence[Row]) -> bool:
        """Whether no stage follows those whose lines are ``metrics``."""


@dataclass(frozen=True)
class Stages:
    """The paper's way: each sample begins as its own cluster, and k merges follow each stage (Algorithm 1).

    Merged samples stay together. The last stage merges nothing. The run ends early when the cannot-link pairs forbid
    every merge that is left.
    """

    schedule: Plan
    pairs: NDArray[np.int64] | None
    """(M, 2): samples that no cluster may hold together."""
    recipe: MergingRecipe
    device: torch.device
    """Where distances are computed."""

    @classmethod
    def of(cls, recipe: Recipe, samples: Samples, device: torch.device) -> "Stages":
        """The stages of a recipe for these samples.

        Raises:
            InputError: so many tracklets overlap in time that their times must be wrong.
        """
        pairs = cannot_link(samples) if recipe.merging.cannot_link else None
        return cls(plan(recipe, len(samples)), pairs, recipe.merging, device)

    def initial(self, features: Features) -> Tensor:
        """Each sample in a cluster of its own."""
        return torch.arange(len(features.descriptors))

    def targets(self, labels: Tensor) -> Targets:
        """Every cluster, however small."""
        return Targets(labels)

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Merge k times; the figures are how many merges were made, and what the cannot-link pairs prevented."""
        row: Row = {"merges": 0, "merges_forbidden": None, "violations_without": None}
        last = stage + 1 == self.schedule.stages
        if last or not can_merge(labels.numpy(), self.pairs):
            return labels, row
        merging, prevented = merge_allowed(
            features.descriptors, labels, self.schedule.merges, self.pairs, self.recipe, self.device
        )
        return merging.labels, row | {"merges": len(merging.history)} | prevented

    def is_over(self, metrics: Sequence[Row]) -> bool:
        """After the last stage, and after one that merged nothing."""
        return len(metrics) >= self.schedule.stages or (len(metrics) > 0 and not metrics[-1]["merges"])


@dataclass(frozen=True)
class Rounds:
    """Clusters made anew for each round from single samples, by what their neighbourhoods share.

    Clusters of few samples are left out of a round, and may be in the next. Nothing is kept from round to round but
    the network, so no wrong merge is for ever.
    """

    schedule: Plan
    cameras: tuple[str, ...]
    """N names; empty where a sample has none."""
    pairs: NDArray[np.int64] | None
    """(M, 2): samples that no cluster may hold together."""
    recipe: Recipe
    device: torch.device
    """Where distances are computed."""
    taught: Features | None = None
    """What a teacher says of the samples; there where the recipe has rounds that are taught."""

    @classmethod
    def of(cls, recipe: Recipe, samples: Samples, device: torch.device, taught: Features | None = None) -> "Rounds":
        """The rounds of a recipe for these samples.

        Raises:
            InputError: so many tracklets overlap in time that their times must be wrong.
        """
        merges = recipe.rounds.clustering == "dispersion"
        pairs = cannot_link(samples) if merges and recipe.merging.cannot_link else None
        return cls(plan(recipe, len(samples)), tuple(samples.cameras), pairs, recipe, device, taught)

    def initial(self, features: Features) -> Tensor:
        """The clusters of round 0.

        Raises:
            RunError: there is too little to learn from.
        """
        labels = self.cluster(0, features)
        if self.learned(labels) < 2:
            smallest = self.recipe.rounds.smallest
            raise RunError(
                f"round 0: {self.learned(labels)} clusters of {smallest} samples or more among {len(labels)} samples: "
                "expected at least 2 to tell apart; train into another --out on more footage, or with a lower "
                "rounds.smallest"
            )
        return labels

    def cluster(self, number: int, features: Features) -> Tensor:
        """The clusters of a round, from the features before it, or from the teacher's; (N,) int64."""
        rounds, merging = self.recipe.rounds, self.recipe.merging
        taught = self.taught if number < rounds.taught else None
        features = taught or features
        aware = (taught is not None or number >= rounds.cameras_from) and len(set(self.cameras)) > 1
        most = max(3, len(features.descriptors) // 10)
        if aware:
            within, across = min(rounds.within, most), min(rounds.across, most)
            similarity = camera_aware_similarity(
                features.descriptors, self.cameras, within=within, across=across, device=self.device
            )
        else:
            neighbours = min(rounds.neighbours, most)
            similarity = reciprocal_similarity(features.descriptors, neighbours=neighbours, device=self.device)
        if rounds.clustering == "dbscan":
            return by_density(similarity, rounds.radius, rounds.smallest)
        singles = torch.arange(len(features.descriptors))
        if not can_merge(singles.numpy(), self.pairs):
            return singles
        until = rounds.until if aware else rounds.until_before_cameras
        merged: Tensor = merge_neighbours(
            similarity, singles, until=until, trade_off=merging.trade_off, within=merging.within, cannot_link=self.pairs
        ).labels
        return merged

    def targets(self, labels: Tensor) -> Targets:
        """The clusters that are large enough, weighed by their cameras where the recipe says so."""
        classes = self.classes(labels)
        weights = balance(classes.numpy(), self.cameras) if self.recipe.rounds.balance_cameras else None
        return Targets(classes, weights)

    def classes(self, labels: Tensor) -> Tensor:
        """The clusters that are large enough, 0..T-1, and -1 for samples of the others; (N,) int64."""
        large = torch.bincount(labels) >= self.recipe.rounds.smallest
        return torch.where(large, large.cumsum(0) - 1, -1)[labels]

    def learned(self, labels: Tensor) -> int:
        """How many clusters are large enough to be learned."""
        return int((torch.bincount(labels) >= self.recipe.rounds.smallest).sum())

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Cluster anew; the figures are of the clusters that this round learned."""
        last = stage + 1 == self.schedule.stages
        next_labels = labels if last else self.cluster(stage + 1, features)
        classes = self.classes(labels).numpy()
        pairs = np.stack([classes, numbers(self.cameras)], axis=1)[classes >= 0]
        cameras = np.bincount(np.unique(pairs, axis=0)[:, 0])  # of each class
        row: Row = {
            "learned_clusters": len(cameras),
            "left_out": float((classes < 0).mean()),
            "across_clusters": float((cameras > 1).mean()),
            "next_clusters": self.learned(next_labels),
        }
        return next_labels, row

    def is_over(self, metrics: Sequence[Row]) -> bool:
        """After the last round, and after one that leaves fewer than two clusters to learn."""
        return len(metrics) >= self.schedule.stages or (len(metrics) > 0 and metrics[-1]["next_clusters"] < 2)


def clustering_of(recipe: Recipe, samples: Samples, device: torch.device, taught: Features | None = None) -> Clustering:
    """The recipe's way of clustering these samples; ``taught`` is what its teacher says of them, if it has one."""
    return Rounds.of(recipe, samples, device, taught) if recipe.rounds.count else Stages.of(recipe, samples, device)


def numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """Names as numbers 0..K-1 in their order; (N,)."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def balance(classes: NDArray[np.int64], cameras: Sequence[str]) -> Tensor:
    """Weights of classes by how evenly their samples spread over cameras, w_c = T exp(H_c) / sum exp(H); (T,) float32.

    H is the entropy, in bits, of the cameras of a class's samples. So who was seen in many cameras counts more than who
    was seen in one, and the mean weight is 1 (3C: "Camera-driven contrastive clustering", 2024).
    """
    kept = classes >= 0
    names = numbers(cameras)
    counts = sparse.coo_array((np.ones(kept.sum()), (classes[kept], names[kept]))).toarray()
    shares = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    weights = np.exp(entropy)
    return torch.from_numpy((weights / weights.mean()).astype(np.float32))


def by_density(similarity: sparse.csr_array, radius: float, smallest: int) -> Tensor:
    """DBSCAN (Ester et al. 1996; scikit-learn's) on distances 1 - ``similarity`` (N, N); (N,) int64.

    A core sample has ``smallest`` samples within ``radius``, itself included. What it calls noise becomes clusters of
    one sample each.
    """
    from sklearn.cluster import DBSCAN

    distances = sparse.csr_matrix((1 - similarity.data.astype(np.float64), similarity.indices, similarity.indptr))
    distances.data = np.maximum(distances.data, 0)
    found = DBSCAN(eps=radius, min_samples=smallest, metric="precomputed").fit_predict(distances)
    noise = found < 0
    found[noise] = found.max() + 1 + np.arange(noise.sum())
    return torch.from_numpy(found.astype(np.int64))
