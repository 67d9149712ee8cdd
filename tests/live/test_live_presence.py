from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.live import presence
from reid_toolkit.live.events import Event
from reid_toolkit.live.presence import Presence, Sight
from reid_toolkit.live.recognising import Decision, Resemblance

ANNA, BERT = Decision("known", "Anna", 0.9, "gate-1"), Decision("known", "Bert", 0.8, "gate-2")
NEW, NAMELESS = Decision("new", "person-17"), Decision("new")
UNDECIDED, PERHAPS = Decision("undecided"), Decision("undecided", "Anna", 0.4)


class Hall:
    """A camera, told of by the second. ``told`` is all that was said."""

    def __init__(self, left_after: float = 5.0, seen_every: float = 3.0) -> None:
        self.presence = Presence(left_after, seen_every)
        self.told: list[Event] = []
        self.starts: dict[str, float] = {}
        self.ends: dict[str, float] = {}

    def see(self, time: float, tracklet: str, decision: Decision | None, *pictures: str) -> "Hall":
        start = self.starts.setdefault(tracklet, time)
        self.ends[tracklet] = time
        alike = tuple(Resemblance(picture, 0.7) for picture in pictures)
        self.told += self.presence.see(Sight("hall", tracklet, start, time, time, decision, alike=alike))
        return self

    def end(self, time: float, tracklet: str, decision: Decision | None) -> "Hall":
        sight = Sight("hall", tracklet, self.starts[tracklet], self.ends[tracklet], time, decision, ended=True)
        self.told += self.presence.see(sight)
        return self

    def correct(self, tracklet: str, decision: Decision) -> "Hall":
        self.told += self.presence.correct("hall", tracklet, decision)
        return self

    def wait(self, time: float) -> "Hall":
        self.told += self.presence.pass_time("hall", time)
        return self

    def close(self) -> "Hall":
        self.told += self.presence.finish()
        return self

    @property
    def words(self) -> list[str]:
        """Each event in short, such as "3 revised Bert (Anna)"."""
        return [
            f"{event.time:g} {event.kind} {event.person or event.tracklet}"
            + (f" ({event.previous})" if event.kind in ("revised", "corrected") else "")
            for event in self.told
        ]


def test_without_recognition_each_tracklet_enters_and_leaves() -> None:
    hall = Hall().see(0, "t0", None).see(1, "t1", None).end(2, "t0", None).wait(5).wait(5.5).close()
    assert hall.words == ["0 entered t0", "1 entered t1", "5.5 left t0", "5.5 left t1"]
    assert {(event.person, event.state, event.probability) for event in hall.told} == {(None, None, None)}


def test_a_person_who_is_lost_for_some_seconds_enters_once() -> None:
    hall = Hall().see(0, "t0", ANNA).end(1, "t0", ANNA).see(4, "t1", ANNA).end(5, "t1", ANNA)
    hall.wait(9).wait(9.5)
    assert hall.words == ["0 entered Anna", "4 seen Anna", "9.5 left Anna"]
    left = hall.told[-1]
    assert (left.start, left.end, left.tracklet, left.probability, left.record) == (0, 4, "t1", 0.9, "gate-1")
    assert len({event.visit for event in hall.told}) == 1
    hall.see(20, "t2", ANNA).close()
    assert hall.words[3:] == ["20 entered Anna", "20 left Anna"]
    assert hall.told[-1].visit != left.visit


def test_who_stays_is_said_at_a_bounded_rate() -> None:
    hall = Hall()
    for tenth in range(101):
        hall.see(tenth / 10, "t0", ANNA)
    assert hall.words == ["0 entered Anna", "3 seen Anna", "6 seen Anna", "9 seen Anna"]


