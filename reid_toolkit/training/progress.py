"""Work between two training steps: progress is reported, the run is saved at intervals, and Ctrl-C is handled."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from reid_toolkit.training.schedule import Place, Plan

SIGNALS = (signal.SIGINT, signal.SIGTERM)

FADES_IN = 120.0
"""After this many seconds a step's weight in the estimate has fallen to a third."""


class Interrupt:
    """Remembers Ctrl-C or SIGTERM while a network trains, so that the run can finish its step and be saved first."""

    def __init__(self) -> None:
        self.requested = False
        self._postponed = False

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Inside, handle the signals that raise KeyboardInterrupt: Ctrl-C in Python, and SIGTERM in ``reid``.

        A signal for which the caller has another handler is left to the caller.
        """
        # Python delivers signals to its main thread only.
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
        """Inside, the first signal only sets ``requested``, because half a step cannot be saved. A second signal raises
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
    """The position of training, for a progress display."""

    stage: int
    stages: int
    """The number of stages, as far as it is known."""
    clusters: int
    loss: float
    """The epoch's mean loss, about a second old."""
    done: int
    """Training steps done in the whole run, out of ``total``."""
    total: int
    seconds_left: float | None = None
    """Until the end of the whole run, estimated mostly from the last minutes; None until a step was timed."""


class Pace:
    """Estimates how long the rest of a run takes, from the times of its steps and of the work between stages.

    Recent steps count most, so that the estimate follows the machine's load.
    """

    def __init__(self, schedule: Plan, now: float) -> None:
        """Times are in seconds of one clock. The run begins or resumes ``now``."""
        self.schedule = schedule
        self._last = now
        self._stage: int | None = None
        self._seconds = self._steps = 0.0
        """Weighted sums over steps. Older steps weigh less."""
        self._between = 0.0

    def seconds_left(self, place: Place, now: float) -> float | None:
        """Estimate the seconds until the run's end. Call it after each step. Returns None until a step was timed."""
        took, self._last = now - self._last, now
        if place.stage == self._stage:
            fades = math.exp(-took / FADES_IN)
            self._seconds, self._steps = self._seconds * fades + took, self._steps * fades + 1
        elif place.step == 1:  # the time since contains describing, measuring and clustering, and this step
            measured = self._stage is not None
            self._between = (self._between + took) / 2 if measured else took
        self._stage = place.stage
        if not self._steps:
            return None
        steps = sum(self.schedule.steps) - self.schedule.done(place)
        return self._seconds / self._steps * steps + self._between * (self.schedule.stages - place.stage)


@dataclass
class AfterStep:
    """Called after each step with the place that was reached and the loss. Saves, stops and reports."""

    pace: Pace
    clusters: int
    on_step: Callable[[Step], None] | None
    save: Callable[[Place], None] | None
    every: float
    """Seconds between two calls of ``save``."""
    interrupt: Interrupt
    saved: float = field(default_factory=time.monotonic)
    unsaved: Place | None = None
    """The place that was reached, or None if it is saved."""

    def __call__(self, place: Place, loss: float) -> None:
        self.unsaved = place
        if self.interrupt.requested or time.monotonic() - self.saved >= self.every:
            self.save_now()
        self.interrupt.check()
        left = self.pace.seconds_left(place, time.monotonic())
        if self.on_step:
            schedule = self.pace.schedule
            done, total = schedule.done(place), sum(schedule.steps)
            self.on_step(Step(place.stage, schedule.stages, self.clusters, loss, done, total, left))

    def save_now(self) -> None:
        """Save the place that was reached, unless it is saved already."""
        if self.save and self.unsaved:
            self.save(self.unsaved)
            self.saved, self.unsaved = time.monotonic(), None

    @contextmanager
    def saving_at_interrupt(self) -> Iterator[None]:
        """Inside runs the work after a stage's last step. Ctrl-C saves that place, so that all of the work can be
        repeated."""
        try:
            self.interrupt.check()  # a signal may have come at the end of the last step
            yield
        except KeyboardInterrupt:
            self.save_now()
            raise
