"""Chooses a recipe for a machine, and the number of rounds for a time limit: ``reid train`` without ``--recipe``."""

import math
from dataclasses import dataclass, replace

import torch

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset
from reid_toolkit.errors import InputError
from reid_toolkit.training.forecast import Costs, time_parts
from reid_toolkit.training.network import build_network
from reid_toolkit.training.samples import check_enough
from reid_toolkit.training.schedule import plan

FEWEST_ROUNDS = 6
FEWEST_SHARE = 0.3
"""A recipe keeps at least this fraction of its rounds, because shorter runs were not measured."""

ENOUGH_MEMORY = 12 * 2**30
"""Bytes of memory from which a GPU trains the larger network."""


@dataclass(frozen=True)
class Proposal:
    """A run that would be made."""

    recipe: Recipe
    steps: int
    """Training steps in a round."""
    seconds: float
    """The run's estimated time on this machine."""


def propose(
    recipe: Recipe,
    dataset: Dataset,
    device: torch.device,
    *,
    minutes: float | None = None,
    processes: int = 1,
    deterministic: bool = False,
) -> Proposal:
    """Time the parts of a run by ``recipe``, and keep as many of its rounds as end within ``minutes``.
    ``deterministic`` is as in :func:`reid_toolkit.training.forecast.time_parts`.

    Raises:
        InputError: too few rounds would fit, or the recipe has stages instead of rounds.
        RunError, ModelError: there are fewer than two samples, or no weights to start from.
    """
    if not recipe.rounds.count:
        raise InputError("--minutes: the recipe has stages, not rounds: expected one in rounds, such as dbc_cameras")
    crops = len(dataset.crops)
    samples = crops if recipe.training.samples == "images" else len(dataset.tracklets)
    # Errors that would end the run at its beginning are raised before the timing.
    check_enough(samples, dataset.root)
    build_network(recipe.network, recipe.seed)
    cameras = len(dataset.cameras)
    costs = time_parts(recipe, samples, crops, cameras, device, processes, deterministic=deterministic)
    if minutes is not None:
        recipe = fit(recipe, costs, samples, crops, minutes)
    return Proposal(recipe, plan(recipe, samples).steps[0], costs.seconds(recipe, samples, crops))


def recipe_name(dataset: Dataset) -> str:
    """Return the shipped recipe that suits a dataset. If most tracklets are one picture, as in Market-1501, a person
    has many tracklets in each camera. A person has few of the tracklets that a tracker made."""
    pictures = sum(len(tracklet.crops) == 1 for tracklet in dataset.tracklets)
    return "dbc_cameras" if 2 * pictures > len(dataset.tracklets) else "dbc_cameras_tracklets"


def suited(recipe: Recipe, device: torch.device) -> Recipe:
    """Return the recipe unchanged for a CPU or a small GPU; for a large GPU, with a larger network and larger
    pictures."""
    large = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= ENOUGH_MEMORY
    return for_gpu(recipe) if large else recipe


def for_gpu(recipe: Recipe) -> Recipe:
    """Return the recipe with the field's usual network: ResNet-50 at 256x128, last stride 1, in bfloat16."""
    network = replace(recipe.network, backbone="resnet50", height=256, width=128, last_stride=1)
    return replace(recipe, network=network, training=replace(recipe.training, precision="bfloat16"))


def shortened(recipe: Recipe, count: int) -> Recipe:
    """Return the recipe with ``count`` rounds, and its schedule shortened to fit."""
    rounds = recipe.rounds
    if count == rounds.count:
        return recipe
    # At most a third of the rounds, and not fewer in proportion: an untrained network finds few right neighbours in
    # other cameras, however few rounds there are. A recipe that never looks at cameras stays so.
    never = rounds.cameras_from >= rounds.count
    cameras_from = rounds.cameras_from if never else min(rounds.cameras_from, count // 3)
    decay_every = max(1, round(rounds.decay_every * count / rounds.count))
    taught = max(1, round(rounds.taught * count / rounds.count)) if rounds.taught else 0
    rounds = replace(rounds, count=count, cameras_from=cameras_from, decay_every=decay_every, taught=taught)
    return replace(recipe, rounds=rounds)


def fit(recipe: Recipe, costs: Costs, samples: int, crops: int, minutes: float) -> Recipe:
    """Return the recipe with as many of its rounds as end within ``minutes``.

    Raises:
        InputError: fewer rounds would fit than are allowed.
    """
    fewest = min(recipe.rounds.count, max(FEWEST_ROUNDS, round(FEWEST_SHARE * recipe.rounds.count)))
    for count in range(recipe.rounds.count, fewest - 1, -1):
        short = shortened(recipe, count)
        needed = costs.seconds(short, samples, crops) / 60
        if needed <= minutes:
            return short
    raise InputError(
        f"--minutes {minutes:g}: {fewest} rounds, the fewest allowed, take about {math.ceil(needed)} minutes here: "
        f"give --minutes {math.ceil(needed)} or more, a smaller --size, or a smaller --backbone"
    )
