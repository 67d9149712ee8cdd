"""The people of a gallery in Milvus, in a collection beside the gallery's own."""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Collection as Container
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from reid_toolkit.errors import GalleryError, UnavailableError
from reid_toolkit.gallery.milvus.collection import NARROW, Collection
from reid_toolkit.gallery.milvus.compared import LONGEST_NAME
from reid_toolkit.gallery.milvus.people_rows import (
    CORRECTION,
    DAMAGED,
    FIELDS,
    MEMBER,
    NAME,
    NOTHING,
    STORED,
    WIDTH,
    Head,
    among,
    id_of,
    people_of,
    referred,
    settled,
    text_of,
    value_row,
)
from reid_toolkit.gallery.milvus.people_work import DELETE, LASTING, WRITE, Control, Mark, changed_meanwhile
from reid_toolkit.gallery.milvus.properties import FORMAT, OF, PEOPLE
from reid_toolkit.gallery.milvus.rows import Row
from reid_toolkit.gallery.people_table import Correction, Membership, People, PeopleTable

NAME_OF = "{gallery}__people"
STEP = 10_000
"""Rows written between two signs of life."""
FEW = 8
"""If less than this part of all records is looked up, they are looked up one by one, which takes fewer requests."""
READS = 5
"""People are read so many times at most, if other processes change them meanwhile."""


class State(NamedTuple):
    """Tells whether people were changed, or records deleted."""

    head: Head
    rows: int


