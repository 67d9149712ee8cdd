"""Groups the records of a gallery into people, and stores the result in the gallery."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.people_table import NOBODY, Correction, Membership, People, Undone
from reid_toolkit.gallery.types import OnProgress
from reid_toolkit.people.constraints import LeastTimes, impossible_moves, linked, seen_at_once, together
from reid_toolkit.people.corrections import persons_to_mend
from reid_toolkit.people.grouping import Grouping, group
from reid_toolkit.people.held import NEAREST, Held, united
from reid_toolkit.people.naming import carry_over
from reid_toolkit.people.numbering import (
    as_proposed,
    grouped_people,
    is_ungrouped,
    kept_levels,
    parted_from,
    with_reserved,
)
from reid_toolkit.people.reach import Farthest, estimate_reach

LATEST = 20
"""Of a person whom a new record may show, so many records of each camera are compared: the latest."""
YOUNG, FEW = 0.25, 3_000
"""If a larger part of the records is new, or some are new and there are at most so many, all records are grouped. So
many take two seconds."""
STEP = 1024


@dataclass(frozen=True)
class Update:
    """What :func:`update` did."""

    records: int
    """Records in the gallery."""
    people: int
    """Different people among them."""
    low: int
    """The same if grouping goes on longer."""
    high: int
    """The same if grouping stops earlier."""
    grouped: int
    """Records that were compared in this run."""
    new_records: int
    """Records that had no person before."""
    new_people: int
    moved: int
    """Records that now have another person than before."""
    apart: int
    """Pairs of compared records that are known to show different people by their times."""


class Problem(NamedTuple):
    """What is grouped: some rows of a gallery, and what is known about them."""

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    """Equal for rows that stay together, whatever users say."""
    person: NDArray[np.int64]
    """The person whom a row keeps, -1 for none. Two people who are kept do not merge."""
    cannot_link: NDArray[np.int64]
    """(M, 2) positions in ``rows`` of records that times or users keep apart."""
    same: tuple[tuple[int, int], ...]
    """Positions of records that users said to show one person."""
    different: tuple[tuple[int, int], ...]
    """The same for two people."""


def update(
    store: GalleryStore,
    *,
    farthest: Farthest | None = None,
    least_times: LeastTimes | None = None,
    false_match_rate: float | None = None,
    anew: bool = False,
    undo: Collection[Correction] = (),
    on_progress: OnProgress | None = None,
) -> Update:
    """Give each record a person, and store that.

    With ``anew``, or if there are new records and the gallery is small (:data:`FEW`) or a quarter of it is new, all
    records are grouped; people keep their numbers and names as far as their records stay together. Otherwise records
    that have a person keep it. New records join the people whom they show, or become new people. Records that a
    correction concerns are grouped again. In a large gallery, only these records and the people near to them are read.

    Args:
        store: the gallery.
        farthest: the largest distance of neighbours, from a calibration.
        least_times: the least times between cameras, by which some records cannot show one person. They are stored for
            later groupings; empty takes the stored ones away. None groups with the stored ones.
        false_match_rate: the rate by which ``farthest`` was chosen, to be stored for later groupings.
        anew: group all records.
        undo: corrections to take away. The people of their records are grouped again. Both are stored together.
        on_progress: called while the gallery is read.
    """
    read = store.people.read()
    people = replace(read, corrections=tuple(one for one in read.corrections if one not in undo))
    # Also what was taken back in a gallery that sent its corrections.
    undone = [*undo, *(one.correction for one in read.undone if one.regroup)]
    ends = [read.members.get(digest) for one in undone for digest in (one.first, one.second)]
    mended = {end.person for end in ends if end is not None}
    times = read.least_times if least_times is None else least_times
    part = None if anew else Held.around(store, people, mended | persons_to_mend(people), farthest)
    held = part or Held.of(store, on_progress)
    anew = anew or (not undone and all_again(held, people))
    problem = whole_problem(held, people, times) if anew else part_problem(held, people, times, mended)
    if len(problem.rows):
        grouping = solve(held, people, problem, farthest)
        members, moved = numbered(held, people, problem, grouping, undone)
        members = with_reserved(members, people.last_person, store.people)
    else:
        members, moved = {}, 0
    here = [members.get(digest) or people.members[digest] for digest in held.digests]
    present = np.concatenate([held.others, np.array(here, np.int64).reshape(-1, 3)])
    count, strict, loose = (len(np.unique(column)) for column in present.T)
    result = Update(
        records=len(present),
        people=count,
        low=min(count, loose),
        high=max(count, strict),
        grouped=len(problem.rows),
        new_records=sum(is_ungrouped(people, digest) for digest in held.digests),
        new_people=len({one.person for one in members.values()} - grouped_people(people)),
        moved=moved,
        apart=len(problem.cannot_link),
    )
    rate = false_match_rate if false_match_rate != read.false_match_rate else None
    if members or undone or times != read.least_times or rate is not None:
        event: dict[str, Any] = {"action": "people", "records": len(members), "people": result.people}
        if undo:
            event |= {"action": "undo", "corrections": [one.name for one in undo]}
        if times != read.least_times:
            event["least_times"] = len(times)
        if rate is not None:
            event["false_match_rate"] = rate
        store.people.write(
            read,
            members=members,
            take=[one.number for one in undo],
            undone=[Undone(one) for one in undone],
            least_times=least_times,
            false_match_rate=rate,
            event=event,
        )
    return result


def all_again(held: Held, people: People) -> bool:
    """Whether all records are grouped because of the new ones.

    People who were found before do not merge otherwise, and some were found among few records, or before there were
    camera statistics.
    """
    new = sum(is_ungrouped(people, digest) for digest in held.digests)
    return held.near is None and new > (0 if len(held.digests) <= FEW else YOUNG * len(held.digests))


def solve(held: Held, people: People, problem: Problem, farthest: Farthest | None) -> Grouping:
    """Group the records of a problem, as corrections say.

    Groups are made without the must-links first, and those that must-links tie are then united, because a user who says
    that two records are one person means all records of both. If that would put records together that a user keeps
    apart, the must-links are where grouping begins instead.
    """
    cameras = [record.camera for record in held.records]
    reach = held.reach
    if reach is None and len(problem.rows) < len(cameras):
        # From all records, because the people near a few new records are not typical.
        reach = estimate_reach(held.vectors, cameras, farthest, sure_groups(held, people, problem))
    cameras = [cameras[row] for row in problem.rows]
    vectors = held.vectors[problem.rows]
    marks = problem.person if (problem.person >= 0).any() else None

    def grouped(start: NDArray[np.int64]) -> Grouping:
        pairs = problem.cannot_link
        apart = pairs[start[pairs[:, 0]] != start[pairs[:, 1]]]  # a user's word counts more than times
        return group(vectors, cameras, start=start, cannot_link=apart, marks=marks, reach=reach, farthest=farthest)

    found = grouped(problem.start)
    if not problem.same:
        return found
    levels = (found.labels, found.strict, found.loose)
    usual, strict, loose = (united_by(labels, problem.same) for labels in levels)
    if any(labels[a] == labels[b] for labels in (usual, strict, loose) for a, b in problem.different):
        return grouped(united_by(problem.start, problem.same))
    return Grouping(usual, strict, loose, found.merges)


def sure_groups(held: Held, people: People, problem: Problem) -> NDArray[np.int64]:
    """The strict groups (N,) that the gallery holds. -1 for records that are grouped now without a person to keep, and
    for people whom a user has united, because they may look different."""
    different = united(people)
    groups = np.full(len(held.digests), -1, np.int64)
    for row, digest in enumerate(held.digests):
        member = people.members.get(digest)
        if member is not None and member.person not in different:
            groups[row] = member.strict
    groups[problem.rows[problem.person < 0]] = -1
    return groups


def united_by(labels: NDArray[np.int64], links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Unite the groups (N,) of linked records."""
    first: dict[int, int] = {}
    ties = [(first.setdefault(int(label), place), place) for place, label in enumerate(labels)]
    return linked(len(labels), [*ties, *links])


