"""The collection in which a gallery in Milvus keeps its people: its rows, and what falls with deleted records."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Collection as Container
from itertools import islice

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.milvus.collection import NARROW, Collection
from reid_toolkit.gallery.milvus.compared import LONGEST_NAME
from reid_toolkit.gallery.milvus.people_rows import (
    DAMAGED,
    FIELDS,
    LINKS,
    MEMBER,
    NAME,
    NOTHING,
    STORED,
    WIDTH,
    Head,
    referred,
    settled,
)
from reid_toolkit.gallery.milvus.people_work import Control, Mark
from reid_toolkit.gallery.milvus.properties import FORMAT, OF, PEOPLE
from reid_toolkit.gallery.milvus.rows import Row

NAME_OF = "{gallery}__people"
STEP = 10_000
"""Rows written between two signs of life."""
FEW = 8
"""If less than this part of all records is looked up, they are looked up one by one, which takes fewer requests."""


class PeopleCollection:
    """The rows about people, in a collection beside the gallery's own. ``people_table.py`` says what they promise."""

    def __init__(self, main: Collection, is_there: Callable[[], bool]) -> None:
        """Of the gallery in the collection ``main``, which exists and is loaded if ``is_there`` says so."""
        self._main, self._gallery_is_there = main, is_there
        self._where = main.address.text
        self.rows = main.sibling(NAME_OF.format(gallery=main.address.name))
        self._name_fits = len(self.rows.address.name) <= LONGEST_NAME
        self._made = False

    def exists(self) -> bool:
        """Whether the gallery and the collection of its people exist. Another process may have created them."""
        if not (self._gallery_is_there() and self._name_fits):
            return False
        if not self._made and self.rows.exists():
            about = self.rows.describe()[1]
            if (about.get(FORMAT), about.get(OF)) == (PEOPLE, self._main.address.name):
                self.rows.load()
                self._made = True
        return self._made

    def make(self) -> None:
        """Create the collection, if it does not exist. Raises :class:`GalleryError` if it cannot."""
        if self.exists():
            return
        if not self._gallery_is_there():
            raise GalleryError(f"{self._where}: no gallery there: make one with `reid enroll`")
        if not self._name_fits:
            raise GalleryError(
                f"{self._where}: the name is too long for people, which add 8 characters: Milvus accepts "
                f"{LONGEST_NAME}: copy the gallery to a shorter name"
            )
        if self.rows.exists():
            if self.exists():  # another process has created it meanwhile
                return
            raise GalleryError(
                f"{self._where}: its people would be in the collection {self.rows.address.name}, which belongs to "
                "another program or gallery: copy the gallery to another name"
            )
        try:
            self.rows.create(WIDTH, {FORMAT: PEOPLE, OF: self._main.address.name})
        except GalleryError:
            if not self.exists():
                raise

    def control(self) -> Control:
        """The head and the marks of processes that work."""
        with self.readable():
            return Control.read(self.rows)

    def pages(self, expr: str = STORED) -> Iterator[list[Row]]:
        """The rows that pass ``expr``, in parts."""
        for part in self.rows.parts(NARROW, expr):
            yield self.rows.page(part, FIELDS)

    def put(self, mark: Mark, rows: Iterable[Row]) -> None:
        """Write rows in parts, of which each is made when it is needed."""
        rows = iter(rows)
        while part := list(islice(rows, STEP)):
            mark.sign()
            self.rows.upsert(part)

    def settle(self, mark: Mark, rows: list[Row]) -> None:
        """Write rows whose value counts already, and delete those whose records were deleted meanwhile."""
        self.put(mark, rows)
        self.drop_links(self.missing({end for row in rows for end in referred(row, row["image"])}))

    def digests(self, mark: Mark | None = None) -> set[str]:
        """The digests of all records."""
        found: set[str] = set()
        for part in self._main.parts(NARROW):
            if mark:
                mark.sign()
            found.update(row["id"] for row in self._main.page(part, ["id"]))
        return found

    def missing(self, digests: Container[str], mark: Mark | None = None) -> set[str]:
        """Those ``digests`` of which no record is stored."""
        if len(digests) > STEP and len(digests) > self._main.count() // FEW:
            return set(digests) - self.digests(mark)
        ids, found = sorted(digests), set[str]()
        for at in range(0, len(ids), STEP):
            if mark:
                mark.sign()
            found |= self._main.find(ids[at : at + STEP])
        return set(ids) - found

    def drop(self, digests: set[str]) -> None:
        """Delete what refers to these records, and the names of people who then have none."""
        if not digests:
            return
        rows = self.rows.look_up(sorted(digests), ("start_time", "end_time"))
        persons = {row[name] for row in rows for name in ("start_time", "end_time")} - {0.0}
        self.drop_links(digests)
        head = self.control().head
        for page in self.pages(f'camera == "{NAME}"'):
            for row in page:
                person = max(row["start_time"], row["end_time"])  # one of them is 0 if there was no name, or is none
                if person in persons and not self._is_held(person, head):
                    self.rows.delete_ids([row["id"]])

    def drop_links(self, digests: set[str]) -> None:
        """Delete the memberships of these records, and the corrections and waiting names that are about them."""
        if not digests:
            return
        self.rows.delete_ids(sorted(digests))
        wrong = [
            row["id"]
            for page in self.pages(LINKS)
            for row in page
            if not digests.isdisjoint((row["tracklet"], row["source"]))
        ]
        self.rows.delete_ids(wrong)

    def _is_held(self, person: float, head: Head) -> bool:
        """Whether a record has this person, or will have it when a write is finished."""
        expr = f'camera == "{MEMBER}" and (start_time == {person!r} or end_time == {person!r})'
        return any(row["start_time"] == person or not head.counts(row) for page in self.pages(expr) for row in page)

    def mend(self, mark: Mark, control: Control) -> None:
        """Delete the values that do not count, what refers to deleted records, and the marks of killed processes."""
        there, head = self.digests(mark), control.head
        persons: set[float] = set()
        named: dict[str, float] = {}
        for page in self.pages():
            mark.sign()
            gone, put = [], []
            for row in page:
                with self.readable():
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
            self.rows.delete_ids(gone)
            self.settle(mark, put)
        self.rows.delete_ids([key for key, person in named.items() if person not in persons])
        self.rows.delete_ids(control.stale)

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn errors of damaged rows into a line that says what to do."""
        try:
            yield
        except DAMAGED as error:
            raise GalleryError(
                f"{self._where}: what it knows of people is damaged ({error}): restore a backup of Milvus; or drop the "
                f"collection {self.rows.address.name} there, and run `reid people` again: names and corrections are "
                "lost then"
            ) from None
