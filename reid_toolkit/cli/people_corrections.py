"""Corrections of `reid people`: same, not, split, name, forget, undo, and which questions to answer first."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import confirm, counted, late_progress_bar, log, print_json, printable, yes_option
from reid_toolkit.cli.gallery_delete import erase_leftover
from reid_toolkit.cli.people_limits import limit_of
from reid_toolkit.errors import InputError

if TYPE_CHECKING:
    from reid_toolkit.gallery.people_table import Kind
    from reid_toolkit.people.book import Book


@contextmanager
def changing(gallery: str, wait: float) -> "Iterator[Book]":
    """The people of a gallery, for a change."""
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.people.book import Book

    with open_gallery(gallery, create=False, wait=wait) as store:
        yield Book(store, gallery, time.time())


def user() -> str:
    from reid_toolkit.gallery.local.audit import user as name

    return name()


def say(kind: "Kind", gallery: str, one: str, other: str, wait: float) -> str:
    """Store a correction, group again what does not obey the corrections, and give the correction's name."""
    from reid_toolkit.people.corrections import persons_to_mend

    with changing(gallery, wait) as book:
        made = book.say(kind, one, other, user())
        if persons_to_mend(book.store.people.read()):
            from reid_toolkit.people.update import update  # which needs PyTorch

            update(book.store, farthest=limit_of(book.store, book.people))
    return made.name


@click.command()
@click.argument("gallery")
@click.argument("one")
@click.argument("other")
@options.wait
def same(gallery: str, one: str, other: str, wait: float) -> None:
    """Say that two people or tracklets are one person. They become one now, and stay one."""
    made = say("same", gallery, one, other, wait)
    click.echo(printable(f"{made}: {one} and {other} are one person; `reid people undo {gallery} {made}` undoes it"))


@click.command("not")
@click.argument("gallery")
@click.argument("one")
@click.argument("other")
@options.wait
def different(gallery: str, one: str, other: str, wait: float) -> None:
    """Say that two people or tracklets are not one person.

    If they were one person, the records of that person are grouped again now. The person keeps the name, and the
    tracklet leaves. Of two tracklets, the second one leaves.
    """
    made = say("different", gallery, one, other, wait)
    click.echo(
        printable(f"{made}: {one} and {other} are different people; `reid people undo {gallery} {made}` undoes it")
    )


@click.command()
@click.argument("gallery")
@click.argument("person")
@click.argument("tracklets", nargs=-1, required=True)
@options.wait
def split(gallery: str, person: str, tracklets: tuple[str, ...], wait: float) -> None:
    """Make a new person of some tracklets of PERSON."""
    with changing(gallery, wait) as book:
        made, number = book.split(person, tracklets, user())
    names = made[0].name if len(made) == 1 else f"{made[0].name}..{made[-1].name}"
    verb = "is" if len(set(tracklets)) == 1 else "are"
    click.echo(
        printable(
            f"{counted(len(set(tracklets)), 'tracklet')} of {person} {verb} now person-{number:06d}; "
            f"`reid people undo {gallery} {names}` undoes it"
        )
    )


@click.command()
@click.argument("gallery")
@click.argument("person")
@click.argument("name", required=False)
@click.option("--none", "remove", is_flag=True, help="Take the name away.")
@options.wait
def name(gallery: str, person: str, name: str | None, remove: bool, wait: float) -> None:
    """Give PERSON a NAME, which lasts."""
    if (name is None) != remove:
        raise click.UsageError("expected a NAME, or --none to take the name away")
    with changing(gallery, wait) as book:
        now = book.rename(person, name)
    click.echo(printable(f"{person} is now called {now}"))


@click.command()
@click.argument("gallery")
@click.argument("person")
@yes_option
@options.wait
def forget(gallery: str, person: str, yes: bool, wait: float) -> None:
    """Delete all records of PERSON for good, with the name and all links.

    The records go on the gallery's block list, as with `reid gallery forget`.
    """
    with changing(gallery, wait) as book:
        try:
            number = book.anybody(person)
        except InputError:
            # Perhaps an earlier call deleted the person, but was killed before it erased the bytes.
            with late_progress_bar("index", "records") as on_progress:
                erase_leftover(book.store, on_progress)
            raise
        if not yes:
            count = counted(len(book.keys_of(number)), "record")
            if not confirm(f"Delete {count} of {printable(book.name(number))} for good?"):
                log.print("nothing was deleted")
                return
        with late_progress_bar("index", "records") as on_progress:
            gone = book.forget(number, on_progress)
    click.echo(f"{gallery}: {counted(gone, 'record')} forgotten")


@click.command()
@click.argument("gallery")
@click.argument("names", nargs=-1, required=True, metavar="CORRECTION...")
@options.wait
def undo(gallery: str, names: tuple[str, ...], wait: float) -> None:
    """Take corrections back, such as c-3, or c-3..c-9 for several. The records that they concern are grouped again."""
    from reid_toolkit.people.update import update

    with changing(gallery, wait) as book:
        undone = book.corrections_called(names)
        update(book.store, undo=undone, farthest=limit_of(book.store, book.people))
    click.echo(f"{gallery}: {counted(len(undone), 'correction')} undone")


@click.command()
@click.argument("gallery")
@options.json_output
def corrections(gallery: str, as_json: bool) -> None:
    """List the corrections, with who made them and when."""
    from reid_toolkit.people.corrections import describe
    from reid_toolkit.people.documents import corrections_document

    with changing(gallery, 10.0) as book:
        held, called, document = book.people.corrections, book.called, corrections_document(book, gallery)
    if as_json:
        print_json(document)
        return
    for one in held:
        click.echo(printable(describe(one, called)))
    if not held:
        log.print("no corrections")


@click.command()
@click.argument("gallery")
@click.option("--top-k", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many questions.")
@options.wait
@options.json_output
def review(gallery: str, top_k: int, wait: float, as_json: bool) -> None:
    """Show the pairs of tracklets whose answer teaches most: do they show one person?

    Look at the pictures (`reid people show --html`), and answer with `reid people same` or `reid people not`.
    """
    from reid_toolkit.people.review import questions

    with changing(gallery, wait) as book:
        book.refuse_ungrouped()
        asked = questions(book, top_k, limit_of(book.store, book.people))
    if as_json:
        rows = [
            {
                "first": book.called[one.first], "second": book.called[one.second], "now": one.now, "cost": one.cost,
                "records": one.records, "ids": [one.first, one.second],
            }
            for one in asked
        ]  # fmt: skip
        print_json({"gallery": gallery, "questions": rows})
        return
    members = book.people.members
    for one in asked:
        persons = {members[digest].person: None for digest in (one.first, one.second) if digest in members}
        names = ", ".join(book.name(person) for person in persons)
        state = "one person now" if one.now == "same" else "two people now"
        click.echo(
            printable(
                f"{book.called[one.first]}  {book.called[one.second]}  {state} ({names}), "
                f"{counted(one.records, 'record')}"
            )
        )
    if asked:
        log.print(
            f"answer with `reid people same {gallery} ONE OTHER` or `reid people not {gallery} ONE OTHER`",
            markup=False,
            soft_wrap=True,
        )
    else:
        log.print("no questions")


COMMANDS = (same, different, split, name, forget, undo, corrections, review)
