"""What happens between two training steps: a display is told, and now and then the run is saved."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reid_toolkit.training.schedule import Plan
from reid_toolkit.training.state import Place


@dataclass(frozen=True)
class Step:
    """Where training is, for a progress display."""

    stage: int
    stages: int
    """Stages in all, so far as can be known."""
    clusters: int
    loss: float
    """The epoch's mean, as it was about a second ago."""
    done: int
    """Training steps done, of ``total``, in this whole run."""
    total: int


@dataclass
class AfterStep:
    """Call it with the place that was reached, and the loss."""

    schedule: Plan
    clusters: int
    on_step: Callable[[Step], None] | None
    save: Callable[[Place], None] | None
    every: float
    """Seconds between two calls of ``save``."""
    saved: float = field(default_factory=time.monotonic)

    def __call__(self, place: Place, loss: float) -> None:
        if self.save and time.monotonic() - self.saved >= self.every:
            self.save(place)
            self.saved = time.monotonic()
        if self.on_step:
            stages, steps = self.schedule.stages, self.schedule.steps
            done = sum(steps[: place.stage]) + place.epoch * self.schedule.per_epoch + place.step
            self.on_step(Step(place.stage, stages, self.clusters, loss, done, sum(steps)))
