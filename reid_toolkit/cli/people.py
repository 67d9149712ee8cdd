"""``reid people``: groups a gallery's records into people, and says who was where."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich_click

from reid_toolkit.cli import options
from reid_toolkit.cli import people_corrections as corrections
from reid_toolkit.cli.console import counted, late_progress_bar, log, print_json, printable, warn
from reid_toolkit.cli.paths import LEAST_TIMES, PAGE
from reid_toolkit.cli.people_limits import RATE, limit_of
from reid_toolkit.cli.tables import print_table
from reid_toolkit.errors import did_you_mean, refuse_unknown
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.people.book import Book

GROUP = "group"


class PeopleGroup(rich_click.RichGroup):
    """A command group in which the command `group` may be left out: `reid people G` is `reid people group G`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = did_you_mean(args[0], self.commands)
            if near and not Path(args[0]).exists():
                ctx.fail(f"no such command and no such gallery: {args[0]!r}{near}")
            args = [GROUP, *args]
        return super().parse_args(ctx, args)


@click.group(cls=PeopleGroup)
def command() -> None:
    """Group a gallery's records into people: who was here, how many, and where did they go.

    `reid people GALLERY` is short for `reid people group GALLERY`.
    """


for part in corrections.COMMANDS:
    command.add_command(part)


@command.command(GROUP)
@click.argument("gallery")
@click.option("--anew", is_flag=True, help="Group all records again. People keep their names as far as possible.")
@click.option(
    "--calibration",
    type=options.FILE,
    help="A calibration file from `reid calibrate`. [default: MODEL.calibration.json, if it exists]",
)
@click.option(
    "--false-match-rate",
    "rate",
    type=options.Number(0, 0.5, min_open=True),
    metavar="RATE",
    help="With a calibration: link two records only if different people come as near in at most RATE of comparisons. "
    f"Less makes more and purer groups. It is stored for later groupings.  [default: {RATE}]",
)
@click.option(
    "--least-times",
    type=options.FILE,
    metavar="CSV",
    help="Columns from,to,seconds: nobody gets from one camera to the other in less time. For cameras that do not see "
    "the same place. `reid people routes --out` writes a draft. They are stored for later groupings; "
    "`reid people least-times` shows them.",
)
@options.wait
@options.json_output
def group(
    gallery: str,
    anew: bool,
    calibration: Path | None,
    rate: float | None,
    least_times: Path | None,
    wait: float,
    as_json: bool,
) -> None:
    """Give each record a person. Run it again after new records came: only these are compared.

    People keep their numbers and names. Two records that one camera saw at the same moment are never one person, unless
    you say so (`reid people same`).
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.people.least_times import read_least_times
    from reid_toolkit.people.update import update

    times = read_least_times(least_times) if least_times else None
    if times == {}:
        warn(f"{least_times}: has no times, so it keeps no records apart; times that were stored before are taken away")
    with open_gallery(gallery, create=False, wait=wait) as store:
        if times:
            names = sorted({name for pair in times for name in pair})
            refuse_unknown("camera", names, store.info().cameras, f"{least_times}, compared with {gallery}")
        before = store.people.read()
        farthest = limit_of(store, before, calibration, rate)
        with late_progress_bar("read", "records") as on_progress:
            done = update(
                store, farthest=farthest, least_times=times, false_match_rate=rate, anew=anew, on_progress=on_progress
            )
    if as_json:
        about = {
            "gallery": gallery,
            "calibrated": farthest is not None,
            "false_match_rate": (rate or before.false_match_rate or RATE) if farthest else None,
            "least_times": len(before.least_times if times is None else times),
        }
        print_json(about | asdict(done))
        return
    click.echo(
        f"{gallery}: {counted(done.people, 'person') if done.people == 1 else f'{done.people:,} people'} in "
        f"{counted(done.records, 'record')} (between {done.low:,} and {done.high:,})"
    )
    if done.new_records or done.moved:
        click.echo(
            f"{counted(done.new_records, 'new record')}, {done.new_people:,} new people, "
            f"{counted(done.moved, 'record')} moved to another person"
        )


@contextmanager
def opened(gallery: str, action: str, person: str | None = None) -> "Iterator[Book]":
    """The people of a gallery, to be looked at: the audit log says who did, and at whom.

    Warns about records that were not grouped yet.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.people.book import Book

    with open_gallery(gallery, create=False) as store:
        book = Book(store, gallery, time.time())
        book.refuse_ungrouped()
        if book.waiting:
            warn(f"{counted(book.waiting, 'record')} without a person yet: run `reid people {gallery}`")
        seen = {} if person is None else {"person": book.name(book.person(person))}
        store.people.note({"action": f"people {action}", **seen})
        yield book


@command.command("list")
@click.argument("gallery")
@options.json_output
def show_list(gallery: str, as_json: bool) -> None:
    """List everybody: records, cameras, first and last time."""
    from reid_toolkit.people.documents import list_document

    with opened(gallery, "list") as book:
        document = list_document(book, gallery)
    if as_json:
        print_json(document)
        return
    print_table(
        ("person", "records", "cameras", "seen"),
        [
            (row["name"], row["records"], ", ".join(row["cameras"]), format_span(row["start"], row["end"]))
            for row in document["people"]
        ],
        fold={"person", "cameras", "seen"},
    )


