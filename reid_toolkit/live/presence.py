"""From tracklets and decisions to events: who enters, is there, and leaves.

A visit is the time that a person stays before one camera. The tracker may lose and find the person meanwhile, so a
visit may consist of many tracklets. If it is not known whom a tracklet shows, the tracklet has a visit of its own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reid_toolkit.live.events.event import Event, Kind
from reid_toolkit.live.recognising import Decision, Resemblance

LEFT_AFTER, SEEN_EVERY = 30.0, 10.0
"""Seconds. The defaults of :class:`Presence`."""
CLOCK_SECONDS = 1.0
"""If time goes back by more than this, the clock was set, and everybody leaves. Less is taken for no time."""
MOST = 5_000
"""So many tracklets that ended can be corrected, the latest."""

Subject = tuple[str | None, str | None]
"""Whom a visit is about: (number or name of the person, None), or (None, tracklet) if nobody was recognised."""


@dataclass(frozen=True, slots=True)
class Sight:
    """News of a tracklet."""

    camera: str
    tracklet: str
    start: float
    """When the tracklet was first seen, seconds."""
    end: float
    """When the tracklet was last seen, seconds."""
    time: float
    """Now, seconds. At the end of a tracklet, this is later than ``end``."""
    decision: Decision | None
    """Whom the tracklet shows. None if nobody tries to recognise people."""
    ended: bool = False
    """Whether the tracklet has ended."""
    alike: tuple[Resemblance, ...] = ()
    """The pictures of the watch list that the tracklet looks like."""


@dataclass
class Visit:
    """A visit that has not ended."""

    name: str
    camera: str
    subject: Subject
    decision: Decision | None
    """The latest about this subject."""
    tracklet: str
    """The latest that shows the person."""
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When each tracklet that has not ended was first and last seen."""
    past: tuple[float, float] | None = None
    """When the tracklets that have ended were first and last seen."""
    said: float = 0.0
    """Time of the latest event."""
    events: int = 0
    alerted: bool = False
    """Whether there was an alert about this subject."""
    pictures: set[str] = field(default_factory=set)
    """The pictures that there was an alert about."""
    left: bool = False
    corrections: dict[str, Decision] = field(default_factory=dict)
    """Whom tracklets of this visit showed, as was found after they had ended. It is said when the visit has ended."""

    @property
    def person(self) -> str | None:
        """What the person is called."""
        return self.decision.person if self.decision else None

    @property
    def number(self) -> str | None:
        """The person's lasting number."""
        return self.decision.number if self.decision else None

    @property
    def start(self) -> float:
        """When the person was first seen."""
        return min(start for start, _ in self._all())

    @property
    def end(self) -> float:
        """When the person was last seen."""
        return max(end for _, end in self._all())

    def _all(self) -> Iterator[tuple[float, float]]:
        yield from self.spans.values()
        if self.past:
            yield self.past

    def finish(self, tracklet: str) -> None:
        """Note that a tracklet has ended."""
        start, end = self.spans.pop(tracklet)
        self.past = (min(start, self.past[0]), max(end, self.past[1])) if self.past else (start, end)


@dataclass
class Camera:
    """Who is before a camera."""

    name: str
    now: float
    visits: dict[Subject, Visit] = field(default_factory=dict)
    of: dict[str, Visit] = field(default_factory=dict)
    """The visit of each tracklet that has not ended, if it has one."""
    gone: set[str] = field(default_factory=set)
    """Tracklets that have not ended, but whose visit has: they were not seen for so long."""
    visit_count: int = 0


