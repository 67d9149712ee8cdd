"""The ways to make clusters of samples, and the interface that the loop in ``rounds.py`` needs of them.

``Stages`` is the paper's way: clusters grow by merges after each stage. ``Rounds`` makes new clusters for each round.
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
from reid_toolkit.datasets.known_pairs import NO_PAIRS, KnownPairs
from reid_toolkit.errors import InputError, RunError
from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.must_links import obey
from reid_toolkit.method.neighbours import camera_aware_similarity, reciprocal_similarity
from reid_toolkit.training.features import Features
from reid_toolkit.training.merging import Constraints, can_merge, divided, merge_allowed
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import Plan, plan
from reid_toolkit.training.selection import Row


@dataclass(frozen=True)
class Targets:
    """What the loss learns in a stage: a class for each sample, and the classes' weights."""

    classes: Tensor
    """(N,) int64: each sample's row of the lookup table, 0..T-1, or -1 for samples that are left out."""
    weights: Tensor | None = None
    """(T,) float32: weight of each class in the loss, 1 on average; None if all weigh the same."""
    lessons: Tensor | None = None
    """(N, L) float32, rows of length 1: a teacher's descriptors of the samples, if the stage learns from them."""


class Clustering(Protocol):
    """A way to make the clusters that each stage learns.

    Labels are (N,) int64 on the CPU; they number the clusters 0..C-1. Every sample has a label, if necessary of a
    cluster of its own. Features are those of all samples, freed of their cameras' bias if the recipe says so.

    Only the first process calls :meth:`initial` and :meth:`after`; the others get their results. A resumed run reads
    its labels from a file, so the results may depend only on the arguments.
    """

    @property
    def schedule(self) -> Plan:
        """The greatest number of stages, and the number of steps in each."""

    def initial(self, features: Features) -> Tensor:
        """Make the labels of stage 0 from the features of the network before training."""

    def targets(self, stage: int, labels: Tensor) -> Targets:
        """Return what a stage learns from the clusters ``labels``."""

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Make the labels of the next stage, and the figures to add to this stage's line of metrics.jsonl.

        ``features`` are computed after the stage; ``labels`` are the clusters that it learned. This is also called
        after the last stage: its labels are stored but never learned.
        """

    def is_over(self, metrics: Sequence[Row]) -> bool:
        """Whether the run ends after the stages whose lines are ``metrics``."""


@dataclass(frozen=True)
class Stages:
    """The paper's way: each sample begins as its own cluster, and k merges follow each stage (Algorithm 1).

    Merged samples stay together. The last stage merges nothing. The run ends early if the cannot-link pairs forbid
    every merge that is left. Samples that corrections tie together begin as one cluster.
    """

    schedule: Plan
    pairs: NDArray[np.int64] | None
    """(M, 2): pairs of samples that must not share a cluster."""
    recipe: MergingRecipe
    device: torch.device
    """Where distances are computed."""
    ties: NDArray[np.int64] | None = None
    """(N,): the clusters to begin with, 0..C-1; None if each sample is one."""

    @classmethod
    def of(cls, recipe: Recipe, samples: Samples, device: torch.device, known: KnownPairs = NO_PAIRS) -> "Stages":
        """Make the stages of a recipe for these samples, of which ``known`` pairs were corrected by a user.

        Raises:
            InputError: so many tracklets overlap in time that their times must be wrong, or corrections leave nothing
                to tell apart.
        """
        found = Constraints.of(samples, known, seen_at_once=recipe.merging.cannot_link)
        count = int(found.ties.max()) + 1
        if count < 2:
            raise InputError("corrections say that all tracklets show one person: expected at least two people")
        return cls(plan(recipe, len(samples), count), found.apart, recipe.merging, device, found.ties)

    def initial(self, features: Features) -> Tensor:
        """Put each sample into a cluster of its own, or with those that it is tied to."""
        return torch.arange(len(features.descriptors)) if self.ties is None else torch.from_numpy(self.ties.copy())

    def targets(self, stage: int, labels: Tensor) -> Targets:
        """Use every cluster, however small."""
        return Targets(labels)

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Merge k times. The figures are the number of merges made, and what the cannot-link pairs prevented."""
        row: Row = {"merges": 0, "merges_forbidden": None, "violations_without": None}
        last = stage + 1 == self.schedule.stages
        if last or not can_merge(labels.numpy(), self.pairs):
            return labels, row
        merging, prevented = merge_allowed(
            features.descriptors, labels, self.schedule.merges, self.pairs, self.recipe, self.device
        )
        return merging.labels, row | {"merges": len(merging.history)} | prevented

    def is_over(self, metrics: Sequence[Row]) -> bool:
        """True after the last stage, and after a stage that merged nothing."""
        return len(metrics) >= self.schedule.stages or (len(metrics) > 0 and not metrics[-1]["merges"])