def whole_problem(held: Held, people: People, least_times: LeastTimes | None) -> Problem:
    """All records, and only what times and corrections say."""
    return constrained(held, people, np.arange(len(held.records)), least_times)


def part_problem(held: Held, people: People, least_times: LeastTimes | None, again: set[int]) -> Problem:
    """New records, records that corrections concern, records of the people ``again``, and records of people whom these
    may show, which keep their person."""
    person = np.array([people.members[one].person if one in people.members else 0 for one in held.digests], np.int64)
    again = again | persons_to_mend(people)
    ungrouped = np.array([is_ungrouped(people, digest) for digest in held.digests], bool)
    loose = ungrouped | np.isin(person, sorted(again))
    if loose.all() or not loose.any():
        return constrained(held, people, np.flatnonzero(loose), least_times)
    settled = np.flatnonzero(~loose)
    near = held.near
    if near is None:
        near = frozenset(person[nearest_rows(held.vectors, np.flatnonzero(loose), settled)].tolist())
    kept = latest_of(held, settled[np.isin(person[settled], sorted(near))], person)
    rows = np.sort(np.concatenate([np.flatnonzero(loose), kept]))
    return constrained(held, people, rows, least_times, np.where(loose, -1, person)[rows])


def constrained(
    held: Held,
    people: People,
    rows: NDArray[np.int64],
    least_times: LeastTimes | None,
    keep: NDArray[np.int64] | None = None,
) -> Problem:
    """The problem of grouping ``rows``. ``keep`` are the people whom rows keep, -1 for none."""
    records = [held.records[row] for row in rows]
    place = {held.digests[row]: at for at, row in enumerate(rows.tolist())}
    known = [one for one in people.corrections if one.first in place and one.second in place]
    same, different = (
        tuple((place[one.first], place[one.second]) for one in known if one.kind == kind)
        for kind in ("same", "different")
    )
    pairs = [seen_at_once(records), np.array(different, np.int64).reshape(-1, 2)]
    if least_times:
        pairs.append(impossible_moves(records, least_times))
    person = np.full(len(rows), -1) if keep is None else keep
    first: dict[int, int] = {}
    links = [(first.setdefault(who, at), at) for at, who in enumerate(person.tolist()) if who >= 0]
    return Problem(rows, together(records, links), person, np.concatenate(pairs), same, different)