class Presence:
    """Makes events of tracklets. It holds who is in view, and a bounded number of visits that have ended.

    Each visit has one ``entered`` and later one ``left``; both have the same ``visit``. Between them are ``seen`` and
    ``revised``, and an ``alert`` if the person is on the watch list. A person who gets another name goes on with the
    visit, and ``revised`` says the name. After ``left`` there may be ``corrected``. In a camera, time does not go back,
    unless the clock was set.
    """

    def __init__(self, left_after: float = LEFT_AFTER, seen_every: float = SEEN_EVERY) -> None:
        """``left_after``: seconds without a sight of a person after which the visit ends. ``seen_every``: the least
        seconds from any event of a visit to a ``seen``."""
        self.left_after, self.seen_every = left_after, seen_every
        self._cameras: dict[str, Camera] = {}
        self._visits: dict[tuple[str, str], Visit] = {}
        """The visit of each tracklet that has ended, by camera and tracklet, the latest last."""

    def see(self, sight: Sight) -> list[Event]:
        """Take news of a tracklet. Returns what is to be said, in order.

        An undecided tracklet makes no event, except if it looks like a picture of the watch list. If it is undecided
        when it ends, it has a visit, in that state. What was once decided about a tracklet is not forgotten if a later
        decision is undecided, unless it was withdrawn.
        """
        known = self._cameras.get(sight.camera)
        events = [] if known and known.now == sight.time else self.pass_time(sight.camera, sight.time)
        camera = self._cameras[sight.camera]
        end = min(sight.end, camera.now)  # they differ if the clock was set back
        sight = replace(sight, start=min(sight.start, end), end=end)
        visit = camera.of.get(sight.tracklet)
        decided = sight.decision is None or sight.decision.state != "undecided"
        withdrawn = sight.decision is not None and sight.decision.withdrawn
        if visit is None:
            left = sight.tracklet in camera.gone
            if ((decided or sight.alike) and not sight.ended) or (sight.ended and not left):
                events += self._appear(camera, sight)
        elif (decided or withdrawn) and subject_of(sight) != visit.subject:
            events += self._revise(camera, visit, sight)
        else:
            events += self._go_on(camera, visit, sight)
        events += self._alert(camera, sight)
        if sight.ended:
            camera.gone.discard(sight.tracklet)
            if ended := camera.of.pop(sight.tracklet, None):
                ended.finish(sight.tracklet)
                self._remember(sight.tracklet, ended)
        return events

    def correct(self, camera: str, tracklet: str, decision: Decision) -> list[Event]:
        """Note that a tracklet that has ended shows somebody else than was said. While its visit goes on, it waits."""
        visit = self._visits.get((camera, tracklet))
        if visit is None:
            return []
        visit.corrections[tracklet] = decision
        if not visit.left:
            return []
        return correct(self._cameras.get(camera) or Camera(camera, visit.said), visit)

    def pass_time(self, camera: str, time: float) -> list[Event]:
        """Note that it is ``time`` before a camera. Returns who has left."""
        found = self._cameras.setdefault(camera, Camera(camera, time))
        if time < found.now - CLOCK_SECONDS:
            events = self._leave(found, list(found.visits.values()))
            found.now = time
            return events
        found.now = max(found.now, time)
        return self._leave(found, [v for v in found.visits.values() if found.now - v.end > self.left_after])

    def drop(self, camera: str, tracklet: str) -> None:
        """Note that a tracklet has ended that is too short to be told of, unless something was said about it before."""
        if found := self._cameras.get(camera):
            found.gone.discard(tracklet)
            if visit := found.of.pop(tracklet, None):
                visit.finish(tracklet)
                self._remember(tracklet, visit)

    def close_camera(self, camera: str) -> list[Event]:
        """End all visits before a camera, because it is watched no more."""
        found = self._cameras.pop(camera, None)
        return self._leave(found, list(found.visits.values())) if found else []

    def finish(self) -> list[Event]:
        """End all visits, because nothing more is watched."""
        return [event for camera in list(self._cameras) for event in self.close_camera(camera)]

    def _appear(self, camera: Camera, sight: Sight) -> list[Event]:
        """Take in a tracklet that has no visit."""
        camera.gone.discard(sight.tracklet)
        if visit := camera.visits.get(subject_of(sight)):
            return self._go_on(camera, visit, sight)
        name = digest(camera.name, sight.tracklet, camera.visit_count)[:16]
        camera.visit_count += 1
        visit = Visit(name, camera.name, subject_of(sight), sight.decision, sight.tracklet)
        camera.visits[visit.subject] = visit
        join(camera, visit, sight)
        return [say("entered", camera, visit)]

    def _go_on(self, camera: Camera, visit: Visit, sight: Sight) -> list[Event]:
        """Take a sight of somebody whose visit has begun."""
        previous, number = visit.person, visit.number
        join(camera, visit, sight)
        if visit.person != previous:
            return [say("revised", camera, visit, (previous, number))]
        if sight.ended or camera.now - visit.said < self.seen_every:
            return []
        return [say("seen", camera, visit)]

    def _revise(self, camera: Camera, visit: Visit, sight: Sight) -> list[Event]:
        """A tracklet shows another person than was said."""
        previous, target = (visit.person, visit.number), camera.visits.get(subject_of(sight))
        alone = len(visit.spans) == 1 and visit.past is None
        if alone and target is None:
            del camera.visits[visit.subject]
            visit.subject, visit.decision, visit.alerted = subject_of(sight), sight.decision, False
            camera.visits[visit.subject] = visit
            join(camera, visit, sight)
            return [say("revised", camera, visit, previous)]
        if alone:
            events = self._leave(camera, [visit])
        else:
            events = []
            del visit.spans[sight.tracklet], camera.of[sight.tracklet]
        if target:
            join(camera, target, sight)
        else:
            events += self._appear(camera, sight)
            target = camera.visits[subject_of(sight)]
        camera.gone.discard(sight.tracklet)
        return [*events, say("revised", camera, target, previous)]

    def _alert(self, camera: Camera, sight: Sight) -> list[Event]:
        """Alerts, if the person is on the watch list or looks like a picture, and there were none in this visit."""
        visit = camera.of.get(sight.tracklet)
        if visit is None:
            return []
        events = []
        if visit.decision and visit.decision.alert and not visit.alerted:
            visit.alerted = True
            events.append(say("alert", camera, visit))
        for one in sight.alike:
            if one.picture not in visit.pictures:
                visit.pictures.add(one.picture)
                events.append(say("alert", camera, visit, picture=one))
        return events

    def _leave(self, camera: Camera, visits: list[Visit]) -> list[Event]:
        """End visits, those first whose person was last seen first."""
        events = []
        for visit in sorted(visits, key=lambda visit: (visit.end, visit.name)):
            events.append(say("left", camera, visit))
            visit.left = True
            del camera.visits[visit.subject]
            for tracklet in visit.spans:
                del camera.of[tracklet]
                camera.gone.add(tracklet)
                self._remember(tracklet, visit)
            events += correct(camera, visit)
        return events

    def _remember(self, tracklet: str, visit: Visit) -> None:
        if visit.decision is None:  # nobody recognises people
            return
        self._visits.pop((visit.camera, tracklet), None)
        self._visits[visit.camera, tracklet] = visit
        while len(self._visits) > MOST:
            del self._visits[next(iter(self._visits))]


