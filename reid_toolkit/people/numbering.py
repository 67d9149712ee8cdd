"""The numbers of people and of their strict and loose groups: what is kept from before, and what is new."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.people_table import Correction, Membership, People, PeopleTable
from reid_toolkit.people.naming import carry_over


def kept_levels(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    groups: NDArray[np.int64],
    settled: NDArray[np.bool_],
    before: NDArray[np.int64],
    last: int,
) -> NDArray[np.int64]:
    """The numbers (N,) of strict or loose groups. Records that keep their person keep their number too.

    All records of a person who is kept begin as one group, which says nothing about its strict groups, and no two of
    these people are put together, which says nothing about loose ones. So each other record of ``groups`` is counted
    with the nearest record that keeps its number.

    Args:
        vectors: (M, D), unit rows.
        rows: (N,) the records' rows of ``vectors``.
        groups: (N,) strict or loose groups of this run.
        settled: (N,) which records keep their person.
        before: (N,) numbers before, 0 for none.
        last: the largest number ever given.
    """
    kept = settled & (before > 0)
    beside = np.isin(groups, groups[kept])
    free = np.where(np.isin(before, before[kept]), 0, before)  # a number that is kept is not given to others
    numbers = before.copy()
    numbers[~beside] = carry_over(groups[~beside], free[~beside], last)
    mixed = np.unique(groups[beside & ~kept])
    order = np.argsort(groups, kind="stable")
    edges = (np.searchsorted(groups[order], mixed, side) for side in ("left", "right"))
    for first, end in zip(*edges, strict=True):
        part = order[first:end]
        here, there = part[~kept[part]], part[kept[part]]
        near = (vectors[rows[here]] @ vectors[rows[there]].T).argmax(axis=1)
        numbers[here] = before[there[near]]
    return numbers


def with_reserved(members: dict[str, Membership], last: int, table: PeopleTable) -> dict[str, Membership]:
    """Give the people above ``last``, who are new, numbers that no other process gives."""
    new = sorted({one.person for one in members.values() if one.person > last})
    if not new:
        return members
    number = dict(zip(new, range(first := table.reserve(len(new)), first + len(new)), strict=True))
    return {digest: one._replace(person=number.get(one.person, one.person)) for digest, one in members.items()}


def grouped_people(people: People) -> set[int]:
    """The people that were grouped before. Others may have been proposed by a watch."""
    return {one.person for one in people.members.values() if not one.is_proposed or one.person in people.names}


def is_ungrouped(people: People, digest: str) -> bool:
    """Whether a record has no person, or only one that a watch has proposed. If a user has named that person, the
    record stays with it."""
    member = people.members.get(digest)
    return member is None or (member.is_proposed and member.person not in people.names)


def as_proposed(
    numbers: NDArray[np.int64], proposed: NDArray[np.int64], last: int, taken: Collection[int]
) -> NDArray[np.int64]:
    """Give new people the numbers that a watch has proposed for most of their records.

    Args:
        numbers: (N,) number of the person of each record. New people have numbers above ``last``.
        proposed: (N,) the number that was proposed for the record, 0 for none.
        last: the largest number that was given before.
        taken: numbers that belong to people who are not new.
    """
    fresh = numbers > last
    usable = np.where(fresh & ~np.isin(proposed, sorted(taken)), proposed, 0)
    given = carry_over(numbers, usable, int(numbers.max(initial=last)))
    return np.where(fresh & (given <= last), given, numbers)


def parted_from(
    people: People, undo: Collection[Correction], digests: Sequence[str], labels: NDArray[np.int64]
) -> set[tuple[int, int]]:
    """Pairs of a group and a person whom it must not be any more.

    If a user says that two records of one person are different people, or takes back that they are one, the person
    stays with the first of them, although the group of the second may be larger.
    """
    group = dict(zip(digests, labels.tolist(), strict=True))
    apart = [one for one in people.corrections if one.kind == "different"]
    found = set()
    for one in [*apart, *(one for one in undo if one.kind == "same")]:
        first, second = people.members.get(one.first), people.members.get(one.second)
        if first is None or second is None or one.first not in group or one.second not in group:
            continue
        if first.person == second.person and group[one.first] != group[one.second]:
            found.add((group[one.second], first.person))
    return found