@dataclass(frozen=True)
class Rounds:
    """Clusters are made anew for each round from single samples, by the neighbours that samples share.

    Clusters of few samples are left out of a round but may be used in the next. Only the network is kept from round to
    round, so a wrong merge is not permanent.
    """

    schedule: Plan
    cameras: tuple[str, ...]
    """N names; empty if a sample has no camera."""
    pairs: NDArray[np.int64] | None
    """(M, 2): pairs of samples that must not share a cluster."""
    recipe: Recipe
    device: torch.device
    """Where distances are computed."""
    taught: Features | None = None
    """The teacher's features of the samples; needed if the recipe has taught rounds."""
    ties: NDArray[np.int64] | None = None
    """(N,): equal for samples that must share a cluster; None if there are none."""

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        samples: Samples,
        device: torch.device,
        taught: Features | None = None,
        known: KnownPairs = NO_PAIRS,
    ) -> "Rounds":
        """Make the rounds of a recipe for these samples, of which ``known`` pairs were corrected by a user.

        Raises:
            InputError: so many tracklets overlap in time that their times must be wrong.
        """
        merges = recipe.rounds.clustering == "dispersion"
        found = Constraints.of(samples, known, seen_at_once=merges and recipe.merging.cannot_link)
        ties = found.ties if known.same else None
        return cls(plan(recipe, len(samples)), tuple(samples.cameras), found.apart, recipe, device, taught, ties)

    def initial(self, features: Features) -> Tensor:
        """Make the clusters of round 0.

        Raises:
            RunError: there are fewer than two clusters to learn.
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
        """Make the clusters (N,) int64 of a round, from the features before it or from the teacher's. They obey the
        pairs and the ties."""
        labels = self.cluster_untied(number, features)
        if self.ties is None:
            return labels
        return torch.from_numpy(obey(labels.numpy(), self.ties, () if self.pairs is None else self.pairs))

    def cluster_untied(self, number: int, features: Features) -> Tensor:
        """Make the clusters (N,) int64 of a round, without looking at the ties."""
        rounds, merging = self.recipe.rounds, self.recipe.merging
        taught = self.taught_in(number)
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
            return divided(by_density(similarity, rounds.radius, rounds.smallest), similarity, self.pairs)
        singles = torch.arange(len(features.descriptors))
        if not can_merge(singles.numpy(), self.pairs):
            return singles
        until = rounds.until if aware else rounds.until_before_cameras
        merged: Tensor = merge_neighbours(
            similarity, singles, until=until, trade_off=merging.trade_off, within=merging.within, cannot_link=self.pairs
        ).labels
        return merged

    def targets(self, stage: int, labels: Tensor) -> Targets:
        """Use the clusters that are large enough, weighted by their cameras if the recipe says so. A taught round also
        learns the teacher's similarities."""
        rounds, classes = self.recipe.rounds, self.classes(labels)
        weights = balance(classes.numpy(), self.cameras) if rounds.balance_cameras else None
        taught = self.taught_in(stage) if rounds.teacher_weight else None
        return Targets(classes, weights, taught.descriptors if taught else None)

    def taught_in(self, number: int) -> Features | None:
        """The teacher's features if the round is taught."""
        return self.taught if number < self.recipe.rounds.taught else None

    def classes(self, labels: Tensor) -> Tensor:
        """Number the clusters that are large enough 0..T-1; samples of the others get -1: (N,) int64."""
        large = torch.bincount(labels) >= self.recipe.rounds.smallest
        return torch.where(large, large.cumsum(0) - 1, -1)[labels]

    def learned(self, labels: Tensor) -> int:
        """Count the clusters that are large enough to be learned."""
        return int((torch.bincount(labels) >= self.recipe.rounds.smallest).sum())

    def after(self, stage: int, features: Features, labels: Tensor) -> tuple[Tensor, Row]:
        """Cluster anew. The figures describe the clusters that this round learned."""
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
        """True after the last round, and after a round that leaves fewer than two clusters to learn."""
        return len(metrics) >= self.schedule.stages or (len(metrics) > 0 and metrics[-1]["next_clusters"] < 2)


def clustering_of(
    recipe: Recipe,
    samples: Samples,
    device: torch.device,
    taught: Features | None = None,
    known: KnownPairs = NO_PAIRS,
) -> Clustering:
    """Return the recipe's way of clustering these samples; ``taught`` are its teacher's features, if it has a
    teacher, and ``known`` the pairs that a user corrected."""
    if recipe.rounds.count:
        return Rounds.of(recipe, samples, device, taught, known)
    return Stages.of(recipe, samples, device, known)


def numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """Replace names by numbers 0..K-1, in the names' order: (N,)."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def balance(classes: NDArray[np.int64], cameras: Sequence[str]) -> Tensor:
    """Weigh classes by how evenly their samples spread over cameras: w_c = T exp(H_c) / sum exp(H), (T,) float32.

    H is the entropy, in bits, of the cameras of a class's samples. A person seen in many cameras weighs more than a
    person seen in one; the mean weight is 1 (3C: "Camera-driven contrastive clustering", 2024).
    """
    kept = classes >= 0
    names = numbers(cameras)
    counts = sparse.coo_array((np.ones(kept.sum()), (classes[kept], names[kept]))).toarray()
    shares = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    weights = np.exp(entropy)
    return torch.from_numpy((weights / weights.mean()).astype(np.float32))


def by_density(similarity: sparse.csr_array, radius: float, smallest: int) -> Tensor:
    """Cluster by DBSCAN (Ester et al. 1996; scikit-learn's) on distances 1 - ``similarity`` (N, N): (N,) int64.

    A core sample has ``smallest`` samples within ``radius``, counting itself. Each sample that DBSCAN calls noise
    becomes a cluster of its own.
    """
    from sklearn.cluster import DBSCAN

    distances = sparse.csr_matrix((1 - similarity.data.astype(np.float64), similarity.indices, similarity.indptr))
    distances.data = np.maximum(distances.data, 0)
    labels = DBSCAN(eps=radius, min_samples=smallest, metric="precomputed").fit_predict(distances)
    noise = labels < 0
    labels[noise] = labels.max() + 1 + np.arange(noise.sum())
    return torch.from_numpy(labels.astype(np.int64))
