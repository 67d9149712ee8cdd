"""The length of a run and its learning rates, which depend only on the recipe and the number of samples."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from reid_toolkit.config import Recipe


class Place(NamedTuple):
    """A position in a run: the number of steps done in an epoch of a stage."""

    stage: int
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Plan:
    """The number of stages of a run, and the number of steps in each."""

    merges: int
    """The paper's k: merges between two stages. 0 if clusters are made anew."""
    stages: int
    steps: tuple[int, ...]
    """Training steps in each stage."""
    per_epoch: int
    """Training steps in an epoch."""

    def done(self, place: Place) -> int:
        """Return the training steps of the whole run that are done at a place."""
        return sum(self.steps[: place.stage]) + place.epoch * self.per_epoch + place.step


def plan(recipe: Recipe, count: int, clusters: int | None = None) -> Plan:
    """Make the schedule for ``count`` samples: the recipe's rounds, or the stages of Algorithm 1.

    Algorithm 1 trains while C > k and merges k after each stage. The merge after the last stage is left out, because
    nothing would be trained on it. ``clusters`` is C of the first stage; None if each sample is a cluster.
    """
    if recipe.rounds.count:
        rounds = recipe.rounds
        steps = min(rounds.steps, math.ceil(rounds.most_passes * count / recipe.training.batch_size))
        return Plan(0, rounds.count, (steps,) * rounds.count, steps)
    merges = max(1, math.floor(recipe.merging.fraction * count))
    stages = max(1, math.ceil(((clusters or count) - merges) / merges))
    per_epoch = steps_per_epoch(count, recipe.training.batch_size)
    return Plan(merges, stages, tuple(per_epoch * epochs(recipe, stage) for stage in range(stages)), per_epoch)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the batches in an epoch of ``count`` samples. An incomplete last batch is left out, as in the paper's
    code, unless it is the only batch."""
    return max(1, count // batch_size)


def epochs(recipe: Recipe, stage: int) -> int:
    """Return how often a stage uses every sample. A round is one epoch, with as many steps as the recipe says."""
    if recipe.rounds.count:
        return 1
    return recipe.training.later_epochs if stage else recipe.training.first_epochs


def learning_rate(recipe: Recipe, count: int, stage: int, epoch: int) -> float:
    """Return the head's learning rate for ``count`` samples. The backbone's rate is ``backbone_factor`` times it."""
    rounds, training = recipe.rounds, recipe.training
    if rounds.count:
        few = math.sqrt(min(1, count / rounds.full_rate_from))
        return rounds.learning_rate * few * min(1, (stage + 1) / rounds.warm_up) / 10 ** (stage // rounds.decay_every)
    if stage:
        return training.later_learning_rate
    return training.first_learning_rate / (10 if epoch >= training.decay_after else 1)
