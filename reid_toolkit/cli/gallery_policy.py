"""``reid gallery retention`` and ``reid gallery audit``: how long records are kept, and the log of their use."""

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import confirm, log, print_json, printable, yes_option
from reid_toolkit.cli.options import format_duration, parse_duration
from reid_toolkit.errors import InputError

OFF = "off"
SHOWN_FIRST = ("line", "time", "user", "action", "previous")
"""Fields of a line of the audit log that are not printed among its details."""


@click.command()
@click.argument("gallery")
@click.argument("period", required=False, metavar="[AGE|off]")
@yes_option
@options.wait
@options.json_output
def retention(gallery: str, period: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Show or set how long a gallery keeps records: 12h, 30d, 4w, or off to keep them for ever.

    Older records are hidden from every search at once, and deleted by the next `enroll`, `watch`, `compact` or `purge`.
    The age of a record is counted as for `reid gallery purge`.
    """
    import time

    from reid_toolkit.gallery import open_gallery

    seconds = None if period in (None, OFF) else parse_duration(period or "")
    with open_gallery(gallery, create=False, wait=wait) as store:
        if seconds is not None:
            count = store.matching(before=time.time() - seconds)
            question = f"Hide {count} older records now, and delete them at the next enroll, watch, compact or purge?"
            if count and not yes and not confirm(question):
                log.print("nothing was changed")
                return
        if period is not None:
            store.keep_for(seconds)
        kept, past = store.retention, store.info().past
    if as_json:
        print_json({"gallery": gallery, "retention": kept, "past": past})
        return
    click.echo(f"{gallery}: {describe_retention(kept, past)}")


def describe_retention(kept: float | None, past: int) -> str:
    """The retention, and how many records are hidden but not deleted yet, as text."""
    if kept is None:
        return "records are kept for ever"
    waiting = f"; {past} records are past it: they are hidden, and not deleted yet" if past else ""
    return f"records are kept for {format_duration(kept)}{waiting}"


def in_words(value: object) -> str:
    """A field of an audit line as text; lists and objects as JSON."""
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


@click.command()
@click.argument("gallery")
@click.argument("state", type=click.Choice(["on", OFF, "show"]))
@options.wait
@options.json_output
def audit(gallery: str, state: str, wait: float, as_json: bool) -> None:
    """Switch the audit log of searches and deletions on or off, or show it.

    While it is on, a search or deletion that cannot be logged is refused. `reid gallery check` finds out whether a
    line was changed or removed.
    """
    from reid_toolkit.gallery import Gallery

    if "://" in gallery:
        raise InputError(
            f"{gallery}: only a gallery in a folder has an audit log: expected a folder; a Milvus server has its own "
            "access log (proxy.accessLog in its configuration)"
        )
    with Gallery.open(gallery, create=False, wait=wait) as store:
        if state != "show":
            store.switch_audit(state == "on")
        events = store.audit_log() if state == "show" else []
        head = store.info().audit or {"on": False, "lines": 0, "last": None}
    if as_json:
        print_json({"gallery": gallery, **head, **({"events": events} if state == "show" else {})})
        return
    for event in events:
        details = (f"{key} {in_words(value)}" for key, value in event.items() if key not in SHOWN_FIRST and value)
        line = f"{event['time']}  {event['user']}  {event['action']}  {', '.join(details)}"
        click.echo(printable(line.rstrip()))
    last = f", the last {head['last']}" if head["lines"] else ""
    click.echo(f"{gallery}: audit log {'on' if head['on'] else OFF}, {head['lines']} lines{last}")
