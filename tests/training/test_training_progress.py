import pytest

from reid_toolkit.training.progress import Pace
from reid_toolkit.training.schedule import Place, Plan

PLAN = Plan(merges=0, stages=3, steps=(10, 10, 10), per_epoch=10)


class Clock:
    """Walks through a run: each step takes so long, and what lies between stages so long."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.now, self.pace = 1000.0, Pace(plan, 1000.0)

    def walk(self, stage: int, steps: range, step: float, between: float = 0.0) -> list[float | None]:
        said = []
        self.now += between
        for number in steps:
            self.now += step
            said.append(self.pace.seconds_left(Place(stage, 0, number + 1), self.now))
        return said


def test_what_lies_between_stages_counts_from_the_second_step_on() -> None:
    clock = Clock()
    first, *others = clock.walk(0, range(10), step=2.0, between=30.0)
    assert first is None
    # Of 30 steps of 2 s, and three times 32 s: before the two stages that come, and after the last one.
    assert others == pytest.approx([2.0 * (30 - done) + 3 * 32.0 for done in range(2, 11)])
    assert clock.walk(1, range(10), step=2.0, between=30.0)[-1] == pytest.approx(2.0 * 10 + 2 * 32.0)
    assert clock.walk(2, range(10), step=2.0, between=30.0)[-1] == pytest.approx(32.0)


def test_it_follows_when_the_machine_gets_other_work() -> None:
    plan = Plan(merges=0, stages=1, steps=(1000,), per_epoch=1000)
    clock = Clock(plan)
    assert clock.walk(0, range(200), step=1.0)[-1] == pytest.approx(800, abs=5)
    slower = clock.walk(0, range(200, 400), step=3.0)
    assert slower[0] < 1.1 * 800  # no jump at the first slow step
    assert slower[-1] == pytest.approx(3.0 * 600, rel=0.02)


def test_a_run_that_goes_on_within_a_stage_knows_no_time_between_stages_yet() -> None:
    clock = Clock()
    assert clock.walk(1, range(4, 6), step=2.0) == [None, 2.0 * 14]
    clock.walk(1, range(6, 10), step=2.0)
    clock.walk(2, range(1), step=2.0, between=40.0)
    assert clock.walk(2, range(1, 2), step=2.0)[-1] == pytest.approx(2.0 * 8 + 42.0 / 2, rel=0.3)


def test_epochs_of_a_stage_are_counted() -> None:
    plan = Plan(merges=2, stages=2, steps=(6, 3), per_epoch=3)
    assert [plan.done(place) for place in (Place(0), Place(0, 0, 3), Place(0, 1, 2), Place(1, 0, 1))] == [0, 3, 5, 7]
