"""What the audit log says about a watch: its beginning and end, whom it recognised, and its alerts.

A tracklet is searched for again and again. A line for each of these searches would make thousands of lines that nobody
reads, so they are counted, and the lines give the counts.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.people_table import PeopleTable


class WatchLog:
    """Writes the lines of one watch. Does nothing while the audit log is off.

    All methods raise :class:`AuditError` if the log is on and cannot be written.
    """

    def __init__(self, table: PeopleTable | None, about: Mapping[str, Any]) -> None:
        """``table`` writes into the log; None writes nothing. ``about``: what the line about the beginning
        says, such as the cameras."""
        self._table, self._about = table, dict(about)
        self._begun = False
        self.searches = 0
        """Searches so far."""
        self.tracklets = 0
        """Tracklets that were searched for."""
        self.comparisons = 0
        """Comparisons with pictures of the watch list."""

    def begin(self) -> bool:
        """Write that the watch begins, once. False if the log is off; it may be switched on later."""
        self._begun = self._begun or self.note({"action": "watch", **self._about})
        return self._begun

    def note(self, event: Mapping[str, Any]) -> bool:
        """Write a line. False if the log is off."""
        return self._table is not None and self._table.note(event)

    def recognised(
        self, tracklet: str, camera: str, person: str | None, descriptor: NDArray[np.float32], searches: int
    ) -> None:
        """Write whom a tracklet shows: after its first search, and when that changes. The line holds a digest of the
        descriptor that was searched for, not the descriptor itself. ``searches``: those for this tracklet so far."""
        digest = hashlib.sha256(descriptor.astype("<f4").tobytes()).hexdigest()
        self._write(
            action="recognised", tracklet=tracklet, query_camera=camera, person=person, descriptor=digest,
            searches=searches,
        )  # fmt: skip

    def alert(self, watched: str, tracklet: str, camera: str) -> None:
        """Write that there is an alert for somebody on the watch list."""
        self._write(action="alert", watched=watched, tracklet=tracklet, query_camera=camera)

    def end(self) -> None:
        """Write that the watch ends, with all counts."""
        if self._begun:
            counts = {"searches": self.searches, "tracklets": self.tracklets, "comparisons": self.comparisons}
            self.note({"action": "watch ended", **counts})

    def _write(self, **event: Any) -> None:
        if self.begin():
            self.note(event)
