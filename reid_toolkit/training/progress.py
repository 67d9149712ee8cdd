"""What happens between two training steps: a display is told, and now and then the run is saved."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from reid_toolkit.training.schedule import Plan
from reid_toolkit.training.state import Place

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take over those of the signals that raise KeyboardInterrupt, as Ctrl-C does in Python and SIGTERM does in
        ``reid``; others mean something else to whoever called."""
        # Python hands signals to its main thread alone.
        main = threading.current_thread() is threading.main_thread()
        taken = [number for number in SIGNALS if main and signal.getsignal(number) is signal.default_int_handler]
        for number in taken:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, signal.default_int_handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The first signal inside only sets ``asked``: a step that ends halfway leaves nothing to save. The second
        does not wait."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was held back."""
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self._held:
            raise KeyboardInterrupt
        self.asked = True


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
    interrupt: Interrupt
    saved: float = field(default_factory=time.monotonic)
    unsaved: Place | None = None
    """The place that was reached, where it is not saved."""

    def __call__(self, place: Place, loss: float) -> None:
        self.unsaved = place
        if self.interrupt.asked or time.monotonic() - self.saved >= self.every:
            self.save_now()
        self.interrupt.check()
        if self.on_step:
            stages, steps = self.schedule.stages, self.schedule.steps
            done = sum(steps[: place.stage]) + place.epoch * self.schedule.per_epoch + place.step
            self.on_step(Step(place.stage, stages, self.clusters, loss, done, sum(steps)))

    def save_now(self) -> None:
        """Unless that place is saved."""
        if self.save and self.unsaved:
            self.save(self.unsaved)
            self.saved, self.unsaved = time.monotonic(), None

    @contextmanager
    def saving_at_interrupt(self) -> Iterator[None]:
        """What follows a stage's last step, and can be done again from there: Ctrl-C inside saves that place."""
        try:
            self.interrupt.check()  # of the last step's end
            yield
        except KeyboardInterrupt:
            self.save_now()
            raise
