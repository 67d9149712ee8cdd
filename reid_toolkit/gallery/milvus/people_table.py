"""The people of a gallery in Milvus, in a collection beside the gallery's own."""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Container
from dataclasses import replace
from typing import Any, NamedTuple

from reid_toolkit.errors import GalleryError, UnavailableError
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.people_changes import Changes
from reid_toolkit.gallery.milvus.people_collection import PeopleCollection
from reid_toolkit.gallery.milvus.people_records import MilvusParts
from reid_toolkit.gallery.milvus.people_rows import (
    MEMBER,
    NAME,
    NOTHING,
    STORED,
    Head,
    id_of,
    members_of,
    people_of,
    referred,
    settled,
    text_of,
    value_row,
)
from reid_toolkit.gallery.milvus.people_work import DELETE, LASTING, WRITE, Control, Mark, changed_meanwhile
from reid_toolkit.gallery.milvus.rows import Row
from reid_toolkit.gallery.people_table import (
    Correction,
    Membership,
    Parts,
    People,
    PeopleTable,
    Undone,
    deleted_meanwhile,
)
from reid_toolkit.records import Record

READS = 5
"""People are read so many times at most, if other processes change them meanwhile."""


class State(NamedTuple):
    """Tells whether people were changed, or records deleted."""

    write: tuple[int, int]
    """Of the last write that was finished (:attr:`Head.write`)."""
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
        self._held = PeopleCollection(main, is_there)
        self._rows, self._where = self._held.rows, main.address.text

    def read(self) -> People:
        """Read everything, as of the end of one write."""
        if not self._held.exists():
            return People(state=State(Head().write, 0))
        for _ in range(READS):
            before = self._held.control()
            seen: list[int] = []
            with self._held.readable():
                people = people_of(counted(self._held.pages(), seen), before.head)
            after = self._held.control()
            if before.head == after.head:
                break
        else:
            raise UnavailableError(f"{self._where}: its people change too fast to be read: run this again later")
        if before.marks or after.marks:  # records may have been deleted, and what refers to them not yet
            people = people.among(self._held.digests())
        return replace(people, state=State(before.head.write, sum(seen)))

    def changed(self, was: People) -> bool:
        """Whether people were changed, or records with a person deleted, since then."""
        if not self._held.exists():
            return bool(was.state != State(Head().write, 0))
        return bool(was.state != State(self._held.control().head.write, self._rows.count(STORED)))

    @property
    def parts(self) -> Parts | None:
        """Reads parts of the gallery. None if it does not exist."""
        return MilvusParts(self._main) if self._gallery_is_there() else None

    def note(self, event: Mapping[str, Any]) -> bool:
        """False, because a gallery in Milvus has no audit log."""
        return False

    def reserve(self, count: int) -> int:
        """Set numbers of people aside. Returns the first of them. Raises :class:`RefusedError` if another process
        writes."""
        with self._alone() as (mark, control):
            if control.stale:
                self._held.mend(mark, control)
            last = control.head.last_person
            mark.sign()
            self._rows.upsert([control.head._replace(last_person=last + count).row()])
        return last + 1

    def propose(
        self, was: People, people: Sequence[tuple[Record, int]], new: Container[int]
    ) -> tuple[list[bool], People]:
        """Store whom records were taken for before they were grouped.

        A record that gets a person from a write at the same moment may keep the proposed one, until it is grouped.
        """
        self._held.make()
        ids = [key_digest(record) for record, _ in people]
        there = self._main.find(ids)
        before = State(self._held.control().head.write, self._rows.count(STORED))
        known = self._rows.find(ids)
        persons = {who for _, who in people}
        held = {who for who in persons if who in new or self._rows.count(members_of(who))}
        members = {
            one: Membership.proposed(who)
            for one, (_, who) in zip(ids, people, strict=True)
            if one in there and one not in known and who in held
        }
        self._rows.upsert([value_row(one, MEMBER, text_of(who), NOTHING, Head()) for one, who in members.items()])
        self._held.drop_links(self._held.missing(members))  # records may have been deleted meanwhile
        after = before._replace(rows=before.rows + len(members))
        return [one in there for one in ids], replace(was, state=after) if was.state == before else was

    def write(
        self,
        was: People,
        *,
        members: Mapping[str, Membership] | None = None,
        names: Mapping[int, str | None] | None = None,
        put: Container[Correction] = (),
        take: Container[int] = (),
        undone: Container[Undone] = (),
        waiting: Mapping[str, str | None] | None = None,
        least_times: Mapping[tuple[str, str], float] | None = None,
        false_match_rate: float | None = None,
        event: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> None:
        """Change what is stored. The event is not used, because a gallery in Milvus has no audit log.

        ``whole`` looks before anything is written. A record that is deleted after that counts as deleted after the
        write.
        """
        changes = Changes(
            was, dict(members or {}), dict(names or {}), put, take, undone, dict(waiting or {}), least_times,
            false_match_rate,
        )  # fmt: skip
        with self._alone() as (mark, control):
            if control.head.write != was.state.write:
                raise RefusedError(str(changed_meanwhile(self._where)))
            if control.stale:
                self._held.mend(mark, control)
            if whole and changes.loses_any(self._held.missing(changes.records, mark)):
                raise RefusedError(str(deleted_meanwhile(self._where)))
            new = changes.head(control.head, secrets.randbits(62))
            self._held.put(mark, changes.member_rows(new))
            rows = list(changes.other_rows(new))
            self._held.put(mark, rows)
            # Records may have been deleted meanwhile, before their links were written again.
            missing = self._held.missing(changes.records, mark)
            self._held.drop_links(missing)
            nobody = changes.nobody(missing)
            rows = [
                row
                for row in rows
                if missing.isdisjoint(referred(row, row["image"]))
                and not (row["camera"] == NAME and row["start_time"] in nobody)
            ]
            mark.sign()
            self._rows.upsert([new.row()])
            # What was taken away or replaced must not stay.
            gone = [row["id"] for row in rows if row["image"] == NOTHING] + [id_of(NAME, one) for one in nobody]
            self._rows.delete_ids(sorted(gone))
            kept = [row for row in rows if row["image"] != NOTHING != row["thumbnail"]]
            self._held.settle(mark, [settled(row, row["image"]) for row in kept])

    @contextlib.contextmanager
    def dropping(self, digests: Callable[[], Iterable[str]]) -> Iterator[None]:
        """Within this, records are deleted. Afterwards, what refers to them is deleted.

        ``digests`` gives the records that are about to be deleted. It is only called if the gallery has people. If the
        process is killed, the mark stays, and says that links of deleted records may be left.
        """
        if not self._held.exists():
            yield
            return
        mark = Mark(self._rows, DELETE, self._where)
        chosen = set(digests())
        yield
        self._held.drop(self._held.missing(chosen))
        mark.remove()

    def is_unfinished(self) -> bool:
        """Whether links of deleted records may be left."""
        return self._held.exists() and any(row["tracklet"] == DELETE for row in self._held.control().marks)

    def compact(self) -> None:
        """Delete the values that do not count any more, and what refers to deleted records. Then let Milvus rewrite its
        files. While another process changes people, only the files are rewritten."""
        if not self._held.exists():
            return
        try:
            with self._alone() as (mark, control):
                self._held.mend(mark, control)
        except RefusedError:
            pass
        self._rows.compact()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[tuple[Mark, Control]]:
        """Keep other writers away. Raises :class:`RefusedError` if another one writes."""
        self._held.make()
        mark = Mark(self._rows, WRITE, self._where)
        try:
            control = self._held.control()
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


class RefusedError(UnavailableError):
    """Another process changes people now, or has changed them. Nothing was written."""


def counted(pages: Iterable[list[Row]], seen: list[int]) -> Iterator[Row]:
    """The rows of ``pages``. The number of rows of each page is added to ``seen``."""
    for page in pages:
        seen.append(len(page))
        yield from page
