"""Groups the records of a gallery into people, and stores the result in the gallery."""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Correction, Membership, People, Undone
from reid_toolkit.gallery.types import OnProgress, is_past
from reid_toolkit.people.constraints import LeastTimes, impossible_moves, linked, seen_at_once, together
from reid_toolkit.people.corrections import persons_to_mend
from reid_toolkit.people.grouping import Grouping, group
from reid_toolkit.people.naming import carry_over
from reid_toolkit.people.reach import Farthest, Reach, estimate_reach
from reid_toolkit.records import Record

NEAREST = 10
"""New records are compared with the people of so many nearest records."""
LATEST = 20
"""Of a person whom a new record may show, so many records of each camera are compared: the latest."""
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


@dataclass(frozen=True)
class Held:
    """All visible records of a gallery."""

    records: list[Record]
    vectors: NDArray[np.float32]
    """(N, D), unit rows, without their cameras' bias."""
    digests: list[str]

    @classmethod
    def of(cls, store: GalleryStore, on_progress: OnProgress | None = None) -> "Held":
        """Read a gallery. Raises :class:`GalleryError` if it is empty."""
        since = None if store.retention is None else time.time() - store.retention
        statistics, total = store.statistics(), len(store)
        records: list[Record] = []
        parts: list[NDArray[np.float32]] = []
        for batch, vectors in store.records():
            shown = [row for row, record in enumerate(batch) if not is_past(record, since)]
            part = [replace(batch[row], thumbnail=b"") for row in shown]  # pictures would take much memory
            cameras = [record.camera for record in part]
            parts.append(statistics.apply(vectors[shown], cameras) if statistics and part else vectors[shown])
            records += part
            if on_progress:
                on_progress(len(records), total)
        if not records:
            raise GalleryError(f"{store.info().path}: the gallery is empty: enroll people first, with `reid enroll`")
        return cls(records, np.concatenate(parts), [key_digest(record) for record in records])


class Problem(NamedTuple):
    """What is grouped: some rows of a gallery, and what is known about them."""

    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    """Equal for rows that stay together, whatever users say."""
    settled: NDArray[np.bool_]
    """Whether a row keeps its person."""
    cannot_link: NDArray[np.int64]
    """(M, 2) positions in ``rows`` of records that times, users or their people keep apart."""
    same: tuple[tuple[int, int], ...]
    """Positions of records that users said to show one person."""
    different: tuple[tuple[int, int], ...]
    """The same for two people."""


def update(
    store: GalleryStore,
    *,
    farthest: Farthest | None = None,
    least_times: LeastTimes | None = None,
    anew: bool = False,
    undo: Collection[Correction] = (),
    on_progress: OnProgress | None = None,
) -> Update:
    """Give each record a person, and store that.

    Records that have a person keep it. New records join the people whom they show, or become new people. Records that a
    correction concerns are grouped again. With ``anew``, all records are grouped again; people keep their numbers and
    names as far as their records stay together.

    Args:
        store: the gallery.
        farthest: the largest distance of neighbours, from a calibration.
        least_times: the least times between cameras, by which some records cannot show one person. They are stored for
            later groupings; empty takes the stored ones away. None groups with the stored ones.
        anew: group all records.
        undo: corrections to take away. The people of their records are grouped again. Both are stored together.
        on_progress: called while the gallery is read.
    """
    read = store.people.read()
    held = Held.of(store, on_progress)
    people = replace(read, corrections=tuple(one for one in read.corrections if one not in undo))
    # Also what was taken back in a gallery that sent its corrections.
    undone = [*undo, *(one.correction for one in read.undone if one.regroup)]
    ends = [read.members.get(digest) for one in undone for digest in (one.first, one.second)]
    mended = {end.person for end in ends if end is not None}
    times = read.least_times if least_times is None else least_times
    problem = whole_problem(held, people, times) if anew else part_problem(held, people, times, mended)
    if len(problem.rows):
        grouping = solve(held, people, problem, farthest)
        members, moved = numbered(held, people, problem, grouping, undone)
    else:
        members, moved = {}, 0
    after = people.members | members
    present = [after[digest] for digest in held.digests]
    count = len({one.person for one in present})
    result = Update(
        records=len(held.records),
        people=count,
        low=min(count, len({one.loose for one in present})),
        high=max(count, len({one.strict for one in present})),
        grouped=len(problem.rows),
        new_records=sum(digest not in people.members for digest in held.digests),
        new_people=len({one.person for one in members.values() if one.person > people.last_person}),
        moved=moved,
        apart=len(problem.cannot_link),
    )
    if members or undone or times != read.least_times:
        event: dict[str, Any] = {"action": "people", "records": len(members), "people": result.people}
        if undo:
            event |= {"action": "undo", "corrections": [one.name for one in undo]}
        if times != read.least_times:
            event["least_times"] = len(times)
        store.people.write(
            read,
            members=members,
            take=[one.number for one in undo],
            undone=[Undone(one) for one in undone],
            least_times=least_times,
            event=event,
        )
    return result


