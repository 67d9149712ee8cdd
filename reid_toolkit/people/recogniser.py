"""Recognises people before cameras by the people of a gallery: a recogniser for ``reid_toolkit.live``."""

import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import AuditError, GalleryError, UnavailableError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import People
from reid_toolkit.gallery.types import Comparison
from reid_toolkit.live.recognising import Correction, Decision
from reid_toolkit.people.alert_budget import AlertBudget, looks_at
from reid_toolkit.people.constraints import too_soon
from reid_toolkit.people.in_view import InView, Seen
from reid_toolkit.people.naming import NUMBERED, find_person, name_of, unknown_person
from reid_toolkit.people.newcomers import Newcomers
from reid_toolkit.people.scale import Scale, estimate_scale
from reid_toolkit.people.told import ToldTracklets
from reid_toolkit.people.watch_log import WatchLog
from reid_toolkit.records import Match, Record
from reid_toolkit.times import UNIX_TIMES

NEAREST = 50
"""So many records are searched for."""
KNOWN_FROM, NEW_FROM = 3, 5
"""A person is known after so many crops at the earliest, and new after so many."""
GROWTH, UNDECIDED_GROWTH, RENEW = 1.6, 1.25, 60.0
"""The next search for a tracklet comes after so many times its crops, or after so many seconds: 3, 5, 8, 13, ... crops,
and while it is undecided 3, 4, 5, 6, 8, 10, 12, ..."""
MOST_AGREE = 6
"""Half of a person's records must be within reach, but not more than half of so many. A single one may be near by
chance, because there are many records."""
CLEAR = 0.93
"""The nearest person is clear if the distance is at most this part of the distance to the next person."""
RETRY_SECONDS = 30.0
"""Seconds until the next search if the gallery cannot be searched, because each attempt may wait for other writers."""
READ_SECONDS, READ_SHARE = 10.0, 0.05
"""The people of the gallery are read again after so many seconds, if they changed. Reading takes at most this share of
the time."""


NOT_NOW = "people are not recognised now"


class Candidate(NamedTuple):
    """A person whom a tracklet may show."""

    score: float
    """The distance to the person's nearest record, divided by the largest distance of neighbours."""
    person: int
    match: Match
    """The nearest record."""
    near: bool
    """Whether enough of the person's records are within reach."""