def test_the_undecided_are_told_of_when_they_are_decided_or_end() -> None:
    hall = Hall().see(0, "t0", UNDECIDED).see(1, "t0", UNDECIDED).see(2, "t0", ANNA)
    assert hall.words == ["2 entered Anna"]
    assert hall.told[0].start == 0
    hall.see(3, "t0", UNDECIDED).end(4, "t0", UNDECIDED).close()
    assert hall.words == ["2 entered Anna", "4 left Anna"], "what was decided is not forgotten"
    hall = Hall().see(0, "t0", UNDECIDED).end(1, "t0", UNDECIDED).close()
    assert hall.words == ["1 entered t0", "1 left t0"]
    assert {event.state for event in hall.told} == {"undecided"}
    hall = Hall().see(0, "t0", PERHAPS).end(1, "t0", PERHAPS).see(2, "t1", ANNA).close()
    assert hall.words == ["1 entered Anna", "2 left Anna"]
    assert [event.state for event in hall.told] == ["undecided", "known"]


def test_who_is_new_and_then_known_is_revised() -> None:
    hall = Hall().see(0, "t0", NEW).see(1, "t0", ANNA).see(2, "t0", ANNA).close()
    assert hall.words == ["0 entered person-17", "1 revised Anna (person-17)", "2 left Anna"]
    assert [event.state for event in hall.told] == ["new", "known", "known"]
    assert len({event.visit for event in hall.told}) == 1
    hall = Hall().see(0, "t0", NAMELESS).see(1, "t0", NEW).close()
    assert hall.words == ["0 entered t0", "1 revised person-17 (None)", "1 left person-17"]


def test_a_new_name_is_said_and_the_visit_goes_on() -> None:
    anna, ana = (Decision("known", name, 0.9, "gate-1", number="person-000003") for name in ("Anna", "Ana"))
    hall = Hall().see(0, "t0", anna).see(1, "t0", ana).end(2, "t0", ana).see(3, "t1", ana).close()
    assert hall.words == ["0 entered Anna", "1 revised Ana (Anna)", "3 left Ana"]
    assert len({event.visit for event in hall.told}) == 1
    assert {event.number for event in hall.told} == {"person-000003"}
    assert [event.previous_number for event in hall.told] == [None, "person-000003", None]
    hall = Hall().see(0, "lost", anna).see(1, "t1", anna).see(2, "t1", ana).end(2, "lost", anna).see(3, "t1", ana)
    assert hall.words == ["0 entered Anna", "2 revised Ana (Anna)"], "a tracklet that was lost knows the old name"
    hall = Hall().see(0, "t0", anna).see(0, "t1", NEW).wait(1).see(1, "t1", ana).close()
    assert hall.words[2:] == ["1 left person-17", "1 revised Ana (person-17)", "1 left Ana"]


def test_an_alert_by_a_picture_comes_once_a_visit_also_about_who_is_undecided() -> None:
    hall = Hall().see(0, "t0", UNDECIDED).see(1, "t0", UNDECIDED, "a.jpg").see(2, "t0", ANNA, "a.jpg", "b.jpg")
    hall.see(3, "t0", ANNA, "a.jpg", "b.jpg").see(3, "t1", ANNA, "a.jpg").close()
    assert hall.words == ["1 entered t0", "1 alert t0", "2 revised Anna (None)", "2 alert Anna", "3 left Anna"]
    first, second = (event for event in hall.told if event.kind == "alert")
    assert (first.watched, first.state, first.probability, first.record) == ("a.jpg", "undecided", 0.7, None)
    assert (second.watched, second.visit) == ("b.jpg", first.visit)
    hall = Hall().see(0, "t0", None).see(1, "t0", None, "a.jpg").end(2, "t0", None).see(3, "t1", None, "a.jpg")
    assert hall.words == ["0 entered t0", "1 alert t0", "3 entered t1", "3 alert t1"]
    assert {event.watched for event in hall.told} == {None, "a.jpg"}


def test_an_alert_is_not_repeated_for_a_new_name() -> None:
    anna, ana = (Decision("known", name, alert=True, number="person-000003") for name in ("Anna", "Ana"))
    assert [event.kind for event in Hall().see(0, "t0", anna).see(1, "t0", ana).told] == ["entered", "alert", "revised"]


def test_who_turns_out_to_be_another_has_another_number() -> None:
    anna, bert = (Decision("known", name, number=f"person-{name}") for name in ("Anna", "Bert"))
    revised = Hall().see(0, "t0", anna).see(1, "t0", bert).see(2, "t0", Decision("new")).told[1:]
    assert [(event.number, event.previous_number) for event in revised] == [
        ("person-Bert", "person-Anna"), (None, "person-Bert"),
    ]  # fmt: skip