@command.command()
@click.argument("gallery")
@click.argument("person")
@click.option("--html", type=PAGE, help="Write a page with pictures.")
@options.json_output
def show(gallery: str, person: str, html: Path | None, as_json: bool) -> None:
    """Show where a person was: every visit, camera by camera, with times."""
    from reid_toolkit.people.documents import show_document
    from reid_toolkit.people.visits import visits_of

    with opened(gallery, "show", person) as book:
        number = book.person(person)
        document = show_document(book, number, gallery)
        visits, name = visits_of(book.records_of(number)), book.name(number)
        if html:
            from reid_toolkit.cli.people_page import write_timeline

            write_timeline(html, name, visits_of(book.pictured(number)))
            log.print(f"wrote {html}", markup=False, soft_wrap=True)
    if as_json:
        print_json(document)
        return
    click.echo(printable(f"{name}: {counted(len(visits), 'visit')}"))
    print_table(
        ("camera", "time", "records"),
        [(visit.camera, format_span(visit.start, visit.end), len(visit.records)) for visit in visits],
        fold={"camera", "time"},
    )


@command.command()
@click.argument("gallery")
@click.option("--by", default="", metavar="PARTS", help="day, hour, camera, or several with commas: day,camera.")
@options.json_output
def count(gallery: str, by: str, as_json: bool) -> None:
    """Count different people.

    "between" has the counts if grouping went on longer, and if it stopped earlier. docs/people.md says how often the
    true number lay between them.
    """
    from reid_toolkit.people.counting import PARTS, count_people
    from reid_toolkit.people.documents import count_document

    parts = [part.strip() for part in by.split(",") if part.strip()]
    wrong = next((part for part in parts if part not in PARTS), None)
    if wrong is not None or len(set(parts)) < len(parts) or (by and not parts):
        raise click.BadParameter(f"{by!r}: expected some of {', '.join(PARTS)}, each once", param_hint="--by")
    with opened(gallery, "count") as book:
        counts = count_people(book.grouped, parts)
    if as_json:
        print_json(count_document(counts, parts, gallery))
        return
    print_table(
        (*parts, "people", "between", "records"),
        [(*one.by, one.people, f"{one.low}–{one.high}", one.records) for one in counts],
        fold=parts,
    )


@command.command()
@click.argument("gallery")
@click.option(
    "--out",
    type=LEAST_TIMES,
    help="Write a draft for --least-times: half of the time that 5% of the moves between two cameras are shorter than.",
)
@click.option("--html", type=PAGE, help="Write a page with a drawing of the cameras and the table.")
@options.json_output
def routes(gallery: str, out: Path | None, html: Path | None, as_json: bool) -> None:
    """Show how many people move from camera to camera, and how long they need."""
    from reid_toolkit.people.documents import routes_document
    from reid_toolkit.people.least_times import write_least_times
    from reid_toolkit.people.visits import routes_of

    with opened(gallery, "routes") as book:
        people = {person: book.records_of(person) for person in book.by_person}
    found = routes_of(people)
    if out:
        written = counted(write_least_times(out, routes_of(people, direct=False)), "pair") + " of cameras"
        said = f"wrote {out} with {written}: check it, because wrong groups make wrong times"
        log.print(said, markup=False, soft_wrap=True)
    if html:
        from reid_toolkit.cli.people_page import write_routes

        write_routes(html, found)
        log.print(f"wrote {html}", markup=False, soft_wrap=True)
    if as_json:
        print_json(routes_document(found, gallery))
        return
    if not found:
        log.print("no moves: they need people in two cameras, and records with dates (`--start`)", markup=False)
    print_table(
        ("from", "to", "moves", "seconds: 5%", "median", "95%"),
        [
            (one.start, one.end, one.moves, f"{one.shortest:.0f}", f"{one.median:.0f}", f"{one.longest:.0f}")
            for one in found
        ],
        fold={"from", "to"},
    )


@command.command("least-times")
@click.argument("gallery")
@click.option("--none", "remove", is_flag=True, help="Take the times away.")
@options.wait
@options.json_output
def least_times(gallery: str, remove: bool, wait: float, as_json: bool) -> None:
    """Show the least times between cameras, or take them away.

    `reid people group --least-times FILE` stores them. Later groupings, corrections and `review` obey them.
    """
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False, wait=wait) as store:
        people = store.people.read()
        times = people.least_times
        if remove and times:
            store.people.write(people, least_times={}, event={"action": "least times", "pairs": 0})
    if as_json:
        rows = [{"from": one, "to": other, "seconds": seconds} for (one, other), seconds in sorted(times.items())]
        print_json({"gallery": gallery, "least_times": [] if remove else rows})
    elif not times:
        log.print("no least times are stored", markup=False)
    elif remove:
        click.echo(
            f"{gallery}: the least times of {counted(len(times), 'pair')} of cameras are taken away; "
            f"`reid people group {gallery} --anew` groups all records without them"
        )
    else:
        listed = [(*pair, f"{seconds:g}") for pair, seconds in sorted(times.items())]
        print_table(("from", "to", "seconds"), listed, fold={"from", "to"})