class MilvusPeopleTable(PeopleTable):
    """The people of a gallery in Milvus, in a collection that is created with the first write.

    What is promised: :meth:`read` gives everything as of the end of one write, also while another process writes. A
    write counts as a whole when its last row is written, the head (``people_rows.py``): if the process is killed before
    that, nothing of it counts. Of two processes that write at once, at least one is refused. A write is refused if
    another was finished since its ``was``. What refers to a record is deleted after the record; if the process is
    killed in between, :meth:`read` leaves it out, and the next write or :meth:`compact` deletes it.

    What is not promised, because Milvus has no transactions: after a process was killed, others are refused for five
    minutes. If a writer stands still for more than five minutes, another process may take over. The first one notices
    that before its next request, and gives up; but if it stood still right within a request, changes of the two may be
    lost. The same happens if the clocks of two machines differ by more than five minutes.
    Values that were replaced stay in Milvus until :meth:`compact`, and in its files until Milvus deletes these.
    """

    def __init__(self, main: Collection, is_there: Callable[[], bool]) -> None:
        """Of the gallery in the collection ``main``, which exists and is loaded if ``is_there`` says so."""
        self._main, self._gallery_is_there = main, is_there
        self._where = main.address.text
        self._rows = main.sibling(NAME_OF.format(gallery=main.address.name))
        self._name_fits = len(self._rows.address.name) <= LONGEST_NAME
        self._made = False

    def read(self) -> People:
        """Read everything, as of the end of one write."""
        if not self.exists():
            return People(state=State(Head(), 0))
        for _ in range(READS):
            before = self._control()
            seen: list[int] = []
            with self._readable():
                people = people_of(counted(self._pages(), seen), before.head)
            after = self._control()
            if before.head == after.head:
                break
        else:
            raise UnavailableError(f"{self._where}: its people change too fast to be read: run this again later")
        if before.marks or after.marks:  # records may have been deleted, and what refers to them not yet
            people = among(people, self._digests())
        return replace(people, state=State(before.head, sum(seen)))

    def changed(self, was: People) -> bool:
        """Whether people were changed, or records with a person deleted, since then."""
        if not self.exists():
            return bool(was.state != State(Head(), 0))
        return bool(was.state != State(self._control().head, self._rows.count(STORED)))

    def note(self, event: Mapping[str, Any]) -> bool:
        """False, because a gallery in Milvus has no audit log."""
        return False

    def write(
        self,
        was: People,
        *,
        members: Mapping[str, Membership] | None = None,
        names: Mapping[int, str | None] | None = None,
        put: Container[Correction] = (),
        take: Container[int] = (),
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is stored. The event is not used, because a gallery in Milvus has no audit log."""
        members, names = dict(members or {}), dict(names or {})
        with self._alone() as (mark, control):
            head = control.head
            if head != was.state.head:
                raise RefusedError(str(changed_meanwhile(self._where)))
            if control.stale:
                self._mend(mark, control)
            new = Head(
                head.number + 1,
                secrets.randbits(62),
                max([was.last_person, *(one.person for one in members.values())]),
                max([was.last_correction, *(one.number for one in put)]),
            )
            self._put(mark, (_member_row(key, one, was.members.get(key), new) for key, one in members.items()))
            rows = [*_name_rows(names, was, new), *_correction_rows(put, take, was, new)]
            self._put(mark, rows)
            # Records may have been deleted meanwhile, before their links were written again.
            after = {**was.members, **members}
            named = {person for person, name in names.items() if name}
            checked = members.keys() | {key for key, one in after.items() if one.person in named}
            missing = self._missing(checked | {end for one in put for end in (one.first, one.second)}, mark)
            self._drop_rows(missing)
            rows = [row for row in rows if missing.isdisjoint(referred(row, row["image"]))]
            held = {one.person for key, one in after.items() if key not in missing}
            emptied = (was.names.keys() | named) - held
            rows = [row for row in rows if row["camera"] != NAME or row["start_time"] not in emptied]
            mark.sign()
            self._rows.upsert([new.row()])
            # What was taken away or replaced must not stay.
            gone = [row["id"] for row in rows if row["image"] == NOTHING] + [id_of(NAME, one) for one in emptied]
            self._rows.delete_ids(sorted(gone))
            kept = [row for row in rows if row["image"] != NOTHING != row["thumbnail"]]
            self._settle(mark, [settled(row, row["image"]) for row in kept])

    def exists(self) -> bool:
        """Whether the gallery and the collection of its people exist. Another process may have created them."""
        if not (self._gallery_is_there() and self._name_fits):
            return False
        if not self._made and self._rows.exists():
            about = self._rows.describe()[1]
            if (about.get(FORMAT), about.get(OF)) == (PEOPLE, self._main.address.name):
                self._rows.load()
                self._made = True
        return self._made

    @contextlib.contextmanager
    def dropping(self, digests: Callable[[], Iterable[str]]) -> Iterator[None]:
        """Within this, records are deleted. Afterwards, what refers to them is deleted.

        ``digests`` gives the records that are about to be deleted. It is only called if the gallery has people. If the
        process is killed, the mark stays, and says that links of deleted records may be left.
        """
        if not self.exists():
            yield
            return
        mark = Mark(self._rows, DELETE, self._where)
        chosen = set(digests())
        yield
        self._drop(self._missing(chosen))
        mark.remove()

    def is_unfinished(self) -> bool:
        """Whether links of deleted records may be left."""
        return self.exists() and any(row["tracklet"] == DELETE for row in self._control().marks)

    def compact(self) -> None:
        """Delete the values that do not count any more, and what refers to deleted records. Then let Milvus rewrite its
        files. While another process changes people, only the files are rewritten."""
        if not self.exists():
            return
        try:
            with self._alone() as (mark, control):
                self._mend(mark, control)
        except RefusedError:
            pass
        self._rows.compact()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[tuple[Mark, Control]]:
        """Keep other writers away. Raises :class:`RefusedError` if another one writes."""
        if not self._gallery_is_there():
            raise GalleryError(f"{self._where}: no gallery there: make one with `reid enroll`")
        self._make()
        mark = Mark(self._rows, WRITE, self._where)
        try:
            control = self._control()
            if control.others(mark):
                raise RefusedError(
                    f"{self._where}: another process changes its people now, so nothing was changed: run this again "
                    f"when it has ended, or {LASTING[WRITE] / 60:.0f} minutes later if it was killed"
                )
            yield mark, control
        except RefusedError:
            mark.remove()
            raise
        except BaseException:
            with contextlib.suppress(GalleryError):
                mark.leave()
            raise
        mark.remove()

    def _make(self) -> None:
        if self.exists():
            return
        if not self._name_fits:
            raise GalleryError(
                f"{self._where}: the name is too long for people, which add 8 characters: Milvus accepts "
                f"{LONGEST_NAME}: copy the gallery to a shorter name"
            )
        if self._rows.exists():
            if self.exists():  # another process has created it meanwhile
                return
            raise GalleryError(
                f"{self._where}: its people would be in the collection {self._rows.address.name}, which belongs to "
                "another program or gallery: copy the gallery to another name"
            )
        try:
            self._rows.create(WIDTH, {FORMAT: PEOPLE, OF: self._main.address.name})
        except GalleryError:
            if not self.exists():
                raise

    def _control(self) -> Control:
        with self._readable():
            return Control.read(self._rows)

    def _pages(self, expr: str = STORED) -> Iterator[list[Row]]:
        for part in self._rows.parts(NARROW, expr):
            yield self._rows.page(part, FIELDS)

    def _put(self, mark: Mark, rows: Iterable[Row]) -> None:
        """Write rows in parts, of which each is made when it is needed."""
        rows = iter(rows)
        while part := list(islice(rows, STEP)):
            mark.sign()
            self._rows.upsert(part)

    def _settle(self, mark: Mark, rows: list[Row]) -> None:
        """Write rows whose value counts already, and delete those whose records were deleted meanwhile."""
        self._put(mark, rows)
        self._drop_rows(self._missing({end for row in rows for end in referred(row, row["image"])}))

    def _digests(self, mark: Mark | None = None) -> set[str]:
        """The digests of all records."""
        found: set[str] = set()
        for part in self._main.parts(NARROW):
            if mark:
                mark.sign()
            found.update(row["id"] for row in self._main.page(part, ["id"]))
        return found

    def _missing(self, digests: Container[str], mark: Mark | None = None) -> set[str]:
        """Those ``digests`` of which no record is stored."""
        if len(digests) > max(STEP, self._main.count() // FEW):
            return set(digests) - self._digests(mark)
        ids, found = sorted(digests), set[str]()
        for at in range(0, len(ids), STEP):
            if mark:
                mark.sign()
            found |= self._main.find(ids[at : at + STEP])
        return set(ids) - found

    def _drop(self, digests: set[str]) -> None:
        """Delete what refers to these records, and the names of people who then have none."""
        if not digests:
            return
        rows = self._rows.look_up(sorted(digests), ("start_time", "end_time"))
        persons = {row[name] for row in rows for name in ("start_time", "end_time")} - {0.0}
        self._drop_rows(digests)
        head = self._control().head
        for page in self._pages(f'camera == "{NAME}"'):
            for row in page:
                person = max(row["start_time"], row["end_time"])  # one of them is 0 if there was no name, or is none
                if person in persons and not self._is_held(person, head):
                    self._rows.delete_ids([row["id"]])

    def _drop_rows(self, digests: set[str]) -> None:
        if not digests:
            return
        self._rows.delete_ids(sorted(digests))
        wrong = [
            row["id"]
            for page in self._pages(f'camera == "{CORRECTION}"')
            for row in page
            if not digests.isdisjoint((row["tracklet"], row["source"]))
        ]
        self._rows.delete_ids(wrong)

    def _is_held(self, person: float, head: Head) -> bool:
        """Whether a record has this person, or will have it when a write is finished."""
        expr = f'camera == "{MEMBER}" and (start_time == {person!r} or end_time == {person!r})'
        return any(row["start_time"] == person or not head.counts(row) for page in self._pages(expr) for row in page)

    def _mend(self, mark: Mark, control: Control) -> None:
        """Delete the values that do not count, what refers to deleted records, and the marks of killed processes."""
        there, head = self._digests(mark), control.head
        persons: set[float] = set()
        named: dict[str, float] = {}
        for page in self._pages():
            mark.sign()
            gone, put = [], []
            for row in page:
                with self._readable():
                    text = head.text(row)
                    if text == NOTHING or not there.issuperset(referred(row, text)):
                        gone.append(row["id"])
                        continue
                    mended = settled(row, text)
                if row["camera"] == MEMBER:
                    persons.add(mended["start_time"])
                elif row["camera"] == NAME:
                    named[row["id"]] = mended["start_time"]
                if row["thumbnail"] != NOTHING or not head.counts(row):
                    put.append(mended)
            self._rows.delete_ids(gone)
            self._settle(mark, put)
        self._rows.delete_ids([key for key, person in named.items() if person not in persons])
        self._rows.delete_ids(control.stale)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn errors of damaged rows into a line that says what to do."""
        try:
            yield
        except DAMAGED as error:
            raise GalleryError(
                f"{self._where}: what it knows of people is damaged ({error}): restore a backup of Milvus; or drop the "
                f"collection {self._rows.address.name} there, and run `reid people` again: names and corrections are "
                "lost then"
            ) from None


class RefusedError(GalleryError):
    """Another process changes people now, or has changed them. Nothing was written."""


def counted(pages: Iterable[list[Row]], seen: list[int]) -> Iterator[Row]:
    """The rows of ``pages``. The number of rows of each page is added to ``seen``."""
    for page in pages:
        seen.append(len(page))
        yield from page


def _member_row(digest: str, one: Membership, before: Membership | None, version: Head) -> Row:
    return value_row(digest, MEMBER, text_of(one), text_of(before), version)


def _name_rows(names: Mapping[int, str | None], was: People, version: Head) -> Iterator[Row]:
    for person, name in names.items():
        value, before = (text_of((person, text)) if text else NOTHING for text in (name, was.names.get(person)))
        yield value_row(id_of(NAME, person), NAME, value, before, version)


def _correction_rows(put: Container[Correction], take: Container[int], was: People, version: Head) -> Iterator[Row]:
    values: dict[int, Correction | None] = dict.fromkeys(take) | {one.number: one for one in put}
    before = {one.number: one for one in was.corrections}
    for number, value in values.items():
        yield value_row(id_of(CORRECTION, number), CORRECTION, text_of(value), text_of(before.get(number)), version)
