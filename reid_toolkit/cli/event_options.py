"""The options of ``reid watch`` about events, and what they open."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli import options
from reid_toolkit.errors import InputError, ReidError

if TYPE_CHECKING:
    from reid_toolkit.live.announcer import Announcer

OPTIONS = (
    click.option(
        "--events",
        multiple=True,
        metavar="WHERE",
        help="Tell who enters, stays and leaves, as JSON: to a file, - (stdout), mqtt://HOST[:PORT]/TOPIC, mqtts://, "
        "http:// or https://. Repeat it for several.",
    ),
    click.option(
        "--events-queue",
        type=options.FOLDER,
        help="Folder in which events wait while a broker or webhook is away.  [default: ~/.local/state/reid/events]",
    ),
    click.option(
        "--left-after",
        type=options.Number(0, min_open=True),
        metavar="SECONDS",
        help="A person who was not seen in a camera for this long has left.  [default: 30]",
    ),
    click.option(
        "--seen-every",
        type=options.Number(0, min_open=True),
        metavar="SECONDS",
        help="While a person stays, the least time from one event to a `seen`.  [default: 10]",
    ),
)

event_options = options.together(OPTIONS)
"""The options about events."""


@contextmanager
def announcing(
    events: Sequence[str],
    queue: Path | None,
    left_after: float | None,
    seen_every: float | None,
    as_json: bool,
) -> Iterator["Announcer | None"]:
    """Open the destinations, yield what tells them, and close them. None if no events are asked for.

    Raises :class:`InputError` for options that contradict each other, and if a destination cannot be used.
    """
    if not events:
        given = {"--events-queue": queue, "--left-after": left_after, "--seen-every": seen_every}
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} is about events: give --events too, or leave {option} out")
        yield None
        return
    if queue is not None and not any("://" in one for one in events):
        raise InputError(
            "--events-queue is for brokers and webhooks, which may be away: name one with --events, or leave "
            "--events-queue out"
        )
    if as_json and "-" in events:
        raise InputError("--json and --events - both write to stdout: send the events to a file")
    from reid_toolkit.live.announcer import Announcer
    from reid_toolkit.live.events import open_sinks
    from reid_toolkit.live.presence import LEFT_AFTER, SEEN_EVERY, Presence

    sinks = open_sinks(events, queue, sys.stdout)
    try:
        yield Announcer(sinks, presence=Presence(left_after or LEFT_AFTER, seen_every or SEEN_EVERY))
    finally:
        for sink in sinks:
            sink.close()


def event_counts(announcer: "Announcer | None") -> dict[str, Any]:
    """The counts of each destination, for JSON. Empty if no events are asked for."""
    from dataclasses import asdict

    if announcer is None:
        return {}
    return {"events": [{"destination": sink.name, **asdict(sink.count)} for sink in announcer.sinks]}


def refuse_lost_events(announcer: "Announcer | None") -> None:
    """Raise :class:`ReidError` if events are lost."""
    lost = {sink.name: sink.count.dropped for sink in announcer.sinks if sink.count.dropped} if announcer else {}
    if lost:
        said = ", ".join(f"{name}: {count}" for name, count in lost.items())
        raise ReidError(f"events are lost, because they could not be written or too many waited ({said})")
