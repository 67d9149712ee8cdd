"""One stage: every epoch, every step."""

import math
import time
from collections.abc import Callable
from functools import partial

from torch import Tensor

from reid_toolkit.config import Recipe
from reid_toolkit.errors import RunError
from reid_toolkit.method.lookup_table import in_passes
from reid_toolkit.training.ahead import map_ahead
from reid_toolkit.training.batches import draw_epoch
from reid_toolkit.training.learner import Batch, Learner
from reid_toolkit.training.schedule import epochs, learning_rate
from reid_toolkit.training.state import Place
from reid_toolkit.training.store import Samples

READ_EVERY = 1.0
"""Seconds between two looks at the loss, each of which waits for the device."""


def learn(
    learner: Learner,
    samples: Samples,
    labels: Tensor,
    recipe: Recipe,
    start: Place,
    after_step: Callable[[Place, float], None],
) -> float:
    """Train a stage on ``labels`` (N,) int64, on the CPU, from ``start`` on; returns the last epoch's mean loss.

    ``after_step`` is called with the place after it, and with the epoch's mean loss as it was last looked at.

    Raises:
        RunError: the loss is not finite.
    """
    stage, first = start.stage, start.step
    loss, looked = math.nan, -math.inf
    numbers = range(start.epoch, epochs(recipe.training, stage))
    # The next epoch is drawn while this one is learned.
    drawn_ahead = map_ahead(partial(draw_epoch, samples, recipe, stage), numbers, threads=1, ahead=1)
    for epoch, drawn in zip(numbers, drawn_ahead, strict=True):
        learner.set_rate(learning_rate(recipe.training, stage, epoch))
        if not first:
            learner.loss_sum.zero_()
        classes = labels[drawn.samples]
        order, sizes = in_passes(classes)
        device = learner.device
        own = drawn.part(learner.world.rank, learner.world.size)
        classes, order, at_device = classes.to(device), order.to(device), own.to(device)
        own_classes = classes.chunk(learner.world.size, dim=1)[learner.world.rank]
        crops = own.crops.to(samples.pixels.rows.device)
        for step, pixels in enumerate(samples.read_ahead(crops[first:]), first):
            batch = Batch(pixels, *at_device.views(step), own_classes[step])
            learner.step(batch, classes[step], order[step].split(sizes[step]))
            if time.monotonic() - looked > READ_EVERY:
                loss, looked = float(learner.loss_sum) / (step + 1), time.monotonic()
            after_step(Place(stage, epoch, step + 1), loss)
        first = 0
        loss = float(learner.loss_sum) / len(drawn)
        if not math.isfinite(loss):
            raise RunError(f"stage {stage}, epoch {epoch}: the loss is not finite: lower the recipe's learning rates")
    return loss
