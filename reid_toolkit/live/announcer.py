"""Tells what happens before the cameras of a watch: from tracklets in view to the destinations of events."""

from collections.abc import Sequence
from dataclasses import dataclass

from reid_toolkit.live.events import Event, EventSink
from reid_toolkit.live.presence import Presence, Sight
from reid_toolkit.live.recognising import Decision, Recogniser, Resemblance, Watching
from reid_toolkit.records import Record
from reid_toolkit.runtime import TrackletAverage


@dataclass(frozen=True, slots=True)
class InView:
    """What is known of a tracklet."""

    camera: str
    tracklet: str
    start: float
    """When it was first seen, seconds."""
    end: float
    """When it was last seen, seconds."""
    frames: int
    """Crops that were embedded so far."""
    enough: bool
    """Whether it has enough crops to be enrolled."""


class Announcer:
    """Asks who is in view, and sends events. One object serves all cameras of a watch."""

    def __init__(
        self,
        sinks: Sequence[EventSink],
        recogniser: Recogniser | None = None,
        presence: Presence | None = None,
        watching: Watching | None = None,
    ) -> None:
        """Without a recogniser, events name the tracklet, and a tracklet enters when it has enough crops to be
        enrolled. ``watching`` compares tracklets with pictures. The sinks are not closed by this object."""
        self.sinks, self.recogniser, self.presence = sinks, recogniser, presence or Presence()
        self.watching = watching
        self._decisions: dict[str, Decision] = {}
        """The latest about each tracklet in view."""
        self._alike: dict[str, tuple[Resemblance, ...]] = {}
        """The pictures that each tracklet in view looks like, if there are any."""

    def look(self, seen: InView, average: TrackletAverage | None) -> None:
        """A tracklet is in view. ``average`` is the mean of its descriptors so far, or None if it did not change."""
        if average is not None and self.watching:
            alike = self.watching.look(average.descriptor, seen.camera, seen.end, seen.frames, seen.tracklet)
            if alike:
                self._alike[seen.tracklet] = alike
        alike = self._alike.get(seen.tracklet, ())
        if self.recogniser is None:
            if seen.enough or alike:
                self._tell(self.presence.see(sight_of(seen, seen.end, None, alike)))
            return
        if average is not None:
            self._decisions[seen.tracklet] = self.recogniser.recognise(
                average.descriptor, seen.camera, seen.start, seen.end, seen.frames, seen.tracklet
            )
        if decision := self._decisions.get(seen.tracklet):
            self._tell(self.presence.see(sight_of(seen, seen.end, decision, alike)))

    def end(self, seen: InView, time: float) -> None:
        """A tracklet has ended. It is told of only if it has enough crops, or was told of before."""
        decision, alike = self._decisions.pop(seen.tracklet, None), self._alike.pop(seen.tracklet, ())
        if self.watching:
            self.watching.ended(seen.tracklet)
        if seen.enough:
            self._tell(self.presence.see(sight_of(seen, time, decision, alike, ended=True)))
        else:
            self.presence.drop(seen.camera, seen.tracklet)

    def enroll(self, record: Record) -> None:
        """A tracklet that ends now is being enrolled as this record. Comes before :meth:`end`."""
        decision = self._decisions.get(record.tracklet)
        if self.recogniser and decision:
            self.recogniser.ended(record, decision)

    def pass_time(self, camera: str, time: float) -> None:
        """It is ``time`` before a camera, in seconds."""
        self._tell(self.presence.pass_time(camera, time))

    def close_camera(self, camera: str) -> None:
        """Nothing more comes from a camera: everybody leaves."""
        self._tell(self.presence.close_camera(camera))

    def poll(self) -> None:
        """Say what grouping has corrected, and pass on warnings of the destinations."""
        if self.recogniser:
            for one in self.recogniser.corrections():
                self._tell(self.presence.correct(one.camera, one.tracklet, one.decision))
        for sink in self.sinks:
            sink.poll()

    def _tell(self, events: list[Event]) -> None:
        if events:
            for sink in self.sinks:
                sink.put(events)


def sight_of(
    seen: InView, time: float, decision: Decision | None, alike: tuple[Resemblance, ...], *, ended: bool = False
) -> Sight:
    return Sight(seen.camera, seen.tracklet, seen.start, seen.end, time, decision, ended, alike)