def test_who_is_somebody_already_there_leaves_as_the_one_and_goes_on_as_the_other() -> None:
    hall = Hall().see(0, "t0", ANNA).see(1, "t1", NEW).see(2, "t1", ANNA).close()
    assert hall.words == [
        "0 entered Anna", "1 entered person-17", "2 left person-17", "2 revised Anna (person-17)", "2 left Anna",
    ]  # fmt: skip
    assert hall.told[3].visit == hall.told[0].visit


def test_who_was_one_of_two_tracklets_enters_anew() -> None:
    hall = Hall().see(0, "t0", ANNA).end(1, "t0", ANNA).see(2, "t1", ANNA).see(3, "t1", BERT).wait(6)
    assert hall.words == ["0 entered Anna", "3 entered Bert", "3 revised Bert (Anna)", "6 left Anna"]
    assert hall.told[-1].end == 0, "the second tracklet was not of Anna"
    hall = Hall().see(0, "t0", ANNA).see(0, "t1", ANNA).see(0, "t2", BERT).see(1, "t1", BERT).close()
    assert hall.words[2:3] == ["1 revised Bert (Anna)"]
    assert sorted(hall.words[3:]) == ["1 left Anna", "1 left Bert"]


def test_a_visit_that_has_ended_is_corrected() -> None:
    hall = Hall().see(0, "t0", ANNA).end(1, "t0", ANNA).wait(7).wait(9).correct("t0", BERT)
    assert hall.words == ["0 entered Anna", "7 left Anna", "9 corrected Bert (Anna)"]
    corrected = hall.told[-1]
    assert (corrected.visit, corrected.tracklet, corrected.start, corrected.end) == (hall.told[0].visit, "t0", 0, 0)
    assert (corrected.state, corrected.record) == ("known", "gate-2")
    hall.correct("t0", BERT).correct("t9", ANNA)
    assert len(hall.told) == 3, "it was said, and nothing is known of t9"
    hall.correct("t0", ANNA)
    assert hall.words[3:] == ["9 corrected Anna (Bert)"]
    assert len({event.key for event in hall.told}) == 4


def test_a_correction_waits_until_the_visit_has_ended() -> None:
    hall = Hall().see(0, "t0", ANNA).end(1, "t0", ANNA).correct("t0", BERT).see(2, "t1", ANNA)
    assert hall.words == ["0 entered Anna"]
    hall.close()
    assert hall.words[1:] == ["2 left Anna", "2 corrected Bert (Anna)"]
    hall = Hall().see(0, "t0", ANNA).end(1, "t0", ANNA).correct("t0", BERT).correct("t0", ANNA).close()
    assert hall.words == ["0 entered Anna", "1 left Anna"], "grouping has changed its mind again"
    hall.correct("t0", BERT)
    assert hall.words[2:] == ["1 corrected Bert (Anna)"], "the camera is watched no more"


def test_an_undecided_visit_and_a_tracklet_that_outlives_its_visit_are_corrected() -> None:
    hall = Hall().see(0, "t0", UNDECIDED).end(1, "t0", UNDECIDED).close().correct("t0", ANNA)
    assert hall.words == ["1 entered t0", "1 left t0", "1 corrected Anna (None)"]
    hall = Hall().see(0, "t0", ANNA).wait(9).correct("t0", BERT)
    assert hall.words == ["0 entered Anna", "9 left Anna", "9 corrected Bert (Anna)"]


def test_the_latest_visits_can_be_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST", 2)
    hall = Hall()
    for at in range(3):
        hall.see(10 * at, f"t{at}", ANNA).end(10 * at + 1, f"t{at}", ANNA)
    hall.close()
    for at in range(3):
        hall.correct(f"t{at}", BERT)
    assert [event.tracklet for event in hall.told if event.kind == "corrected"] == ["t1", "t2"]
    hall = Hall().see(0, "t0", None).end(1, "t0", None).close().correct("t0", ANNA)
    assert hall.words == ["0 entered t0", "1 left t0"], "nobody recognises people"


