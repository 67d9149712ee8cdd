"""Alerts about people who are watched for by pictures, and the number of false ones that is promised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from drawn_site import MIDNIGHT
from numpy.typing import NDArray

from reid_toolkit.calibration.calibration import Calibration, calibrate
from reid_toolkit.calibration.evidence import collect
from reid_toolkit.cli.watch_list import limit_by
from reid_toolkit.errors import AuditError
from reid_toolkit.people.alert_budget import DAY, HOUR, LOOKS, AlertBudget, busiest_day, looks_at
from reid_toolkit.people.watch_list import Picture, WatchList
from reid_toolkit.people.watch_log import WatchLog

WIDTH, CROPS, AN_HOUR = 64, 24, 200


@dataclass
class Crowd:
    """People who differ mostly in a few directions, so that many look alike."""

    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def look(self) -> NDArray[np.float64]:
        return self.rng.normal(size=WIDTH) * np.exp(-np.arange(WIDTH) / 12)

    def tracklet(self, look: NDArray[np.float64], crops: int = CROPS) -> NDArray[np.float32]:
        """The mean descriptor after each crop, (crops, D). The crops of a tracklet have a difference in common."""
        rows = look + 0.25 * self.look() + 0.5 * self.rng.normal(size=(crops, WIDTH)) * np.exp(-np.arange(WIDTH) / 12)
        means = np.cumsum(rows, axis=0)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


@cache
def calibration() -> Calibration:
    """Made from people of whom ten at a time are seen at once."""
    crowd, cameras = Crowd(0), ("hall", "gate")
    looks = [crowd.look() for _ in range(240)]
    tracklets = [(crowd.tracklet(look), camera, who) for who, look in enumerate(looks) for camera in cameras]
    order = crowd.rng.permutation(len(looks))
    at_once = [
        (2 * a + side, 2 * b + side)
        for side in (0, 1)
        for at in range(0, len(looks), 10)
        for a in np.roll(order, 37 * side)[at : at + 10]
        for b in np.roll(order, 37 * side)[at : at + 10]
        if a < b
    ]
    rows = np.stack([means[-1] for means, _, _ in tracklets])
    halves = np.stack([[crowd.tracklet(looks[who], 12)[-1] for _ in range(2)] for _, _, who in tracklets])
    evidence = collect(rows, halves, [camera for _, camera, _ in tracklets], np.array(at_once),
                       np.array([who for _, _, who in tracklets]))  # fmt: skip
    return calibrate(evidence, model="m" * 16, dataset="d" * 16, tracklets=len(rows), links="run", per_person=2.0,
                     people_pairs=len(at_once))  # fmt: skip


def watch_for(looks: Sequence[NDArray[np.float64]], crowd: Crowd, budget: AlertBudget, **more: Any) -> WatchList:
    pictures = [Picture(f"{at}.jpg", crowd.tracklet(look)[-1], None) for at, look in enumerate(looks)]
    found = calibration()
    given = {"limit": limit_by(found), "statistics": None, "log": WatchLog(None, {}), **more}
    return WatchList(pictures, budget, probability=lambda d, a, b, _: found.probability(d, a, b, 0.01)[0], **given)


def hour(crowd: Crowd, watching: WatchList, began: float, looks: Sequence[NDArray[np.float64]] = ()) -> Iterator[bool]:
    """Whether there is an alert about each tracklet of an hour: those of ``looks``, or of strangers."""
    for at, time in enumerate(np.sort(crowd.rng.uniform(0, HOUR, AN_HOUR)).tolist()):
        means = crowd.tracklet(looks[at % len(looks)] if len(looks) else crowd.look())
        alike = [watching.look(means[n - 1], "hall", began + time, n, f"t{at}") for n in LOOKS]
        watching.ended(f"t{at}")
        yield bool(alike[-1])


def test_false_alerts_are_as_rare_as_promised_and_watched_people_raise_them() -> None:
    """Twelve drawn hours of strangers, while three others are watched for. One false alert an hour is allowed."""
    false = right = 0
    for seed in range(12):
        crowd = Crowd(100 + seed)
        wanted = [crowd.look() for _ in range(3)]
        watching = watch_for(wanted, crowd, AlertBudget(24.0, expected=24.0 * AN_HOUR))
        false += sum(hour(crowd, watching, MIDNIGHT))
        if seed < 2:
            right += sum(hour(crowd, watching, MIDNIGHT + 2 * HOUR, wanted))
    assert false <= 12, "2 came"
    assert right > 0.9 * 2 * AN_HOUR


def test_without_counting_comparisons_there_would_be_more_false_alerts() -> None:
    """What the promise is for: a limit by the tracklets alone, 9 times as loose, breaks it."""
    false = 0
    for seed in range(12):
        crowd = Crowd(100 + seed)
        watching = watch_for([crowd.look() for _ in range(3)], crowd, AlertBudget(9 * 24.0, expected=24.0 * AN_HOUR))
        false += sum(hour(crowd, watching, MIDNIGHT))
    assert false > 12


def test_a_tracklet_is_compared_three_times_and_an_alert_lasts() -> None:
    crowd, rates = Crowd(1), []

    def limit(rate: float, one: str | None, other: str) -> float:
        rates.append((rate, one, other))
        return 2.0 if len(rates) == 2 else 0.0

    log = WatchLog(None, {})
    watching = watch_for([crowd.look()], crowd, AlertBudget(1.0, expected=1000.0), limit=limit, log=log)
    told = [watching.look(row, "hall", MIDNIGHT + n, n, "t") for n, row in enumerate(crowd.tracklet(crowd.look()), 1)]
    assert [bool(alike) for alike in told] == [False] * 7 + [True] * (CROPS - 7)
    assert {one.picture for alike in told for one in alike} == {"0.jpg"}
    assert [one for _, one, _ in rates] == [None] * len(LOOKS)
    assert rates[0][0] == pytest.approx(1 / 3000), "1,000 tracklets are compared 3 times with one picture"
    assert log.comparisons == len(LOOKS)
    watching.ended("t")
    assert watching._held == {}


def test_no_alert_is_given_out_that_the_log_does_not_keep() -> None:
    class Log(WatchLog):
        full = True

        def alert(self, *_: str) -> None:
            if self.full:
                raise AuditError("no space")

    crowd, log = Crowd(1), Log(None, {})
    watching = watch_for([crowd.look()], crowd, AlertBudget(1.0), limit=lambda *_: 2.0, log=log)
    row = crowd.tracklet(crowd.look())[-1]
    with pytest.warns(RuntimeWarning, match="there are no alerts now: no space"):
        assert watching.look(row, "hall", 0.0, 3, "t") == ()
    log.full = False
    assert [one.picture for one in watching.look(row, "hall", 1.0, 4, "t")] == ["0.jpg"]


def test_too_little_evidence_is_said_once() -> None:
    crowd = Crowd(1)
    watching = watch_for([crowd.look()], crowd, AlertBudget(1e-6))
    row = crowd.tracklet(crowd.look())[-1]
    with pytest.warns(RuntimeWarning, match="no alerts by pictures before camera 'hall'") as said:
        assert [watching.look(row, "hall", 0.0, frames, "t") for frames in LOOKS] == [()] * 3
    assert len(said) == 1


def test_a_day_never_spends_more_than_is_allowed() -> None:
    budget = AlertBudget(2.0, expected=10.0)
    budget.sizes["pictures"] = 4
    spent = []
    for at in range(5_000):  # many more than expected
        budget.tracklets += 1
        budget.pass_time("hall", 30.0 * at)
        spent.append((30.0 * at, 4 * budget.spend(30.0 * at, 4)))
    assert min(amount for _, amount in spent) > 0, "something is left for everybody"
    for begin in range(0, 50_000, 5_000):
        assert sum(amount for time, amount in spent if begin <= time < begin + DAY - HOUR) <= 2.0 + 1e-9
    assert len(budget._spent) <= 25, "what is past a day is forgotten"


def test_how_many_tracklets_a_day_there_are() -> None:
    budget = AlertBudget(1.0)
    assert budget.tracklets_a_day == 2400, "assumed until an hour was seen"
    budget.tracklets = 300
    assert budget.tracklets_a_day == 7200
    budget.pass_time("hall", MIDNIGHT)
    budget.pass_time("gate", MIDNIGHT + 9)
    budget.pass_time("hall", MIDNIGHT + 6 * HOUR)
    assert budget.tracklets_a_day == 1200
    budget.expected = 5000.0
    assert budget.tracklets_a_day == 5000
    assert [looks_at(frames) for frames in (0, 2, 3, 7, 8, 20, 21, 900)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_clock_that_is_set_leaves_the_allowance_as_it_is() -> None:
    """A box without a battery begins in 1970, until it finds a time server."""
    budget = AlertBudget(1.0)
    budget.sizes["pictures"] = 1
    rates = []
    for time in (60.0, MIDNIGHT, MIDNIGHT + 60):
        budget.tracklets += 1
        budget.pass_time("hall", time)
        rates.append(budget.spend(time, 1))
    assert budget.tracklets_a_day == 2400, "nobody has seen an hour yet"
    assert rates == [1 / 2400 / len(LOOKS)] * 3


def test_what_was_spent_before_the_clock_was_set_back_is_free_again_after_a_day() -> None:
    budget = AlertBudget(1.0, expected=10.0)
    budget.sizes["pictures"] = 1
    usual = budget.spend(MIDNIGHT, 1)
    for at in range(1, 100):  # in a year to come
        budget.pass_time("hall", MIDNIGHT + 400 * DAY + at)
        budget.spend(MIDNIGHT + 400 * DAY + at, 1)
    rates = []
    for time in (MIDNIGHT + 2 * DAY, MIDNIGHT + 3 * DAY + HOUR):
        budget.pass_time("hall", time)
        rates.append(budget.spend(time, 1))
    assert rates[0] < 0.1 * usual, "the allowance of a day is nearly spent"
    assert rates[1] == pytest.approx(usual)


def test_the_busiest_day_of_records() -> None:
    assert busiest_day([None, 5.0]) is None, "not dated"
    assert busiest_day(MIDNIGHT + np.arange(12) * 600.0) == pytest.approx(12 * 24 / (6600 / HOUR))
    assert busiest_day([MIDNIGHT] * 3) == 72
    days = [MIDNIGHT + day * DAY + at for day, count in ((0, 3), (1, 9), (2, 4)) for at in range(count)]
    assert busiest_day(days) == 9


def test_no_24_hours_are_allowed_more_than_a_day_may_have() -> None:
    budget, spent = AlertBudget(2.0, expected=1.0), []
    for minute in range(0, 50 * 60, 7):
        time = MIDNIGHT + 60.0 * minute
        spent.append((time, budget.spend(time, 1)))
    for start, _ in spent:
        assert sum(rate for time, rate in spent if start <= time < start + DAY) <= 2.0 + 1e-9
