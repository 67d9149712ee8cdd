"""The block list of a gallery in Milvus: another collection beside the gallery, with a row for each digest."""

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
"""Width of the vector that Milvus demands in every row. It does not accept width 1."""


class MilvusBlockList(BlockList):
    """The block list of a gallery in Milvus. Its collection is created with the first entry."""

    def __init__(self, main: Collection) -> None:
        self._main = main
        self._list = main.sibling(NAME.format(gallery=main.address.name))

    def digests(self) -> set[str]:
        """All digests on the list."""
        if not self._is_there():
            return set()
        return {row["tracklet"] for page in self._list.pages(["id", "tracklet"]) for row in page}

    def held(self, digests: Container[str]) -> set[str]:
        """Those ``digests`` that are on the list."""
        if not digests or not self._is_there():
            return set()
        ids = {id_of(digest): digest for digest in digests}
        return {ids[found] for found in self._list.find(sorted(ids))}

    def change(self, put: Container[str] = (), take: Container[str] = ()) -> None:
        """Put the digests ``put`` on the list, then take the digests ``take`` off. If the process is killed in between,
        only the first step is done."""
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
                f"{self._main.address.text}: its block list would be the collection {self._list.address.name}, which "
                "belongs to another program: copy the gallery to another name"
            )
        self._list.load()
        return True

    def _make(self) -> None:
        try:
            self._list.create(WIDTH, {FORMAT: BLOCKED, OF: self._main.address.name})
        except GalleryError:
            if not self._is_there():  # if it exists, another process has created it meanwhile
                raise


def id_of(digest: str) -> str:
    """A row's id. It must be hexadecimal, because pages are read by hexadecimal prefixes, and digests of allowed
    records begin with "+"."""
    return hashlib.sha256(digest.encode()).hexdigest()


def rows_of(digests: Container[str]) -> list[Row]:
    """Rows of the collection. The digest is stored in the field "tracklet"."""
    vectors = np.tile(np.eye(1, WIDTH, dtype=np.float32), (len(digests), 1))
    rows = encode(vectors, [Record(digest, "") for digest in sorted(digests)], time.time_ns())
    return [{**row, "id": id_of(row["tracklet"])} for row in rows]
