"""Changes of people by users of the service."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from reid_toolkit.errors import InputError, ReidError
from reid_toolkit.gallery.people_table import Kind
from reid_toolkit.people.corrections import persons_to_mend
from reid_toolkit.people.naming import name_of
from reid_toolkit.service.desk import Desk, View
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.finding import person_of
from reid_toolkit.service.grouping import Grouper

PATIENCE = 10.0
"""Seconds for which a change waits for another one."""


@contextmanager
def alone(desk: Desk) -> Iterator[None]:
    """Nobody else changes people. Raises :class:`Refusal` 409 if another change takes long."""
    if not desk.writing.acquire(timeout=PATIENCE):
        raise Refusal(409, "people are being changed at the moment: try again", headers={"Retry-After": "5"})
    try:
        yield
    finally:
        desk.writing.release()


@contextmanager
def changing(desk: Desk) -> Iterator[View]:
    """The people, for a change. One at a time. Raises :class:`Refusal` 409 if another change takes long."""
    with alone(desk):
        try:
            yield desk.book()
        except ReidError as error:
            raise desk.refusal(error, input_status=409) from error


def say(desk: Desk, grouper: Grouper, who: str, kind: Kind, first: str, second: str) -> dict[str, Any]:
    """Store that two people or records are one person, or are not, and group again what does not obey it.

    The answer says who the first of them shows now: of two people who became one, one number is gone.
    """
    with changing(desk) as book:
        book = known(desk, book, (first, second))
        made = book.say(kind, first, second, who)
        grouped = mend(desk, grouper, who)
        called, now = book.called, desk.book(new_records=False)
    member = now.people.members.get(made.first)
    return {
        "correction": made.name, "kind": kind, "first": called[made.first], "second": called[made.second],
        "grouped": grouped, "person": now.person_of(made.first), "number": None if member is None else member.person,
    }  # fmt: skip


def known(desk: Desk, book: View, texts: Sequence[str]) -> View:
    """The people, after making sure that each text names something that is still there. Raises :class:`Refusal` 404 if
    not."""
    try:
        targets = [book.target(text) for text in texts]
    except ReidError:
        book = desk.book(at_once=True)  # the text may name a new record
        try:
            targets = [book.target(text) for text in texts]
        except ReidError as error:
            raise desk.refusal(error, input_status=404) from error
    wanted = {one.digest for one in targets}
    if len(desk.store.held(wanted)) < len(wanted):
        raise Refusal(404, "a record was deleted meanwhile: load the page again")
    return book


def mend(desk: Desk, grouper: Grouper, who: str) -> bool:
    """Group again if corrections demand it. False if that was not possible now: the next grouping does it."""
    if not persons_to_mend(desk.store.people.read()):
        return True
    try:
        grouper.run(who, "group", "--json")
    except Refusal:  # the correction itself is stored
        return False
    return True


def split(desk: Desk, who: str, name: str, records: Sequence[str]) -> dict[str, Any]:
    """Make a new person of some records of a person."""
    with changing(desk) as book:
        book = known(desk, book, records)
        number = person_of(book, name)
        made, new = book.split(book.name(number), records, who)
        return {"person": name_of(new, {}), "number": new, "corrections": [one.name for one in made]}


def rename(desk: Desk, name: str, new: str | None) -> dict[str, Any]:
    """Give a person a name, or take it away."""
    with changing(desk) as book:
        number = person_of(book, name, shown=new is not None)
        try:
            return {"person": book.rename(book.name(number), new), "number": number}
        except InputError as error:
            taken = "is the name of" in str(error)
            raise desk.refusal(error, input_status=409 if taken else 422) from error


def forget(desk: Desk, name: str) -> dict[str, Any]:
    """Delete all records of a person for good."""
    with changing(desk) as book:
        return {"records": book.forget(person_of(book, name, shown=False))}


def undo(desk: Desk, grouper: Grouper, who: str, name: str) -> dict[str, Any]:
    """Take a correction back, such as c-3, or several, such as c-3..c-9, and group again what they concern."""
    with changing(desk) as book:
        try:
            book.corrections_called([name])
        except InputError:
            raise Refusal(404, f"no correction is called {name[:40]!r}") from None
        grouper.run(who, "undo", operands=(name,))
        return {"undone": name}


def group(desk: Desk, grouper: Grouper, who: str, *, anew: bool) -> dict[str, Any]:
    """Give each record a person: the document of `reid people group --json`."""
    with changing(desk):
        document: dict[str, Any] = grouper.run(who, "group", *(["--anew"] if anew else []), "--json")
    return document | {"gallery": desk.label}


def questions(desk: Desk, ask: Callable[[], Any]) -> list[dict[str, Any]]:
    """The pairs of records whose answer teaches most, with what a page shows of each. ``ask`` gives the document of
    `reid people review --json`."""
    desk.grouped()
    rows, book = ask()["questions"], desk.book()
    found = []
    for row in rows:
        if all(digest in book.records for digest in row["ids"]):
            first, second = (side(desk, book, digest) for digest in row["ids"])
            found.append({"first": first, "second": second, **{key: row[key] for key in ("now", "cost", "records")}})
    return found


def side(desk: Desk, book: View, digest: str) -> dict[str, Any]:
    """One of the two records of a question."""
    record = book.records[digest]
    about = {"name": book.called[digest], "camera": record.camera, "start": record.start, "end": record.end}
    return about | desk.card(record, book)