def test_a_decision_that_is_taken_back_is_revised() -> None:
    withdrawn = Decision("undecided", withdrawn=True)
    hall = Hall().see(0, "t0", ANNA).see(1, "t0", withdrawn).see(2, "t0", withdrawn).see(2, "t1", ANNA)
    hall.see(3, "t0", UNDECIDED).see(3, "t0", BERT).close()
    assert hall.words == [
        "0 entered Anna", "1 revised t0 (Anna)", "2 entered Anna", "3 revised Bert (None)",
        "3 left Anna", "3 left Bert",
    ]  # fmt: skip
    assert hall.told[1].state == "undecided"
    assert Hall().see(0, "t0", withdrawn).words == [], "nothing was said before"


def test_an_alert_is_said_once_a_visit() -> None:
    wanted = Decision("known", "Anna", 0.9, "gate-1", alert=True)
    hall = Hall().see(0, "t0", ANNA).see(1, "t0", wanted).see(2, "t0", wanted).see(2, "t1", wanted).end(3, "t0", wanted)
    assert hall.words == ["0 entered Anna", "1 alert Anna"]
    alert = hall.told[1]
    assert (alert.probability, alert.record, alert.visit) == (0.9, "gate-1", hall.told[0].visit)
    assert [event.watched for event in hall.told] == [None, "Anna"]
    assert alert.key != hall.told[0].key
    hall.wait(20).see(20, "t2", wanted)
    assert hall.words[2:] == ["20 left Anna", "20 entered Anna", "20 alert Anna"]
    hall.see(21, "t2", BERT).see(22, "t2", wanted).close()
    assert hall.words[5:] == ["21 revised Bert (Anna)", "22 revised Anna (Bert)", "22 alert Anna", "22 left Anna"]


def test_cameras_are_apart() -> None:
    presence = Presence(5.0, 3.0)
    first = presence.see(Sight("hall", "h0", 100, 100, 100, ANNA))
    second = presence.see(Sight("yard", "y0", 0, 0, 0, ANNA))
    assert [event.kind for event in first + second] == ["entered", "entered"]
    assert presence.pass_time("yard", 5) == []
    assert [event.camera for event in presence.pass_time("yard", 6)] == ["yard"]


def test_a_clock_that_is_set_back_lets_everybody_leave() -> None:
    hall = Hall().see(100, "t0", ANNA).see(100, "t1", UNDECIDED).wait(40).end(40, "t0", ANNA).end(40, "t1", UNDECIDED)
    hall.see(40.5, "t2", ANNA).see(40.4, "t2", ANNA).close()
    assert hall.words == [
        "100 entered Anna", "100 left Anna", "40 entered t1", "40.5 entered Anna", "40.5 left t1", "40.5 left Anna",
    ]  # fmt: skip
    assert all(event.start <= event.end <= event.time for event in hall.told)


def test_a_tracklet_out_of_sight_for_longer_leaves_and_may_come_back() -> None:
    hall = Hall(left_after=0.5).see(0, "t0", ANNA).wait(0.6).end(1, "t0", ANNA)
    assert hall.words == ["0 entered Anna", "0.6 left Anna"]
    hall.see(2, "t1", ANNA).wait(2.6).see(2.8, "t1", ANNA).close()
    assert hall.words[2:] == ["2 entered Anna", "2.6 left Anna", "2.8 entered Anna", "2.8 left Anna"]


def test_a_tracklet_that_is_dropped_is_not_told_of() -> None:
    hall = Hall().see(0, "t0", UNDECIDED)
    hall.presence.drop("hall", "t0")
    hall.see(1, "t1", ANNA)
    hall.presence.drop("hall", "t1")
    hall.presence.drop("yard", "t9")
    assert hall.wait(6.5).words == ["1 entered Anna", "6.5 left Anna"]


def test_the_same_frames_give_the_same_keys() -> None:
    def told() -> list[Event]:
        return Hall().see(0, "t0", NEW).see(1, "t0", ANNA).see(4, "t0", ANNA).close().told

    assert told() == told()


