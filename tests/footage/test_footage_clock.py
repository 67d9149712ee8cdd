import numpy as np
import pytest
from set_clock import SetClock

from reid_toolkit.footage import clock as clock_module
from reid_toolkit.footage.clock import Clock


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    machine = SetClock(0.1)
    monkeypatch.setattr(clock_module, "time", machine)
    return machine


@pytest.mark.parametrize(("step", "said"), [(-3600.0, r"set back by 3600\.0 s"), (90.0, r"set forward by 90\.0 s")])
def test_a_clock_that_is_set_is_said_once_and_taken(machine: SetClock, step: float, said: str) -> None:
    clock = Clock()
    before = [clock.now() for _ in range(10)]
    machine.ahead += step
    with pytest.warns(RuntimeWarning, match=said) as warnings:
        after = [clock.now() for _ in range(10)]
    assert len(warnings) == 1
    np.testing.assert_allclose(np.diff(before + after), [0.1] * 9 + [0.1 + step] + [0.1] * 9, atol=1e-5)
    assert after[-1] == machine.time()


def test_small_steps_are_no_leaps_and_do_not_add_up(machine: SetClock) -> None:
    clock, times = Clock(), []
    for number in range(8):
        times.append(clock.now())
        machine.ahead += 0.6 if number % 2 else -0.6
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-5)
    machine.ahead -= 0.6
    clock.now()
    machine.ahead -= 0.6
    with pytest.warns(RuntimeWarning, match=r"back by 1\.2 s"):
        assert clock.now() == machine.time()


def test_frames_that_come_at_once_have_times_of_their_own(machine: SetClock) -> None:
    clock = Clock()
    clock.now()
    machine.step = 0.0
    assert (np.diff([clock.now() for _ in range(5)]) > 0).all()
