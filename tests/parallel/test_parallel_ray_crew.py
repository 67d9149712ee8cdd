"""How Ray's pool waits for machines, with a stand-in for Ray. The real one is in tests/cli/test_cli_ray.py."""

from types import SimpleNamespace
from typing import Any

import pytest

from reid_toolkit.errors import InputError, RunError
from reid_toolkit.parallel import ray_pool
from reid_toolkit.parallel.ray_pool import Crew, RayPool, refuse_silent
from reid_toolkit.version import __version__


class LostError(Exception):
    """As Ray raises it if an actor is gone."""


class StandIn:
    """A cluster whose machines come and go: ``cores`` are those of each look at it, the last for ever."""

    exceptions = SimpleNamespace(RayTaskError=type("RayTaskError", (Exception,), {}), RayError=LostError)

    def __init__(self, cores: list[int]) -> None:
        self.cores = cores
        self.lost = False

    def put(self, value: Any) -> Any:
        return value

    def cluster_resources(self) -> dict[str, float]:
        now = self.cores.pop(0) if len(self.cores) > 1 else self.cores[0]
        self.lost = not now
        return {"CPU": float(now)}

    def remote(self, _: type) -> Any:
        def call(act: Any) -> Any:
            return SimpleNamespace(remote=lambda argument: Call(act, argument))

        class Actor:
            begin, do = call(lambda _: ("here", __version__, "3")), call(lambda unit: unit * unit)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=Actor))

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        if self.lost:
            raise LostError("the machine has left")
        return reference.act(reference.argument)


class Call:
    """A call of an actor's method that was sent."""

    def __init__(self, act: Any, argument: Any) -> None:
        self.act, self.argument = act, argument


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "GROW_SECONDS", -1.0)
    monkeypatch.setattr(ray_pool, "LOOK_SECONDS", 0.0)


def run(cores: list[int]) -> list[int]:
    crew = Crew(StandIn(cores), RayPool("head:6379"), lambda: None)
    return sorted(result for _, result in crew.run(range(8), lambda: None))


def test_a_machine_that_leaves_may_come_back() -> None:
    assert run([1, 1, 0, 0, 1]) == [number * number for number in range(8)]


def test_a_cluster_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="has 0 cores and 0 GPUs: a worker needs 1 and 0"):
        run([0])


def test_a_machine_that_stays_away_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "RETURN_SECONDS", 0.01)
    with pytest.raises(RunError, match="what is finished is kept: run the same command again"):
        run([1, 1, 0])


def test_a_host_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="nobody answers there"):
        refuse_silent("head..local:6379")
