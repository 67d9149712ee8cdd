"""Lasting numbers and names of people: groups keep the number of the people whose records they hold."""

import re
from collections import Counter
from collections.abc import Collection, Container, Mapping

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, did_you_mean
from reid_toolkit.files import as_name
from reid_toolkit.gallery.people_table import People

NUMBERED = re.compile(r"person-0*(\d{1,100})")
LONGEST = 100
"""Characters of a name."""


def name_of(person: int, names: Mapping[int, str]) -> str:
    """What a person is called."""
    return names.get(person) or f"person-{person:06d}"


def find_person(text: str, people: People) -> int | None:
    """The number of the person that ``text`` names, by number or by name. None if nobody is called so."""
    text = as_name(text)
    named = next((person for person, name in people.names.items() if name == text), None)
    if named is not None:
        return named
    found = NUMBERED.fullmatch(text)
    number = int(found[1]) if found else 0
    return number if any(one.person == number for one in people.members.values()) else None


def check_name(name: str, person: int, people: People, shown: Container[int] | None = None) -> str:
    """A name as it is stored. Raises :class:`InputError` for a name that cannot be used.

    ``shown`` are the people who have records that are shown, None for all. Users do not see who else has the name.
    """
    name = name.strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise InputError(f"name {name!r}: expected 1 to {LONGEST} printable characters")
    name = as_name(name)
    if NUMBERED.fullmatch(name) or re.fullmatch(r"c-\d+", name):
        raise InputError(f"name {name!r}: looks like a number that reid gives: choose another name")
    owner = next((number for number, held in people.names.items() if held == name and number != person), None)
    if owner is not None:
        whose = "" if shown is None or owner in shown else ", whose records are all damaged or past the retention"
        raise InputError(
            f"name {name!r}: is the name of {name_of(owner, {})} already{whose}: choose another name, or take it away "
            "from them with `reid people name`, --none"
        )
    return name


def unknown_person(text: str, people: People, where: str) -> InputError:
    """The error for a person that does not exist."""
    found = NUMBERED.fullmatch(as_name(text))
    if found and 0 < int(found[1]) <= people.last_person:
        return InputError(
            f"{where}: {text} has no records any more: they were merged into another person, grouped again or deleted: "
            f"`reid people list {where}` shows everybody"
        )
    near = did_you_mean(text, list(people.names.values()))
    return InputError(f"{where}: nobody is called {text!r}{near}: `reid people list {where}` shows everybody")


def carry_over(
    groups: NDArray[np.int64],
    before: NDArray[np.int64],
    last: int,
    barred: Collection[tuple[int, int]] = (),
    named: Collection[int] = (),
) -> NDArray[np.int64]:
    """Give each group the number that most of its records had before.

    Of several groups with records of one person, the group with the most of them keeps the number; the others get new
    numbers, from ``last`` + 1 on, in the order of their first records. A number with a name is kept if possible.

    Args:
        groups: (N,) group of each record.
        before: (N,) number of the person that the record had, 0 for none.
        last: the largest number ever given.
        barred: pairs of a group and a number that the group must not keep.
        named: numbers that have a name. A group with records of such a person takes that number first.

    Returns (N,) the numbers after.
    """
    shared = Counter((int(group), int(person)) for group, person in zip(groups, before, strict=True) if person)
    given: dict[int, int] = {}
    taken: set[int] = set()
    for (group, person), _ in sorted(
        shared.items(), key=lambda item: (item[0][1] not in named, -item[1], item[0][1], item[0][0])
    ):
        if group not in given and person not in taken and (group, person) not in barred:
            given[group] = person
            taken.add(person)
    for group in dict.fromkeys(int(group) for group in groups):
        if group not in given:
            last += 1
            given[group] = last
    return np.array([given[int(group)] for group in groups], np.int64)