def solve(held: Held, people: People, problem: Problem, farthest: Farthest | None) -> Grouping:
    """Group the records of a problem, as corrections say.

    Groups are made without the must-links first, and those that must-links tie are then united, because a user who says
    that two records are one person means all records of both. If that would put records together that a user keeps
    apart, the must-links are where grouping begins instead.
    """
    cameras = [record.camera for record in held.records]
    reach: Reach | None = None
    if farthest is not None:
        reach = estimate_reach(held.vectors, cameras, farthest)
    elif len(problem.rows) < len(cameras):
        # From all records, because the people near a few new records are not typical.
        reach = estimate_reach(held.vectors, cameras, groups=sure_groups(held, people, problem))
    cameras = [cameras[row] for row in problem.rows]
    vectors = held.vectors[problem.rows]

    def grouped(start: NDArray[np.int64]) -> Grouping:
        pairs = problem.cannot_link
        apart = pairs[start[pairs[:, 0]] != start[pairs[:, 1]]]  # a user's word counts more than times
        return group(vectors, cameras, start=start, cannot_link=apart, reach=reach)

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
    united = {
        people.members[digest].person
        for one in people.corrections
        if one.kind == "same"
        for digest in (one.first, one.second)
        if digest in people.members
    }
    groups = np.full(len(held.digests), -1, np.int64)
    for row, digest in enumerate(held.digests):
        member = people.members.get(digest)
        if member is not None and member.person not in united:
            groups[row] = member.strict
    groups[problem.rows[~problem.settled]] = -1
    return groups


def united_by(labels: NDArray[np.int64], links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Unite the groups (N,) of linked records."""
    first: dict[int, int] = {}
    ties = [(first.setdefault(int(label), place), place) for place, label in enumerate(labels)]
    return linked(len(labels), [*ties, *links])


def whole_problem(held: Held, people: People, least_times: LeastTimes | None) -> Problem:
    """All records, and only what times and corrections say."""
    return constrained(held, people, np.arange(len(held.records)), [], least_times)


def part_problem(held: Held, people: People, least_times: LeastTimes | None, again: set[int]) -> Problem:
    """New records, records that corrections concern, records of the people ``again``, and records of people whom these
    may show, which keep their person."""
    person = np.array([people.members[one].person if one in people.members else 0 for one in held.digests], np.int64)
    again = again | persons_to_mend(people)
    loose = (person == 0) | np.isin(person, sorted(again))
    if loose.all() or not loose.any():
        rows = np.flatnonzero(loose)
        return constrained(held, people, rows, [], least_times)
    settled = np.flatnonzero(~loose)
    near = set(person[nearest_rows(held.vectors, np.flatnonzero(loose), settled)].tolist())
    kept = latest_of(held, settled[np.isin(person[settled], sorted(near))], person)
    rows = np.sort(np.concatenate([np.flatnonzero(loose), kept]))
    first: dict[int, int] = {}
    links = []
    for place, row in enumerate(rows.tolist()):
        if not loose[row]:
            links.append((first.setdefault(int(person[row]), place), place))
    return constrained(held, people, rows, links, least_times, keep_apart=list(first.values()))


def constrained(
    held: Held,
    people: People,
    rows: NDArray[np.int64],
    keep: list[tuple[int, int]],
    least_times: LeastTimes | None,
    keep_apart: Sequence[int] = (),
) -> Problem:
    """The problem of grouping ``rows``. ``keep_apart`` are places of people who must not merge."""
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
    ends = np.array(sorted(keep_apart), np.int64)
    upper = np.triu_indices(len(ends), 1)
    pairs.append(np.stack([ends[upper[0]], ends[upper[1]]], axis=1))
    start = together(records, keep)
    settled = np.isin(np.arange(len(rows)), [place for link in keep for place in link])
    return Problem(rows, start, settled, np.concatenate(pairs), same, different)


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
    nobody = Membership(0, 0, 0)
    before = np.array([people.members.get(digest, nobody) for digest in digests], np.int64).reshape(-1, 3)
    largest = [
        people.last_person,
        max((one.strict for one in people.members.values()), default=0),
        max((one.loose for one in people.members.values()), default=0),
    ]
    levels = (grouping.labels, grouping.strict, grouping.loose)
    barred = parted_from(people, undo, digests, grouping.labels)
    columns = [carry_over(levels[0], before[:, 0], largest[0], barred, people.names)]
    columns += [carry_over(levels[at], before[:, at], largest[at]) for at in (1, 2)]
    members = {digest: Membership(*(int(column[place]) for column in columns)) for place, digest in enumerate(digests)}
    moved = int(((before[:, 0] > 0) & (before[:, 0] != columns[0])).sum())
    return members, moved


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
