"""Workers on a Ray cluster, over any number of machines."""

import os
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from reid_toolkit.errors import InputError, MissingDependencyError, RunError, first_line
from reid_toolkit.parallel.pool import IN_FLIGHT, LOOK_SECONDS, MOST_TRIES, Finished, Result, Unit
from reid_toolkit.version import __version__

LOCAL = "local"
"""The address that starts a cluster on this machine for the time of the command."""
AUTO = "auto"
"""The address of the cluster that this machine belongs to."""
ADDRESS = re.compile(r"(ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s/:\[\]]+):(?P<port>\d{1,5})")
ANSWER_SECONDS = 10.0
"""How long a cluster's head may take to answer."""
GROW_SECONDS = 5.0
"""Seconds between two looks at whether the cluster has room for more workers."""
RETURN_SECONDS = 600.0
"""How long a command waits when the last machine with room has left: machines restart."""
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers without a GPU keep the machine's setting
    "RAY_usage_stats_enabled": "0",  # nothing is sent to Ray's makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # errors are raised, and need not be printed as well
}
"""How Ray runs here, unless the user's environment says otherwise."""


@dataclass(frozen=True)
class RayPool:
    """A pool of actors on a Ray cluster, as many as it has room for.

    Machines may join and leave while it works. A worker whose machine or process is lost is replaced, and its units are
    done again. reid must be installed on each machine in the same version.
    """

    address: str
    """Of the cluster's head (``ray start --head`` prints it), "auto" for the cluster of this machine, or "local"."""
    cpus: float = 1.0
    """Cores that are reserved for each worker."""
    gpus: float = 0.0
    """GPUs that are reserved for each worker; 0.5 puts two workers on a GPU."""
    workers: int | None = None
    """At most so many workers. None for as many as the cluster has room for."""
    elsewhere = True

    @property
    def cores(self) -> int:
        """How many cores each worker may use."""
        return max(1, int(self.cpus))

    def run(
        self,
        start: Callable[[], Callable[[Unit], Result]],
        units: Iterable[Unit],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        """See :class:`Pool`. Raises :class:`InputError` if nobody answers or there is no room for a worker."""
        ray = import_ray()
        connect(ray, self.address)
        crew = Crew(ray, self, start)
        try:
            yield from crew.run(units, on_wait)
        finally:
            ray.shutdown()  # ends the actors of this command, and a local cluster


class Crew:
    """The actors of a run, and what each of them works on."""

    def __init__(self, ray: Any, pool: RayPool, start: Callable[[], Callable[[Any], Any]]) -> None:
        self.ray, self.pool = ray, pool
        self.start = ray.put(start)  # once, however many workers there are
        options = {"num_cpus": pool.cpus, "num_gpus": pool.gpus, "max_restarts": 0, "max_concurrency": 1}
        self.actor = ray.remote(Worker).options(**options)
        self.busy: dict[Any, tuple[Any, int | None, Any]] = {}
        """By reference of a result: the actor, and position and unit; position None for an actor that starts."""
        self.load: Counter[Any] = Counter()
        """Units sent to each actor that has started."""
        self.starting = 0
        self.looked = 0.0
        self.began = False
        """Whether any worker has started."""
        self.alone_since: float | None = None
        """Since when no machine has had room for a worker."""

    def run(self, units: Iterable[Any], on_wait: Callable[[], None]) -> Iterator[Finished]:
        left = iter(enumerate(units))
        lost: list[tuple[int, Any]] = []
        tries: Counter[int] = Counter()
        more = True
        while True:
            if more or lost:
                self.grow()
            for actor in self.load:
                while self.load[actor] < IN_FLIGHT:
                    entry = lost.pop() if lost else next(left, None)
                    if entry is None:
                        more = False
                        break
                    self.load[actor] += 1
                    self.busy[actor.do.remote(entry[1])] = (actor, *entry)
            working = [ref for ref, (_, position, _) in self.busy.items() if position is not None]
            if not more and not lost and not working:
                return
            done, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=LOOK_SECONDS) if self.busy else ([], [])
            if not self.busy:
                time.sleep(LOOK_SECONDS)
            on_wait()
            for ref in done:
                yield from self.settle(ref, lost, tries)

    def settle(self, ref: Any, lost: list[tuple[int, Any]], tries: Counter[int]) -> Iterator[Finished]:
        """Take the result of a finished call, or note what was lost with its actor."""
        actor, position, unit = self.busy.pop(ref)
        if position is None:
            self.starting -= 1
        try:
            result = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the worker raised
        except self.ray.exceptions.RayError as error:
            self.load.pop(actor, None)
            if position is None:
                tries[-1] += 1
            else:
                lost.append((position, unit))
                tries[position] += 1
            if max(tries.values()) >= MOST_TRIES:
                raise RunError(
                    f"Ray workers died {MOST_TRIES} times at the same work (often a lack of memory; the last: "
                    f"{first_line(error)}): what is finished is kept: run the same command again to continue"
                ) from None
            return
        if position is None:
            refuse_other_version(*result)
            self.load[actor] = 0
            self.began = True
            tries.pop(-1, None)
            return
        self.load[actor] -= 1
        yield Finished(position, result)

    def grow(self) -> None:
        """Start as many workers as the cluster has room for. Their machine may have joined only now."""
        now = time.monotonic()
        if self.looked and now - self.looked < GROW_SECONDS:
            return
        self.looked = now
        there = self.ray.cluster_resources()
        room = int(there.get("CPU", 0) // self.pool.cpus) if self.pool.cpus else 1_000
        if self.pool.gpus:
            room = min(room, int(there.get("GPU", 0) // self.pool.gpus))
        alone = not room and not self.load and not self.starting
        if alone:
            self.wait_for_machines(there, now)
        else:
            self.alone_since = None
        if self.pool.workers is not None:
            room = min(room, self.pool.workers)
        for _ in range(room - len(self.load) - self.starting):
            actor = self.actor.remote()
            self.busy[actor.begin.remote(self.start)] = (actor, None, None)
            self.starting += 1

    def wait_for_machines(self, there: Mapping[str, float], now: float) -> None:
        """Raise :class:`InputError` if the cluster never had room for a worker, and :class:`RunError` if the last
        machine with room has been gone for too long. It may have been restarted."""
        if not self.began:
            raise InputError(
                f"the Ray cluster {self.pool.address} has {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} "
                f"GPUs: a worker needs {self.pool.cpus:g} and {self.pool.gpus:g}: ask for less, with --worker-cpus and "
                "--worker-gpus"
            )
        self.alone_since = self.alone_since or now
        if now - self.alone_since > RETURN_SECONDS:
            raise RunError(
                f"no machine of the Ray cluster {self.pool.address} that has room for a worker is left, for "
                f"{RETURN_SECONDS / 60:g} minutes: what is finished is kept: run the same command again to continue"
            )


class Worker:
    """What runs in a Ray actor."""

    def begin(self, start: Callable[[], Callable[[Any], Any]]) -> tuple[str, str, str]:
        """Make the worker. Gives this machine's name, and its versions of reid and Python."""
        import warnings

        warnings.simplefilter("ignore", RuntimeWarning)  # the command has given the same warning
        self.worker = start()
        return socket.gethostname(), __version__, platform.python_version()

    def do(self, unit: Any) -> Any:
        """Do a unit."""
        return self.worker(unit)


def refuse_other_version(machine: str, version: str, python: str) -> None:
    """Raise :class:`RunError` if a worker's machine has another version of reid than this one."""
    if version != __version__:
        raise RunError(
            f"machine {machine} has reid {version} (Python {python}), this one has {__version__}: install the same "
            "version on all machines"
        )


def import_ray() -> Any:
    """The module ray. Raises :class:`MissingDependencyError` if it is not installed."""
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingDependencyError(
            "--ray needs ray, which is not installed: in reid's checkout, pip install '.[cluster]'; or use --workers, "
            "which needs nothing"
        ) from None
    return ray


def connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start one on this machine. Raises :class:`InputError` if that is not possible."""
    refuse_silent(address)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    try:
        if address == LOCAL:
            # Bound to loopback, so that nobody else can reach it.
            ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises many kinds, by what is wrong with address, versions or tokens
        raise InputError(
            f"--ray {address}: cannot be used with Ray {version_of('ray')}: {first_line(error)}: expected the address "
            "of a running cluster of the same Ray, such as 10.0.0.5:6379, or auto, or local; if it wants a token, set "
            "RAY_AUTH_TOKEN"
        ) from None


def refuse_silent(address: str) -> None:
    """Raise :class:`InputError` if nobody answers at this address. Ray itself would go on trying for many minutes."""
    if address in (LOCAL, AUTO):
        return
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise InputError(
            f"--ray {address!r}: expected HOST:PORT of a cluster's head, such as 10.0.0.5:6379, auto or local"
        )
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot hold
        raise InputError(
            f"--ray {address}: nobody answers there: {getattr(error, 'strerror', None) or error}: start the cluster's "
            "head with `ray start --head`, which prints its address"
        ) from None
