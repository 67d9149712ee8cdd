import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from drawn_yard import EMPTY, RATE
from watched_yard import FRAMES, PLAIN, Shelf, Stream, live_walk, walk

from reid_toolkit.footage.frames import Frame
from reid_toolkit.live.announcer import Announcer
from reid_toolkit.live.events import Event
from reid_toolkit.live.events.sink import SinkCount
from reid_toolkit.live.presence import Presence
from reid_toolkit.live.recognising import Correction, Decision, Resemblance
from reid_toolkit.records import Record


@dataclass
class Listener:
    """A destination that keeps all events."""

    name: str = "listener"
    count: SinkCount = field(default_factory=SinkCount)
    told: list[Event] = field(default_factory=list)
    polls: int = 0

    def put(self, events: Sequence[Event]) -> None:
        self.told += events

    def poll(self) -> None:
        self.polls += 1

    def close(self) -> None:
        raise AssertionError("who opened it closes it")

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]


@dataclass
class Asked:
    """A recogniser that decides by the number of frames."""

    decisions: dict[int, Decision]
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    enrolled: list[tuple[str, Decision]] = field(default_factory=list)
    later: dict[str, Decision] = field(default_factory=dict)
    """What is found about a tracklet after it has ended."""

    def corrections(self) -> list[Correction]:
        return [Correction("north", name, self.later.pop(name)) for name, _ in self.enrolled if name in self.later]

    def ended(self, record: Record, decision: Decision) -> None:
        self.enrolled.append((record.tracklet, decision))

    def recognise(
        self, descriptor: np.ndarray, camera: str, start: float, end: float, frames: int, tracklet: str
    ) -> Decision:
        assert descriptor.shape == (descriptor.size,)
        assert np.linalg.norm(descriptor) == pytest.approx(1, abs=1e-5)
        self.asked.append((camera, start, end, frames, tracklet))
        return self.decisions[max(count for count in self.decisions if count <= frames)]


UNDECIDED, NEW, ANNA = Decision("undecided"), Decision("new", "person-17"), Decision("known", "Anna", 0.9, "gate-1")


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_without_recognition_a_tracklet_enters_is_seen_and_leaves(see, shelf: Shelf, listener: Listener) -> None:
    see(settings=replace(PLAIN, start=1e9), announcer=Announcer([listener], presence=Presence(seen_every=1.0)))
    (record,) = shelf.records
    assert listener.kinds == ["entered", "seen", "seen", "left"]
    assert {(event.tracklet, event.camera) for event in listener.told} == {(record.tracklet, "north")}
    assert {(event.person, event.state, event.record) for event in listener.told} == {(None, None, None)}
    entered, left = listener.told[0], listener.told[-1]
    assert (left.start, left.end) == (record.start, record.end)
    assert entered.start == record.start
    assert 1e9 + (EMPTY + 3 * PLAIN.every) / RATE <= entered.time < entered.time + 1 < left.time
    assert listener.polls >= FRAMES


def test_a_file_watched_again_gives_the_same_events(see, listener: Listener) -> None:
    second = Listener()
    see(announcer=Announcer([listener]))
    see(announcer=Announcer([second]))
    assert listener.told == second.told != []


def test_the_recogniser_is_asked_after_each_crop(see, listener: Listener, shelf: Shelf) -> None:
    asked = Asked({0: UNDECIDED, 3: NEW, 5: ANNA})
    report = see(settings=replace(PLAIN, every=5, start=100.0), announcer=Announcer([listener], asked))
    assert [frames for *_, frames, _ in asked.asked] == list(range(1, report.tally.crops + 1))
    assert {(camera, start) for camera, start, *_ in asked.asked} == {("north", shelf.records[0].start)}
    ends = [end for _, _, end, _, _ in asked.asked]
    assert ends == sorted(set(ends))
    assert {tracklet for *_, tracklet in asked.asked} == {shelf.records[0].tracklet}
    assert [(event.kind, event.person, event.previous) for event in listener.told] == [
        ("entered", "person-17", None), ("revised", "Anna", "person-17"), ("left", "Anna", None),
    ]  # fmt: skip
    assert listener.told[0].time == ends[2], "the frame of the third crop"
    assert (listener.told[1].probability, listener.told[1].record) == (0.9, "gate-1")
    assert asked.enrolled == [(shelf.records[0].tracklet, ANNA)]
    assert not asked.decisions.keys() & {1, 2}


def test_who_has_left_is_corrected(see, listener: Listener, shelf: Shelf) -> None:
    asked = Asked({0: NEW})
    announcer = Announcer([listener], asked)
    see(announcer=announcer)
    asked.later = {shelf.records[0].tracklet: ANNA, "another": ANNA}
    announcer.poll()
    announcer.poll()
    assert [(event.kind, event.person, event.previous) for event in listener.told] == [
        ("entered", "person-17", None), ("left", "person-17", None), ("corrected", "Anna", "person-17"),
    ]  # fmt: skip
    assert {(event.visit, event.tracklet) for event in listener.told[1:]} == {
        (listener.told[0].visit, shelf.records[0].tracklet)
    }


