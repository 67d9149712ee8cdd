"""Which questions to ask a user first: the merges that were nearly made, and those that were nearly not made."""

from dataclasses import dataclass

import numpy as np

from reid_toolkit.gallery.people_table import Kind
from reid_toolkit.people.book import Book
from reid_toolkit.people.corrections import Links
from reid_toolkit.people.grouping import USUAL, after
from reid_toolkit.people.held import Held
from reid_toolkit.people.reach import Farthest
from reid_toolkit.people.update import solve, whole_problem


@dataclass(frozen=True)
class Question:
    """Two records: do they show one person?"""

    first: str
    """Digest of a record's key."""
    second: str
    now: Kind
    """Whether the two are one person in the gallery now."""
    cost: float
    """The cost of the merge, 0-1. The nearer to the limit, the less sure."""
    records: int
    """How many records change their person if the answer is not what is stored now: those of the smaller group."""


def questions(book: Book, number: int, farthest: Farthest | None = None) -> list[Question]:
    """The ``number`` questions whose answers teach most, the best first.

    Each is about a merge of two groups. The answer moves the records of the smaller group if it is not what the gallery
    holds, and the less sure the merge is, the more likely that is. Questions that corrections answer already are left
    out. All records are grouped again for this, but nothing is stored.
    """
    held = Held.of(book.store)
    problem = whole_problem(held, book.people, book.people.least_times)
    grouping = solve(held, book.people, problem, farthest)
    links = Links.of(book.people.corrections)
    singles = after(problem.start, ())
    members_of = np.split(np.argsort(singles, kind="stable"), np.cumsum(np.bincount(singles))[:-1])
    groups: dict[int, list[int]] = {int(rows.min()): rows.tolist() for rows in members_of}
    found = []
    for merge in grouping.merges:
        small = min(len(groups[merge.first]), len(groups[merge.second]))
        a, b = nearest_pair(held, groups[merge.first], groups[merge.second])
        one, other = held.digests[a], held.digests[b]
        groups[merge.first] += groups.pop(merge.second)
        if other in links.group(one) or links.against("same", one, other) is not None:
            continue
        members = book.people.members
        together = one in members and other in members and members[one].person == members[other].person
        found.append(Question(one, other, "same" if together else "different", merge.cost, small))
    # How unsure a merge is falls from 1 at the limit to 0 at cost 0 or 1.
    found.sort(key=lambda one: -one.records * max(0.0, 1 - abs(one.cost - USUAL) / (1 - USUAL)))
    return found[:number]


def nearest_pair(held: Held, first: list[int], second: list[int]) -> tuple[int, int]:
    """The two records, one of each group, that look most alike: the easiest to judge, and the most telling."""
    products = held.vectors[first] @ held.vectors[second].T
    at = np.unravel_index(int(products.argmax()), products.shape)
    return first[int(at[0])], second[int(at[1])]