class PeopleRecogniser:
    """Says which person of a gallery a tracklet shows, while it lasts. Follows ``reid people`` that runs beside it.

    Searches are made at a bounded rate: five for a tracklet of 30 crops, and a dozen while it stays undecided.
    """

    def __init__(
        self,
        store: GalleryStore,
        where: str,
        *,
        scale: Callable[[], Scale | None] = lambda: None,
        scale_version: Callable[[], object] = lambda: None,
        watched: Collection[str] = (),
        budget: AlertBudget | None = None,
        log: WatchLog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the people.

        Args:
            store: the gallery.
            where: what messages call the gallery.
            scale: gives what distances mean by a calibration, or None to estimate that. It is called again if the
                gallery has doubled, or has other camera statistics or another false-match rate.
            scale_version: gives something that changes if ``scale`` would give something else for another reason, such
                as a new calibration.
            watched: names of people whose decisions are alerts.
            budget: how many false alerts are allowed. None for an alert whenever such a person is known.
            log: accounts for the searches in the audit log.
            clock: seconds of a clock that is never set.

        Raises :class:`InputError` if nobody has one of the names ``watched``.
        """
        self._store, self._table, self._where = store, store.people, where
        self._calibrated, self._scale_version, self._clock = scale, scale_version, clock
        self._in_view = InView()
        self._budget = budget
        self._log = log or WatchLog(self._table, {})
        self._newcomers = Newcomers(self._table, clock)
        self._told = ToldTracklets()
        self._corrections: list[Correction] = []
        """Those that were not asked for yet."""
        self._said: set[str] = set()
        self._read_next = self._search_next = 0.0
        self._scale_of: tuple[object, int] | None = None
        """What the scale depends on, and how large the gallery was."""
        self._scale = Scale(lambda _a, _b: 0.0)
        self._members: dict[str, int] = {}
        self._people = people = self._table.read()
        self._watched: set[int] = set()
        for name in watched:
            number = find_person(name, people)
            if number is None:
                raise unknown_person(name, people, where)
            self._watched.add(number)
        self._take(people)
        self._measure()

    @property
    def people(self) -> int:
        """How many people the gallery had when it was last read."""
        return len(self._sizes)

    def recognise(
        self, descriptor: NDArray[np.float32], camera: str, start: float, end: float, frames: int, tracklet: str
    ) -> Decision:
        """Say whom a tracklet shows; see :class:`reid_toolkit.live.recognising.Recogniser`."""
        self._refresh()
        seen = self._in_view.update(tracklet, camera, start, end, frames)
        before = replace(seen, given_up=set(seen.given_up), cleared=set(seen.cleared))
        due = frames >= KNOWN_FROM and (frames >= seen.next_frames or end >= seen.next_time)
        if due := due and self._clock() >= self._search_next:
            self._search(seen, descriptor)
        seen.decision = self._decide(seen)
        if due:
            growth = UNDECIDED_GROWTH if seen.decision.state == "undecided" else GROWTH
            seen.next_frames, seen.next_time = max(frames + 1, round(frames * growth)), end + RENEW
        try:
            self._account(seen)
        except (UnavailableError, AuditError) as error:
            vars(seen).update(vars(before))  # nothing is given out that is not in the log
            self._fail(error)
        else:
            if seen.searches > before.searches:
                self._said.discard(NOT_NOW)
        return seen.decision

    def _account(self, seen: Seen) -> None:
        """Write into the audit log whom a tracklet shows, if it has no line yet or that has changed."""
        if seen.descriptor is None or seen.logged == (seen.person,):
            return
        number = None if seen.person is None else name_of(seen.person, {})
        self._log.recognised(seen.tracklet, seen.camera, number, seen.descriptor, seen.searches)
        if seen.decision.alert and seen.decision.person:
            self._log.alert(seen.decision.person, seen.tracklet, seen.camera)
        if seen.logged is None:
            self._log.tracklets += 1
        seen.logged = (seen.person,)

    def _fail(self, error: GalleryError) -> None:
        """Say that the gallery cannot be searched or the log cannot be written, and wait before the next search."""
        self._say(NOT_NOW, error)
        self._search_next = self._clock() + RETRY_SECONDS

    def _search(self, seen: Seen, descriptor: NDArray[np.float32]) -> None:
        camera = seen.camera or None
        try:
            found = self._store.search_batch(descriptor[None], NEAREST, query_cameras=[camera], logged=False)[0]
        except (UnavailableError, AuditError) as error:
            self._fail(error)
            return
        except GalleryError:
            if len(self._store):
                raise
            found = []
        evidence = [(key_digest(one.record), one) for one in found if not same_moment(one.record, seen)]
        least = self._people.least_times
        elsewhere = {  # people who were before another camera so shortly before that they cannot be here
            self._members[digest]
            for digest, one in evidence
            if digest in self._members and too_soon(one.record, seen.camera, seen.start, seen.end, least)
        }
        seen.matches = [each for each in evidence if self._members.get(each[0]) not in elsewhere]
        seen.descriptor = descriptor
        seen.searches += 1
        self._log.searches += 1
        seen.given_up.clear()
        self._clear(seen)

    def _clear(self, seen: Seen) -> None:
        """Note which records of watched people are near enough for an alert, if the tracklet is due for that."""
        if self._budget is None or not self._watched or looks_at(seen.frames) <= seen.looks:
            return
        seen.looks = looks_at(seen.frames)
        rate = self._budget.spend(seen.end, sum(self._sizes[one] for one in self._watched))
        limit = self._scale.limit or (lambda *_: None)
        farthest = cache(lambda camera: limit(rate, camera, seen.camera))
        without = (
            f"no alerts for people before camera {seen.camera!r} for now: the calibration does not fit the gallery any "
            "more, or has too few distances between different people for so rare an event: run `reid calibrate` again"
        )
        for digest, match in seen.matches:
            if self._members.get(digest) in self._watched:
                distance = farthest(match.record.camera or None)
                if distance is None:
                    self._say(without)
                    continue
                self._said.discard(without)
                if match.distance <= distance:
                    seen.cleared.add(digest)

    def _decide(self, seen: Seen) -> Decision:
        """Decide by the latest search, and by whom other tracklets in view show."""
        found = self._candidates(seen)
        gone = seen.person is not None and seen.person not in self._sizes  # forgotten, or merged into another
        if seen.person is not None and (seen.challenged or gone):
            seen.given_up.add(seen.person)
            return self._choose(seen, found) or self._withdraw(seen)
        seen.challenged = False
        return self._choose(seen, found) or self._renamed(seen)

    def _choose(self, seen: Seen, found: list[Candidate]) -> Decision | None:
        """A decision that replaces the one before. None if nothing is clear."""
        held = {one.person: one for one in self._in_view.with_it(seen) if one.person is not None}
        free = []
        for candidate in found:
            other = held.get(candidate.person)
            if other is None:
                if candidate.person not in seen.given_up:
                    free.append(candidate)
            elif candidate.near and candidate.score < CLEAR * other.score and not free:
                other.challenged = True  # it gives way when it is asked next
                return None
        if free and free[0].near and (len(free) == 1 or free[0].score <= CLEAR * free[1].score):
            return self._known(seen, free[0])
        if seen.frames >= NEW_FROM and seen.searches and not any(one.near for one in found):
            seen.person, seen.challenged = None, False
            return self._new(seen)
        return None

    def _new(self, seen: Seen) -> Decision:
        """A new person, with the number that the person will have."""
        if seen.proposed is None:
            seen.proposed = self._newcomers.number()
        name = None if seen.proposed is None else name_of(seen.proposed, {})
        return Decision("new", name, number=name)

    def ended(self, record: Record, decision: Decision) -> None:
        """Take the record for the person from now on. Grouping may decide otherwise later."""
        found = NUMBERED.fullmatch(decision.number or "")
        person = int(found[1]) if found else 0
        self._told.put(record, person or None)
        if person in self._sizes or self._newcomers.is_new(person):  # and not forgotten meanwhile
            self._newcomers.put(record, person)
            self._join(key_digest(record), person)

    def corrections(self) -> list[Correction]:
        """Say what grouping has decided otherwise; see :class:`reid_toolkit.live.recognising.Recogniser`."""
        self._refresh()
        found, self._corrections = self._corrections, []
        return found

    def close(self) -> None:
        """Store whom the last records were taken for. Call it when they are enrolled."""
        try:
            self._people = self._newcomers.store(self._people)
        except GalleryError as error:  # which may be what ends the watch
            self._say("the people of the last records were not stored, so they may get other numbers", error)

    def _join(self, digest: str, person: int) -> None:
        if digest not in self._members:
            self._members[digest] = person
            self._sizes[person] += 1

    def _known(self, seen: Seen, chosen: Candidate) -> Decision:
        seen.person, seen.score, seen.challenged = chosen.person, chosen.score, False
        match, probability = chosen.match, None
        if self._scale.probability:
            probability = self._scale.probability(match.distance, seen.camera or None, match.record.camera, self.people)
        return Decision(
            "known",
            name_of(chosen.person, self._people.names),
            probability,
            match.record.tracklet,
            alert=self._alerts(seen, chosen.person),
            number=name_of(chosen.person, {}),
        )

    def _alerts(self, seen: Seen, person: int) -> bool:
        """Whether it is an alert if this tracklet shows this person."""
        if self._budget is None or person not in self._watched:
            return person in self._watched
        return any(self._members.get(digest) == person for digest in seen.cleared)

    def _withdraw(self, seen: Seen) -> Decision:
        seen.person, seen.challenged = None, False
        return Decision("undecided", withdrawn=True)

    def _renamed(self, seen: Seen) -> Decision:
        """The decision as it was, with the name that the person has now."""
        if seen.person is None:
            return seen.decision
        return replace(seen.decision, person=name_of(seen.person, self._people.names))

    def _candidates(self, seen: Seen) -> list[Candidate]:
        """The people among the nearest records, the nearest first. Records that were not grouped yet are left out."""
        scores: defaultdict[int, list[tuple[float, Match]]] = defaultdict(list)
        for digest, match in seen.matches:
            person = self._members.get(digest)
            if person is not None:
                limit = self._scale.farthest(seen.camera or None, match.record.camera or None)
                scores[person].append((match.distance / max(limit, 1e-9), match))
        found = []
        for person, near in scores.items():
            score, match = min(near, key=lambda one: one[0])
            agree = sum(one <= 1 for one, _ in near)
            found.append(Candidate(score, person, match, 2 * agree >= min(self._sizes[person], MOST_AGREE)))
        return sorted(found, key=lambda one: (one.score, one.person))

    def _refresh(self) -> None:
        """Read the people again, now and then."""
        began = self._clock()
        if began < self._read_next:
            return
        try:
            self._people = self._newcomers.store(self._people)
            if self._table.changed(self._people):
                self._take(self._table.read())
            self._measure()
        except (UnavailableError, AuditError) as error:
            self._say("its people were not read again", error)
        now = self._clock()
        self._read_next = now + max(READ_SECONDS, (now - began) / READ_SHARE)

    def _take(self, people: People) -> None:
        members = {digest: one.person for digest, one in people.members.items()}
        sizes = Counter(members.values())
        for gone in self._watched - sizes.keys():
            # Merged into others: those hold its records now.
            held = [digest for digest, person in self._members.items() if person == gone]
            heirs = {members[digest] for digest in held if digest in members}
            self._watched = (self._watched - {gone}) | heirs
            if not heirs:
                self._say(f"{name_of(gone, {})} of the watch list has no records any more, so there is no alert for it")
        self._people, self._members, self._sizes = replace(people, members={}), members, sizes
        self._newcomers.drop_gone(sizes)
        for one in self._newcomers.waiting:
            self._join(key_digest(one.record), one.person)
        self._corrections += [
            Correction(camera, tracklet, Decision("known", name_of(person, people.names), number=name_of(person, {})))
            for camera, tracklet, person in self._told.changed(self._members, self._sizes)
            if person is not None
        ]
        if self._budget:
            self._budget.sizes["people"] = sum(sizes[one] for one in self._watched)

    def _measure(self) -> None:
        """Find out what distances mean, if that may have changed."""
        statistics, size = self._store.statistics_version(Comparison([None])), len(self._store)
        depends_on = statistics, self._people.false_match_rate, self._scale_version()
        if self._scale_of is None or depends_on != self._scale_of[0] or size >= 2 * max(self._scale_of[1], 1):
            self._scale = self._calibrated() or estimate_scale(self._store)
            self._scale_of = depends_on, size

    def _say(self, message: str, error: GalleryError | None = None) -> None:
        """Warn, once for each message."""
        if message not in self._said:
            self._said.add(message)
            why = f": {error}" if error else ""
            warnings.warn(f"{self._where}: {message}{why}", RuntimeWarning, stacklevel=4)


def same_moment(record: Record, seen: Seen) -> bool:
    """Whether a record is of the tracklet itself, or its camera was seen at the same moment. Only Unix times can be
    compared."""
    if record.camera != seen.camera:
        return False
    if record.tracklet == seen.tracklet:
        return True
    if record.start is None or record.end is None or not UNIX_TIMES[0] <= seen.start <= seen.end <= UNIX_TIMES[1]:
        return False
    return record.start <= seen.end and seen.start <= record.end