def subject_of(sight: Sight) -> Subject:
    decision = sight.decision
    if decision is None or decision.person is None:
        return None, sight.tracklet
    return decision.number or decision.person, None


def join(camera: Camera, visit: Visit, sight: Sight) -> None:
    """Note a sight of the person of a visit."""
    visit.spans[sight.tracklet] = (sight.start, sight.end)
    visit.tracklet = sight.tracklet
    camera.of[sight.tracklet] = visit
    if sight.decision and subject_of(sight) == visit.subject:
        if sight.ended and visit.decision and sight.decision.person != visit.person:
            return  # a tracklet that was lost may end with the name that the person had before
        visit.decision = sight.decision


def correct(camera: Camera, visit: Visit) -> list[Event]:
    """Say whom the tracklets of a visit showed that has ended, if it is somebody else."""
    events = []
    for tracklet, decision in visit.corrections.items():
        previous, subject = (visit.person, visit.number), (decision.number or decision.person, None)
        visit.tracklet, visit.decision = tracklet, decision
        if subject != visit.subject:
            visit.subject = subject
            events.append(say("corrected", camera, visit, previous))
    visit.corrections.clear()
    return events


def say(
    kind: Kind,
    camera: Camera,
    visit: Visit,
    previous: tuple[str | None, str | None] = (None, None),
    picture: Resemblance | None = None,
) -> Event:
    """An event about a visit, now. ``previous`` are the name and the number of the person that was named before, and
    ``picture`` is what an alert is about, if it is not about the person."""
    decision = visit.decision
    event = Event(
        kind=kind,
        person=visit.person,
        previous=previous[0],
        state=decision.state if decision else None,
        camera=camera.name,
        time=camera.now,
        start=visit.start,
        end=visit.end,
        probability=decision.probability if decision else None,
        record=decision.record if decision else None,
        tracklet=visit.tracklet,
        visit=visit.name,
        key="",
        number=visit.number,
        previous_number=previous[1],
        watched=visit.person if kind == "alert" else None,
    )
    if picture:
        event = replace(event, probability=picture.probability, record=None, watched=picture.picture)
    # A digest of all that it says, so that watching a file again gives the same keys.
    key = digest(event.to_json().decode(), visit.events)[:32]
    visit.said = camera.now
    visit.events += 1
    return replace(event, key=key)


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()
