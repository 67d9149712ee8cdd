"""Estimates how long a run in rounds takes on this machine, by timing its parts for a few seconds each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from reid_toolkit.config import Recipe
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training.batches import draw_epoch
from reid_toolkit.training.clustering import Rounds, Targets
from reid_toolkit.training.cuda_graph import WARM_UP
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.distributed import ALONE
from reid_toolkit.training.features import Features, extract, folded
from reid_toolkit.training.freed_memory import freed_memory_kept
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.rounds import batches, move_to_device
from reid_toolkit.training.samples import Pixels, Samples
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.stage_metrics import stage_figures
from reid_toolkit.training.step import Learner

PATIENCE = 2.0
"""Seconds after which the timing of a part stops."""

MOST_CALLS = 32
"""The most calls of a part that are timed."""

STEPS = WARM_UP + 1 + MOST_CALLS
"""Steps of the epoch that is drawn for timing."""

TIMED_SAMPLES = 4096
"""The most samples with which clustering is timed."""


@dataclass(frozen=True)
class Costs:
    """Seconds that the parts of a run take."""

    step: float
    """For a training step."""
    crop: float
    """To compute the descriptor of a crop."""
    sample: float
    """To measure and cluster, for each sample."""
    pair: float
    """To measure and cluster, for each pair of samples."""

    def seconds(self, recipe: Recipe, samples: int, crops: int) -> float:
        """Estimate a whole run on ``samples`` samples that have ``crops`` crops in all."""
        schedule = plan(recipe, samples)
        between = self.crop * crops + self.sample * samples + self.pair * samples**2
        return self.step * sum(schedule.steps) + between * (schedule.stages + 1)


def time_parts(
    recipe: Recipe,
    samples: int,
    crops: int,
    cameras: int,
    device: torch.device,
    processes: int = 1,
    *,
    deterministic: bool = False,
) -> Costs:
    """Time the parts of a run in rounds on ``device``, with random weights and pictures.

    ``samples``, ``crops`` and ``cameras`` are the dataset's numbers. If several ``processes`` share the work, this one
    times its share. ``deterministic`` must be what the training in this process will be: it has other times, and a GPU
    that was first used without it cannot change to it.

    Raises:
        RunError: out of memory.
    """
    each = recipe.rounds.per_cluster
    size = max(2, recipe.training.batch_size // processes // each) * each
    share, crops_each = recipe.training.norm_crops // processes, size * recipe.training.frames
    norm_crops = share if share > 1 and crops_each % share == 0 else 0
    recipe = replace(recipe, training=replace(recipe.training, batch_size=size, norm_crops=norm_crops))
    as_trained = training_on(device, recipe, deterministic=deterministic)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), as_trained:
        network = ReidNetwork(recipe.network)
        move_to_device(network, recipe, device, ALONE)
        return Costs(
            time_step(network, recipe, device),
            time_describing(network, recipe, device) / processes,
            *time_clustering(network.dimension, recipe, samples, cameras, device, halves=crops > samples),
        )


def time_step(network: ReidNetwork, recipe: Recipe, device: torch.device) -> float:
    """Time a training step, in seconds."""
    size = recipe.training.batch_size
    recipe = replace(recipe, rounds=replace(recipe.rounds, steps=STEPS, most_passes=STEPS * size))
    samples = draw_samples(recipe, size, device)
    classes = torch.arange(len(samples)) // recipe.rounds.per_cluster
    embeddings = F.normalize(
        torch.randn(len(samples), recipe.network.embedding or network.dimension, device=device), dim=1
    )
    table = LookupTable.from_clusters(embeddings, classes.to(device), recipe.training.table_momentum)
    cuda = device.type == "cuda"
    learner = Learner(network, table, recipe.training, graph=cuda)
    learner.set_rate(0.0)
    steps = batches(draw_epoch(samples, recipe, classes, 0, 0), 0, samples, Targets(classes), learner)
    for _ in range(WARM_UP + 1 if cuda else 1):
        learner.step(*next(steps))
    with freed_memory_kept():
        return mean_seconds(lambda: learner.step(*next(steps)), device)


def time_describing(network: ReidNetwork, recipe: Recipe, device: torch.device) -> float:
    """Time the description of one crop, in seconds."""
    network = folded(network) if device.type == "cpu" else network  # as ``look_at`` does, once for all crops
    samples = draw_samples(recipe, 512 if device.type == "cuda" else 128, device)
    describe = partial(extract, network, samples, device, precision=recipe.training.precision)
    describe()
    return mean_seconds(describe, device) / len(samples)


def time_clustering(
    dimension: int, recipe: Recipe, samples: int, cameras: int, device: torch.device, *, halves: bool
) -> tuple[float, float]:
    """Return the seconds to measure and cluster, per sample and per pair of samples.

    ``halves`` says whether samples have several crops, so that their halves are compared as well.
    """

    def seconds(count: int) -> float:
        groups = torch.randn(count // 8 + 1, dimension)  # like people whom the network tells apart
        rows = F.normalize(groups[torch.arange(count) // 8] + 0.5 * torch.randn(count, dimension), dim=1)
        features = Features(rows, rows, torch.stack([rows, rows]) * halves)
        names = tuple(str(number % max(1, cameras)) for number in range(count))
        rounds = Rounds(plan(recipe, count), names, None, recipe, device)

        def cluster() -> None:
            labels = rounds.cluster(recipe.rounds.cameras_from, features)
            stage_figures(features, labels, names, device)

        return mean_seconds(cluster, device)

    many = min(max(16, samples), TIMED_SAMPLES)
    few = many // 4
    seconds(few)  # the first call is slower, because it loads libraries
    for_few, for_many = seconds(few), seconds(many)
    pair = max(0.0, (for_many / many - for_few / few) / (many - few))
    return max(0.0, for_many / many - pair * many), pair


def mean_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the mean time of a call, over as many calls as :data:`PATIENCE` allows."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    began, calls, took = time.perf_counter(), 0, 0.0
    while not calls or (took < PATIENCE and calls < MOST_CALLS):
        call()
        wait()
        calls, took = calls + 1, time.perf_counter() - began
    return took / calls


def draw_samples(recipe: Recipe, count: int, device: torch.device) -> Samples:
    """Make ``count`` random samples of one crop each, in two cameras."""
    height, width = recipe.network.height, recipe.network.width
    crops = tuple(Crop(Path(f"{number}.png"), "ab"[number % 2], f"{number}") for number in range(count))
    tracklets = tuple(Tracklet(crop.tracklet, crop.camera, (crop,)) for crop in crops)
    block = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, device=device)
    pixels = Pixels(block, torch.arange(count, device=device), "device" if device.type == "cuda" else "memory", device)
    return Samples(tracklets, crops, np.arange(count + 1), height, width, pixels)