@pytest.mark.parametrize(
    "wrong", [{"state": "maybe"}, {"state": "known"}, {"state": "new", "probability": 1.5},
              {"state": "new", "probability": float("nan")}]
)  # fmt: skip
def test_an_impossible_decision_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Decision(**wrong)


DECISIONS = st.sampled_from([ANNA, BERT, NEW, NAMELESS, UNDECIDED, PERHAPS])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hall", "yard"]),
        st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 7.0]),
        st.lists(st.tuples(st.integers(0, 3), DECISIONS, st.booleans()), max_size=3),
    ),
    max_size=40,
)
"""Camera, seconds that pass, and news of tracklets: which, the decision, and whether it ends."""


def play(steps: list, left_after: float, seen_every: float) -> list[Event]:
    """Play the steps. A tracklet that ended is followed by another with the same number."""
    presence, told = Presence(left_after, seen_every), []
    now: dict[str, float] = defaultdict(float)
    life: dict[tuple[str, int], int] = defaultdict(int)
    spans: dict[str, tuple[float, float]] = {}
    for camera, passed, news in steps:
        now[camera] += passed
        told += presence.pass_time(camera, now[camera])
        for number, decision, ended in news:
            tracklet = f"{camera}-{number}-{life[camera, number]}"
            start, end = spans.get(tracklet, (now[camera], now[camera]))
            if ended and tracklet in spans:
                told += presence.see(Sight(camera, tracklet, start, end, now[camera], decision, ended=True))
                life[camera, number] += 1
            else:
                spans[tracklet] = (start, now[camera])
                told += presence.see(Sight(camera, tracklet, start, now[camera], now[camera], decision))
    return told + presence.finish()


@given(STEPS, st.sampled_from([0.3, 1.0, 5.0]), st.sampled_from([0.5, 3.0]))
def test_each_visit_enters_once_and_leaves_once_and_time_does_not_go_back(
    steps: list, left_after: float, seen_every: float
) -> None:
    told = play(steps, left_after, seen_every)
    assert len({event.key for event in told}) == len(told)
    there: dict[str, Event] = {}
    finished: set[str] = set()
    times: dict[str, float] = {}
    for event in told:
        assert event.start <= event.end <= event.time
        assert event.time >= times.get(event.camera, 0.0)
        times[event.camera] = event.time
        assert event.visit not in finished
        assert (event.kind == "entered") == (event.visit not in there)
        if event.kind == "seen":
            assert event.time - there[event.visit].time >= seen_every
        if event.kind in ("seen", "left"):
            assert event.person == there[event.visit].person
        assert event.kind == "revised" or event.previous is None
        there[event.visit] = event
        if event.kind == "left":
            del there[event.visit]
            finished.add(event.visit)
        present = [(one.camera, one.person) for one in there.values() if one.person is not None]
        assert len(set(present)) == len(present), "nobody is in a camera twice"
    assert not there


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 1.0, 4.0, 5.0, 6.0]), st.integers(0, 2)), min_size=1, max_size=30),
    st.sampled_from([2.0, 5.0]),
)
def test_visits_are_what_lies_between_long_gaps(steps: list, left_after: float) -> None:
    """Against a slow version: the times of each person, cut at gaps that are too long."""
    people = [ANNA, BERT, NEW]
    hall, now = Hall(left_after), 0.0
    times: dict[str | None, list[float]] = defaultdict(list)
    for passed, number in steps:
        now += passed
        hall.wait(now).see(now, f"t-{number}-{now}", people[number]).end(now, f"t-{number}-{now}", people[number])
        times[people[number].person].append(now)
    hall.close()
    expected = {}
    for person, seen in times.items():
        cuts = [0, *(n for n, (a, b) in enumerate(pairwise(seen), 1) if b - a > left_after), len(seen)]
        expected[person] = [(seen[a], seen[b - 1]) for a, b in pairwise(cuts)]
    found = defaultdict(list)
    for event in hall.told:
        if event.kind == "left":
            found[event.person].append((event.start, event.end))
    assert found == expected
    assert sum(event.kind == "entered" for event in hall.told) == sum(map(len, expected.values()))
