"""The block list of a gallery in a folder: a table of digests, created with the first of them."""

from collections.abc import Collection

from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.local.people_rows import exist
from reid_toolkit.gallery.local.record_table import ASKED_ROWS, RecordTable
from reid_toolkit.gallery.local.schema import BLOCKED_TABLE
from reid_toolkit.gallery.local.search import Locks


class FolderBlockList(BlockList):
    """The block list of a gallery in a folder."""

    def __init__(self, reader: RecordTable, writer: RecordTable, locks: Locks) -> None:
        self._reader, self._writer, self._locks = reader, writer, locks

    def digests(self) -> set[str]:
        """All digests on the list."""
        with self._locks.reader, self._reader.reading():
            db = self._reader.connection
            return {row[0] for row in db.execute("SELECT digest FROM blocked")} if exist(db, "blocked") else set()

    def held(self, digests: Collection[str]) -> set[str]:
        """Those ``digests`` that are on the list."""
        asked, found = sorted(digests), set()
        with self._locks.reader, self._reader.reading():
            db = self._reader.connection
            for at in range(0, len(asked) if exist(db, "blocked") else 0, ASKED_ROWS):
                part = asked[at : at + ASKED_ROWS]
                query = f"SELECT digest FROM blocked WHERE digest IN ({', '.join('?' * len(part))})"
                found |= {row[0] for row in db.execute(query, part)}
        return found

    def change(self, put: Collection[str] = (), take: Collection[str] = ()) -> None:
        """Put the digests ``put`` on the list, and take the digests ``take`` off, in one transaction."""
        with self._locks.writer, self._writer.writing():
            db = self._writer.connection
            db.execute(BLOCKED_TABLE)
            db.executemany("INSERT OR IGNORE INTO blocked VALUES (?)", ((digest,) for digest in put))
            db.executemany("DELETE FROM blocked WHERE digest = ?", ((digest,) for digest in take))
