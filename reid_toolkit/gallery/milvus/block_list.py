"""The block list of a gallery in Milvus: a collection beside the gallery's own, with a row for each digest."""

import hashlib
import time
from collections.abc import Collection as Container

import numpy as np

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.properties import BLOCKED, FORMAT, OF
from reid_toolkit.gallery.milvus.rows import Row, encode
from reid_toolkit.records import Record

NAME = "{gallery}__blocked"
WIDTH = 2
"""Of the vector that Milvus wants in every row; it takes none of width 1."""


class MilvusBlockList(BlockList):
    """The collection is made with the first entry."""

    def __init__(self, main: Collection) -> None:
        self._main = main
        self._list = main.sibling(NAME.format(gallery=main.address.name))

    def digests(self) -> set[str]:
        """All that is on it."""
        if not self._is_there():
            return set()
        return {row["tracklet"] for page in self._list.pages(["id", "tracklet"]) for row in page}

    def held(self, digests: Container[str]) -> set[str]:
        """Those of ``digests`` that are on it."""
        if not digests or not self._is_there():
            return set()
        ids = {id_of(digest): digest for digest in digests}
        return {ids[found] for found in self._list.find(sorted(ids))}

    def change(self, put: Container[str] = (), take: Container[str] = ()) -> None:
        """Put digests on it, and take others off. Not in one step: who is killed in between has done the first."""
        if put:
            if not self._is_there():
                self._make()
            self._list.upsert(rows_of(put))
        if take and self._is_there():
            self._list.delete_ids(sorted(map(id_of, take)))

    def _is_there(self) -> bool:
        if not self._list.exists():
            return False
        if self._list.describe()[1].get(FORMAT) != BLOCKED:
            raise GalleryError(
                f"{self._main.address.text}: its block list would be {self._list.address.name}, a "
                "collection of another program: copy the gallery to another name"
            )
        self._list.load()
        return True

    def _make(self) -> None:
        try:
            self._list.create(WIDTH, {FORMAT: BLOCKED, OF: self._main.address.name})
        except GalleryError:
            if not self._is_there():  # and if it is, another process was quicker
                raise


def id_of(digest: str) -> str:
    """A row's id. Milvus's pages are found by hexadecimal ids, and passes are not hexadecimal."""
    return hashlib.sha256(digest.encode()).hexdigest()


def rows_of(digests: Container[str]) -> list[Row]:
    """Rows of the collection, with the digest where a record has its tracklet."""
    vectors = np.tile(np.eye(1, WIDTH, dtype=np.float32), (len(digests), 1))
    rows = encode(vectors, [Record(digest, "") for digest in sorted(digests)], time.time_ns())
    return [{**row, "id": id_of(row["tracklet"])} for row in rows]
