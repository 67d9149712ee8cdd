"""People between galleries: a copy has all of them, and a sync sends the corrections."""

import warnings
from collections.abc import Container, Sequence
from dataclasses import replace

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.people_table import Correction, People, PeopleTable


def copy_people(source: GalleryStore, target: GalleryStore, there: Container[str]) -> None:
    """Give ``target`` the people, names and corrections of ``source``, as far as it has their records.

    ``there`` has the digests of the target's records. Warns (RuntimeWarning) if the target keeps no people.
    """
    found = both(source, target)
    if found is None:
        return
    people, table = found
    was = table.read()
    kept = [one for one in people.corrections if one.first in there and one.second in there]
    put = [one for one in kept if one not in was.corrections]
    names: dict[int, str | None] = {person: None for person in was.names if person not in people.names}
    if was.members == people.members and was.names == people.names and not put and len(kept) == len(was.corrections):
        return
    table.write(
        # Numbers that were given in the source are not given again in the copy, even if nobody has them now.
        replace(
            was,
            last_person=max(was.last_person, people.last_person),
            last_correction=max(was.last_correction, people.last_correction),
        ),
        members={digest: one for digest, one in people.members.items() if digest in there},
        names=names | dict(people.names),
        put=put,
        take=[one.number for one in was.corrections if one not in kept],
        event={"action": "people copied"},
    )


def send_corrections(source: GalleryStore, target: GalleryStore) -> None:
    """Give ``target`` the corrections of ``source`` that it lacks and whose records it has, with new numbers.

    The target's next grouping obeys them. People and names are not sent: the target groups the records of all its
    cameras by itself. Warns (RuntimeWarning) about corrections that contradict the target's, which are not sent.
    """
    found = both(source, target)
    if found is None:
        return
    people, table = found
    was = table.read()
    held = {(one.kind, one.first, one.second) for one in was.corrections}
    sent = [one for one in people.corrections if (one.kind, one.first, one.second) not in held]
    news = consistent(was.corrections, sent)
    if len(news) < len(sent):
        names = ", ".join(one.name for one in sent if one not in news)
        warnings.warn(
            f"corrections {names} were not sent, because they contradict corrections of the target: undo them with "
            "`reid people undo` in one of the two galleries",
            RuntimeWarning,
            stacklevel=3,
        )
    if news:
        put = [replace(one, number=was.last_correction + place) for place, one in enumerate(news, start=1)]
        table.write(was, put=put, event={"action": "corrections received", "corrections": len(put)})


def consistent(held: Sequence[Correction], news: Sequence[Correction]) -> list[Correction]:
    """The ``news`` that do not contradict ``held`` and the news before them."""
    parent: dict[str, str] = {}

    def root(digest: str) -> str:
        while digest in parent:
            digest = parent[digest]
        return digest

    def tie(one: Correction) -> None:
        first, second = root(one.first), root(one.second)
        if one.kind == "different":
            apart.append((one.first, one.second))
        elif first != second:
            parent[first] = second

    apart: list[tuple[str, str]] = []
    for one in held:
        tie(one)
    found = []
    for one in news:
        ends = {root(one.first), root(one.second)}
        if len(ends) == 1 if one.kind == "different" else any({root(a), root(b)} == ends for a, b in apart):
            continue
        tie(one)
        found.append(one)
    return found


def both(source: GalleryStore, target: GalleryStore) -> tuple[People, PeopleTable] | None:
    """The people of the source and the table of the target. None if there is nothing to bring, or no table for it."""
    try:
        people = source.people.read()
    except GalleryError:  # this kind of gallery keeps no people
        return None
    if not people.members and not people.corrections:
        return None
    try:
        return people, target.people
    except GalleryError as error:
        warnings.warn(f"people are not copied: {error}", RuntimeWarning, stacklevel=4)
        return None