def nearest_rows(
    vectors: NDArray[np.float32], queries: NDArray[np.int64], among: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rows ``among`` that are among the NEAREST of any of the rows ``queries``."""
    found = []
    number = min(NEAREST, len(among))
    others = vectors[among]
    for top in range(0, len(queries), STEP):
        products = vectors[queries[top : top + STEP]] @ others.T
        found.append(np.argpartition(-products, number - 1, axis=1)[:, :number].ravel())
    return among[np.unique(np.concatenate(found))]


def latest_of(held: Held, rows: NDArray[np.int64], person: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of ``rows``, the LATEST of each person and camera."""
    groups: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for row in rows.tolist():
        groups[int(person[row]), held.records[row].camera].append(row)
    chosen = []
    for members in groups.values():
        members.sort(key=lambda row: (held.records[row].end or 0.0, row))
        chosen += members[-LATEST:]
    return np.array(sorted(chosen), np.int64)


def numbered(
    held: Held, people: People, problem: Problem, grouping: Grouping, undo: Collection[Correction]
) -> tuple[dict[str, Membership], int]:
    """The membership of each grouped record, with lasting numbers, and how many records have another person than
    before."""
    digests = [held.digests[row] for row in problem.rows]
    before = np.array([people.members.get(digest, NOBODY) for digest in digests], np.int64).reshape(-1, 3)
    open_ones = np.array([is_ungrouped(people, digest) for digest in digests], bool)
    proposed = np.where(open_ones, before[:, 0], 0)
    before[open_ones] = 0
    before = np.maximum(before, 0)  # a watch proposes people, but no groups
    largest = [
        people.last_person,
        max((one.strict for one in people.members.values()), default=0),
        max((one.loose for one in people.members.values()), default=0),
    ]
    levels = (grouping.labels, grouping.strict, grouping.loose)
    barred = parted_from(people, undo, digests, grouping.labels)
    columns = [carry_over(levels[0], before[:, 0], largest[0], barred, people.names)]
    columns[0] = as_proposed(columns[0], proposed, largest[0], grouped_people(people))
    settled = problem.person >= 0
    columns += [
        kept_levels(held.vectors, problem.rows, levels[at], settled, before[:, at], largest[at]) for at in (1, 2)
    ]
    members = {digest: Membership(*(int(column[place]) for column in columns)) for place, digest in enumerate(digests)}
    moved = int(((before[:, 0] > 0) & (before[:, 0] != columns[0])).sum())
    return members, moved
