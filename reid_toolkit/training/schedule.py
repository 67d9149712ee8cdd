"""How long a run is and how fast it learns when: fixed by the recipe and the number of samples."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from reid_toolkit.config import Recipe


class Place(NamedTuple):
    """So many steps into an epoch of a stage."""

    stage: int
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Plan:
    """How many stages a run has, and how many steps each."""

    merges: int
    """The paper's k: merges between two stages. 0 where clusters are made anew."""
    stages: int
    steps: tuple[int, ...]
    """Training steps of each stage."""
    per_epoch: int
    """Training steps of an epoch."""

    def done(self, place: Place) -> int:
        """Training steps of the whole run that are done at a place."""
        return sum(self.steps[: place.stage]) + place.epoch * self.per_epoch + place.step


def plan(recipe: Recipe, count: int) -> Plan:
    """The schedule for ``count`` samples: the recipe's rounds, or Algorithm 1's.

    Algorithm 1 trains while C > k and merges k after each stage. The merge after the last stage is left out, since
    nothing would be trained on it.
    """
    if recipe.rounds.count:
        rounds = recipe.rounds
        steps = min(rounds.steps, math.ceil(rounds.most_passes * count / recipe.training.batch_size))
        return Plan(0, rounds.count, (steps,) * rounds.count, steps)
    merges = max(1, math.floor(recipe.merging.fraction * count))
    stages = math.ceil((count - merges) / merges)
    per_epoch = steps_per_epoch(count, recipe.training.batch_size)
    return Plan(merges, stages, tuple(per_epoch * epochs(recipe, stage) for stage in range(stages)), per_epoch)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch of ``count`` samples has: a last one that is not full is left out, as in the
    paper's code, unless it is the only one."""
    return max(1, count // batch_size)


def epochs(recipe: Recipe, stage: int) -> int:
    """How often a stage sees every sample. A round is one epoch, of as many steps as the recipe says."""
    if recipe.rounds.count:
        return 1
    return recipe.training.later_epochs if stage else recipe.training.first_epochs


def learning_rate(recipe: Recipe, count: int, stage: int, epoch: int) -> float:
    """The head's, for ``count`` samples; the backbone's is ``backbone_factor`` of it."""
    rounds, training = recipe.rounds, recipe.training
    if rounds.count:
        few = math.sqrt(min(1, count / rounds.full_rate_from))
        return rounds.learning_rate * few * min(1, (stage + 1) / rounds.warm_up) / 10 ** (stage // rounds.decay_every)
    if stage:
        return training.later_learning_rate
    return training.first_learning_rate / (10 if epoch >= training.decay_after else 1)
