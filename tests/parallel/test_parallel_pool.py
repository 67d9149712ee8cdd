"""What all pools promise, with work that is only arithmetic. Ray's pool is in tests/cli/test_cli_ray.py."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reid_toolkit.errors import InputError, RunError
from reid_toolkit.parallel.pool import Finished, Pool, ThisProcess, in_order
from reid_toolkit.parallel.processes import Processes


def start_squares() -> Callable[[int], int]:
    return lambda unit: unit * unit


def start_fails() -> Callable[[int], int]:
    raise InputError("no model here")


class Deadly:
    """Kills its process at one unit, as often as files in ``folder`` allow."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self) -> Callable[[int], int]:
        return self.work

    def work(self, unit: int) -> int:
        if unit == 5 and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if unit == 8:
            raise InputError("unit 8 is wrong")
        return unit * unit


@pytest.fixture(params=["this process", "processes"])
def pool(request: pytest.FixtureRequest) -> Pool:
    return ThisProcess() if request.param == "this process" else Processes(2, 4)


def test_each_unit_is_done_once(pool: Pool) -> None:
    done = list(pool.run(start_squares, range(20)))
    assert sorted(done) == [(number, number * number) for number in range(20)]
    assert list(in_order(done)) == [number * number for number in range(20)]


def test_a_worker_that_cannot_start_says_why(pool: Pool) -> None:
    with pytest.raises(InputError, match="no model here"):
        list(pool.run(start_fails, range(3)))


def test_an_error_of_a_worker_ends_the_work(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unit 8 is wrong"):
        list(pool.run(Deadly(tmp_path, 0), range(20)))


def test_without_units_no_worker_is_made(pool: Pool) -> None:
    assert list(pool.run(start_fails, [])) == []


def test_units_are_not_taken_far_ahead_of_the_results() -> None:
    taken = []

    def units() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    finished = Processes(2, 4).run(start_squares, units())
    next(finished)
    assert len(taken) <= 5
    finished.close()


def test_a_killed_worker_is_replaced_and_its_unit_done_again(tmp_path: Path) -> None:
    done = list(Processes(2, 4).run(Deadly(tmp_path, 2), range(8)))
    assert sorted(done) == [(number, number * number) for number in range(8)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize("error", [OSError("handle is closed"), ValueError("bad value(s) in fds_to_keep")], ids=repr)
def test_a_process_that_cannot_be_started_because_another_died_is_started_later(
    monkeypatch: pytest.MonkeyPatch, broken: bool, error: Exception
) -> None:
    submit, calls = ProcessPoolExecutor.submit, []

    def fail_once(self: ProcessPoolExecutor, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            self._broken = "a process died" if broken else False
            raise error
        return submit(self, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", fail_once)
    results = Processes(2, 4).run(start_squares, range(8))
    if broken:
        assert sorted(results) == [(number, number * number) for number in range(8)]
    else:  # the system has no room for another process, for example
        with pytest.raises(type(error)) as caught:
            list(results)
        assert caught.value is error


def test_a_unit_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"worker processes died 3 times at the same work .* --workers"):
        list(Processes(2, 4).run(Deadly(tmp_path, 99), range(8)))


def test_workers_share_the_cores() -> None:
    assert Processes(3, 8).cores == 2
    assert Processes(8, 2).cores == 1


def test_results_come_in_order_whatever_order_they_have() -> None:
    assert list(in_order([Finished(2, "c"), Finished(0, "a"), Finished(1, "b")])) == ["a", "b", "c"]
