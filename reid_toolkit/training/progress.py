"""What happens between two training steps: progress is reported, the run is saved now and then, Ctrl-C is obeyed."""

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
    """Remembers Ctrl-C or SIGTERM while a network trains, so that the run can finish its step and be saved first."""

    def __init__(self) -> None:
        self.requested = False
        self._postponed = False

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Inside, handle the signals that raise KeyboardInterrupt: Ctrl-C does in Python, and SIGTERM does in ``reid``.

        A signal that the caller handles in another way is left to the caller.
        """
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
    def postponed(self) -> Iterator[None]:
        """Inside, the first signal only sets ``requested``, since half a step cannot be saved. The second one raises
        KeyboardInterrupt at once."""
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal was postponed."""
        if self.requested:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or not self._postponed:
            raise KeyboardInterrupt
        self.requested = True


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
    """Called after each step with the place that was reached and the loss: saves, stops and reports."""

    schedule: Plan
    clusters: int
    on_step: Callable[[Step], None] | None
    save: Callable[[Place], None] | None
    every: float
    """Seconds between two calls of ``save``."""
    interrupt: Interrupt
    saved: float = field(default_factory=time.monotonic)
    unsaved: Place | None = None
    """The place that was reached, or None when it is saved."""

    def __call__(self, place: Place, loss: float) -> None:
        self.unsaved = place
        if self.interrupt.requested or time.monotonic() - self.saved >= self.every:
            self.save_now()
        self.interrupt.check()
        if self.on_step:
            stages, steps = self.schedule.stages, self.schedule.steps
            done = sum(steps[: place.stage]) + place.epoch * self.schedule.per_epoch + place.step
            self.on_step(Step(place.stage, stages, self.clusters, loss, done, sum(steps)))

    def save_now(self) -> None:
        """Save the place that was reached, unless it is saved already."""
        if self.save and self.unsaved:
            self.save(self.unsaved)
            self.saved, self.unsaved = time.monotonic(), None

    @contextmanager
    def saving_at_interrupt(self) -> Iterator[None]:
        """Inside is what follows a stage's last step. Ctrl-C saves that place, from which all of it can be repeated."""
        try:
            self.interrupt.check()  # of the last step's end
            yield
        except KeyboardInterrupt:
            self.save_now()
            raise
