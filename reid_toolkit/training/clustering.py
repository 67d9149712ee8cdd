"""How samples become clusters: what the loop in ``rounds.py`` needs of a way of clustering, and the paper's way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.config import MergingRecipe, Recipe
from reid_toolkit.training.features import Features
from reid_toolkit.training.merging import can_merge, cannot_link, merge_allowed
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import Plan, plan
from reid_toolkit.training.selection import Row


class Clustering(Protocol):
    """A way to make the clusters that each stage learns.

    Labels are (N,) int64 on the CPU and number the clusters 0..C-1. Every sample has one: the loop cannot leave samples
    out yet. Features are those of all samples, freed of their cameras' bias where the recipe says so.

    The first process alone calls :meth:`initial` and :meth:`after`, and the others get what they return. A resumed run
    reads its labels from a file, so what these methods return may depend on nothing but their arguments.
    """

    @property
    def schedule(self) -> Plan:
        """How many stages there are at most, and how many steps each of them learns."""

    def initial(self, features: Features) -> Tensor:
        """Make the labels of stage 0 from the features of the network before training."""

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
