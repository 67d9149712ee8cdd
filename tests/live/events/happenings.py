"""Events for tests of where they go."""

from reid_toolkit.live.events import Event, EventSink


def happening(number: int, person: str | None = "Zoë") -> Event:
    """An event that differs from others by its number."""
    return Event(
        "seen", person, None, "known", "hall", 1e9 + number, 1e9, 1e9 + number, 0.9, "hall-00001", f"hall-{number:05d}",
        visit="0123456789abcdef", key=f"{number:032x}",
    )  # fmt: skip


def put_each(sink: EventSink, numbers: range, *, close: bool = False) -> None:
    """Put events one by one."""
    for number in numbers:
        sink.put([happening(number)])
    if close:
        sink.close()


KEYS = [happening(number).key for number in range(1000)]
