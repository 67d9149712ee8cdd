"""Measures how a stage's time is spent."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Phase = Literal["load", "train", "extract", "measure", "merge", "save"]


class Clock:
    """Seconds spent in each phase since the last row of metrics.

    A stage's checkpoint contains its row, so the time to write the checkpoint counts for the next stage.
    """

    def __init__(self, on_phase: Callable[[Phase], None] | None = None) -> None:
        """``on_phase`` is called at the beginning of each phase."""
        self._on_phase = on_phase
        self.seconds: dict[str, float] = dict.fromkeys(get_args(Phase), 0.0)
        self._now: Phase | None = None
        self._since = 0.0

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time spent inside for this phase, and not for a phase around it."""
        outer = self._turn(name)
        if self._on_phase:
            self._on_phase(name)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, name: Phase | None) -> Phase | None:
        before, now = self._now, time.monotonic()
        if before:
            self.seconds[before] += now - self._since
        self._now, self._since = name, now
        return before

    def add(self, seconds: dict[str, float]) -> None:
        """Add the seconds that an earlier session spent."""
        self.seconds = {name: value + seconds.get(name, 0.0) for name, value in self.seconds.items()}

    def row(self) -> dict[str, float]:
        """Return ``seconds`` in all and ``seconds_<phase>``, rounded to milliseconds, and start counting from 0."""
        row = {"seconds": sum(self.seconds.values())}
        row |= {f"seconds_{name}": value for name, value in self.seconds.items()}
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        return {name: round(value, 3) for name, value in row.items()}
