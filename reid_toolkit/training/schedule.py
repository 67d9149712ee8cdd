"""How long a run is and how fast it learns when: fixed by the recipe and the number of samples."""

import math
from dataclasses import dataclass

from reid_toolkit.config import Recipe, TrainingRecipe


@dataclass(frozen=True)
class Plan:
    """Algorithm 1's schedule."""

    merges: int
    """The paper's k: merges between two stages."""
    stages: int
    steps: tuple[int, ...]
    """Training steps of each stage."""
    per_epoch: int
    """Training steps of an epoch."""


def plan(recipe: Recipe, count: int) -> Plan:
    """Algorithm 1's schedule for ``count`` samples: train while C > k, merging k after each stage.

    The merge after the last stage is left out, since nothing would be trained on it.
    """
    merges = max(1, math.floor(recipe.merging.fraction * count))
    stages = math.ceil((count - merges) / merges)
    per_epoch = steps_per_epoch(count, recipe.training.batch_size)
    return Plan(merges, stages, tuple(per_epoch * epochs(recipe.training, stage) for stage in range(stages)), per_epoch)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch of ``count`` samples has: a last one that is not full is left out, as in the
    paper's code, unless it is the only one."""
    return max(1, count // batch_size)


def epochs(recipe: TrainingRecipe, stage: int) -> int:
    """How often a stage sees every sample."""
    return recipe.later_epochs if stage else recipe.first_epochs


def learning_rate(recipe: TrainingRecipe, stage: int, epoch: int) -> float:
    """The head's; the backbone's is ``backbone_factor`` of it."""
    if stage:
        return recipe.later_learning_rate
    return recipe.first_learning_rate / (10 if epoch >= recipe.decay_after else 1)
