"""The block list of a gallery in a folder."""

from collections.abc import Collection

from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.local.record_table import RecordTable
from reid_toolkit.gallery.local.search import Locks


class FolderBlockList(BlockList):
    """The block list of a gallery in a folder."""

    def __init__(self, reader: RecordTable, writer: RecordTable, locks: Locks) -> None:
        self._reader, self._writer, self._locks = reader, writer, locks

    def digests(self) -> set[str]:
        """All digests on the list."""
        with self._locks.reader, self._reader.reading():
            return self._reader.blocked()

    def held(self, digests: Collection[str]) -> set[str]:
        """Those ``digests`` that are on the list."""
        return self.digests().intersection(digests)

    def change(self, put: Collection[str] = (), take: Collection[str] = ()) -> None:
        """Put the digests ``put`` on the list, and take the digests ``take`` off, in one transaction."""
        with self._locks.writer, self._writer.writing():
            self._writer.block(put)
            self._writer.unblock(take)