class Seeker:
    """A watch list with one picture, which a tracklet looks like from its third crop on."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.over: list[str] = []

    def look(
        self, descriptor: np.ndarray, camera: str, end: float, frames: int, tracklet: str
    ) -> tuple[Resemblance, ...]:
        self.asked.append((camera, end, frames, tracklet))
        return (Resemblance("child.jpg", 0.8),) if frames >= 3 else ()

    def ended(self, tracklet: str) -> None:
        self.over.append(tracklet)


@pytest.mark.parametrize("recogniser", [None, Asked({0: UNDECIDED}), Asked({0: ANNA})])
def test_an_alert_by_a_picture_comes_at_once(see, listener: Listener, shelf: Shelf, recogniser: Any) -> None:
    seeker = Seeker()
    announcer = Announcer([listener], recogniser, watching=seeker)
    report = see(settings=replace(PLAIN, every=5, min_crops=6), announcer=announcer)
    assert [frames for _, _, frames, _ in seeker.asked] == list(range(1, report.tally.crops + 1))
    (alert,) = (event for event in listener.told if event.kind == "alert")
    assert (alert.watched, alert.probability, alert.time) == ("child.jpg", 0.8, seeker.asked[2][1])
    assert [kind for kind in listener.kinds if kind != "seen"] == ["entered", "alert", "left"]
    assert seeker.over == [shelf.records[0].tracklet]
    assert announcer._alike == {}, "nothing is kept"


def test_who_stays_undecided_is_told_of_at_the_end(see, listener: Listener) -> None:
    see(announcer=Announcer([listener], Asked({0: UNDECIDED})))
    assert [(event.kind, event.state) for event in listener.told] == [("entered", "undecided"), ("left", "undecided")]


@pytest.mark.parametrize("recogniser", [None, Asked({0: UNDECIDED})])
def test_what_is_too_short_to_be_enrolled_is_not_told_of(see, listener: Listener, recogniser: Any) -> None:
    see(settings=replace(PLAIN, every=20, min_crops=3), announcer=Announcer([listener], recogniser))
    assert listener.told == []


def test_who_was_recognised_is_told_of_even_if_the_tracklet_is_short(see, listener: Listener) -> None:
    announcer = Announcer([listener], Asked({0: ANNA}))
    see(settings=replace(PLAIN, every=20, min_crops=3), announcer=announcer)
    assert listener.kinds == ["entered", "left"]
    assert announcer._decisions == {}


def test_a_person_whom_the_tracker_loses_enters_once(see, listener: Listener, shelf: Shelf) -> None:
    def connect() -> Iterator[Frame]:
        yield from walk(range(30))
        yield from walk(range(30, FRAMES), began=5.0)

    see(Stream(connect, is_stream=False), replace(PLAIN, every=1), announcer=Announcer([listener], Asked({0: ANNA})))
    assert len(shelf.records) == 2
    assert [kind for kind in listener.kinds if kind != "seen"] == ["entered", "left"]
    assert (listener.told[-1].start, listener.told[-1].end) == (shelf.records[0].start, shelf.records[1].end)


def test_who_is_before_a_camera_that_falls_silent_leaves(see, listener: Listener) -> None:
    stop = threading.Event()

    def connect() -> Iterator[Frame]:
        yield from live_walk(0.004)
        stop.wait(60)

    announcer = Announcer([listener], presence=Presence(left_after=1.5))
    see(
        Stream(connect), replace(PLAIN, every=1, min_crops=2), announcer=announcer, stop=stop, seconds=60,
        on_status=lambda report: "left" in listener.kinds and stop.set(),
    )  # fmt: skip
    assert stop.is_set(), "before the end"
    assert listener.kinds.count("entered") == listener.kinds.count("left")


def test_a_stop_lets_everybody_leave(see, listener: Listener) -> None:
    stop = threading.Event()
    see(announcer=Announcer([listener]), stop=stop, on_status=lambda report: report.tally.frames == 40 and stop.set())
    assert listener.kinds == ["entered", "left"]


def test_an_error_lets_everybody_leave(see, listener: Listener) -> None:
    class Broken(Asked):
        def recognise(self, *given: Any) -> Decision:  # type: ignore[override]
            if len(self.asked) == 5:
                raise MemoryError("too many people")
            return super().recognise(*given)

    with pytest.raises(MemoryError):
        see(announcer=Announcer([listener], Broken({0: ANNA})))
    assert listener.kinds == ["entered", "left"]
