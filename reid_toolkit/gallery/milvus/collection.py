"""A collection of a Milvus server: pymilvus with its traps handled, and its errors as one line.

Every read is strong: it waits until the servers have seen all writes. With Milvus's own default, a search may show a
person who was forgotten seconds ago.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from reid_toolkit.errors import GalleryError, UnavailableError
from reid_toolkit.gallery.milvus.address import Address
from reid_toolkit.gallery.milvus.filters import among, within
from reid_toolkit.gallery.milvus.rows import LONGEST, TEXTS, Row

TOKEN = "REID_MILVUS_TOKEN"
"""Environment variable with "user:password" or an API key. It is not a part of addresses, because other users can see
these."""
METRIC = "L2"
WINDOW = 16_384
"""Largest number of rows that Milvus gives in an answer."""
PAGE = 2_000
"""Number of rows read at a time with their descriptors: 4 MB at a width of 512."""
NARROW = 8_000
"""Number of rows read at a time if only a few numbers of each are needed."""
IDS = 1_000
"""Number of digests in an expression: 68 kB."""
WRITE_BYTES = 16 << 20
"""Bytes of rows written at a time. Servers refuse 64 MB."""
PATIENCE = 30.0
"""Seconds after which a server that does not answer counts as unreachable."""
LOADING = 600.0
"""Seconds that loading or indexing a collection may take."""
M, EF_CONSTRUCTION, EF = 16, 200, 256
"""Settings of HNSW, the same as in a gallery in a folder."""


class Collection:
    """A collection of a Milvus server. Threads may share it."""

    def __init__(self, address: Address, client: Any = None) -> None:
        """Connect, unless a ``client`` is given. Raises :class:`GalleryError` if no server answers."""
        self.address = address
        self._name = address.name
        if client is not None:
            self._client = client
            return
        # pymilvus logs every error with its traceback before it raises it.
        logging.getLogger("pymilvus.decorators").setLevel(logging.CRITICAL)
        if address.lite:
            # The server of Milvus Lite runs in this process, and logs each call that it does not know.
            logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
        with self._explained():
            self._client = MilvusClient(uri=address.uri, token=os.environ.get(TOKEN, ""), timeout=PATIENCE)

    def close(self) -> None:
        self._client.close()

    def sibling(self, name: str) -> "Collection":
        """The collection ``name``, over the same connection. Messages show the address of this collection."""
        return Collection(replace(self.address, name=name), self._client)

    def names(self) -> list[str]:
        """The names of all collections."""
        with self._explained():
            return list(self._client.list_collections(timeout=PATIENCE))

    def exists(self) -> bool:
        with self._explained():
            return bool(self._client.has_collection(self._name, timeout=PATIENCE))

    def create(self, dimension: int, properties: dict[str, str], index: str = "FLAT") -> None:
        """Create and load the collection, with a "FLAT" index (exact search) or an "HNSW" index, which Milvus builds in
        the background."""
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
        for name in TEXTS:
            schema.add_field(name, DataType.VARCHAR, max_length=LONGEST)
        for name, kind in (
            ("start_time", DataType.DOUBLE), ("end_time", DataType.DOUBLE), ("tags", DataType.JSON),
            ("checksum", DataType.INT64), ("place", DataType.INT64),
        ):  # fmt: skip
            schema.add_field(name, kind)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        with self._explained():
            self._client.create_collection(
                self._name, schema=schema, consistency_level="Strong", properties=properties, timeout=PATIENCE
            )
            # An empty collection's index is there at once. pymilvus would wait half a second before it asks.
            self._client.create_index(self._name, self._index(index), timeout=PATIENCE, sync=False)
        self.load()

    def drop(self) -> None:
        with self._explained():
            self._client.drop_collection(self._name, timeout=PATIENCE)

    def describe(self) -> tuple[int | None, dict[str, str]]:
        """The width of its descriptors (None if it has not the fields of a gallery), and its properties."""
        with self._explained():
            found = self._client.describe_collection(self._name, timeout=PATIENCE)
        widths = [field["params"].get("dim") for field in found["fields"] if field["name"] == "vector"]
        return (int(widths[0]) if widths and widths[0] else None), dict(found["properties"])

    def set_properties(self, properties: dict[str, str]) -> None:
        """Set these properties, all at once. Other properties stay."""
        with self._explained():
            self._client.alter_collection_properties(self._name, properties, timeout=PATIENCE)

    def index(self) -> dict[str, Any]:
        """Milvus's description of the index. Empty if there is none."""
        with self._explained():
            if not self._client.list_indexes(self._name, "vector"):
                return {}
            return dict(self._client.describe_index(self._name, "vector", timeout=PATIENCE))

    def make_index(self, kind: str) -> None:
        """Replace the index by a "FLAT" or "HNSW" index. Searches fail meanwhile."""
        with self._explained():
            self._client.flush(self._name, timeout=LOADING)
            self._client.release_collection(self._name, timeout=PATIENCE)
            if self.index():
                self._client.drop_index(self._name, "vector", timeout=PATIENCE)
            self._client.create_index(self._name, self._index(kind), timeout=LOADING)
        self.load()

    def finish_index(self) -> None:
        """Wait until the index covers all rows written so far. Searches are correct before that too."""
        deadline = time.monotonic() + LOADING
        with self._explained():
            self._client.flush(self._name, timeout=LOADING)
        while int(self.index().get("pending_index_rows") or 0) and time.monotonic() < deadline:
            time.sleep(0.5)

    def _index(self, kind: str) -> Any:
        params = self._client.prepare_index_params()
        settings = {"M": M, "efConstruction": EF_CONSTRUCTION} if kind == "HNSW" else {}
        params.add_index("vector", index_type=kind, metric_type=METRIC, params=settings)
        return params

    def load(self) -> None:
        """Load the collection, and wait until it is loaded. Before that, Milvus answers with only some of the rows."""
        deadline = time.monotonic() + LOADING
        with self._explained():
            self._client.load_collection(self._name, timeout=LOADING)
            while self._client.get_load_state(self._name, timeout=PATIENCE)["state"] != LoadState.Loaded:
                if time.monotonic() > deadline:
                    raise GalleryError(f"{self.address.text}: was not loaded within {LOADING:g} s: see Milvus's logs")
                time.sleep(0.1)

    def count(self, expr: str = "") -> int:
        """The number of rows that pass ``expr``."""
        with self._explained():
            answer = self._client.query(
                self._name, expr, output_fields=["count(*)"], consistency_level="Strong", timeout=PATIENCE
            )
        return int(answer[0]["count(*)"])

    def parts(self, page: int, expr: str = "", prefix: str = "") -> Iterator[str]:
        """Yield expressions that together choose each row that passes ``expr`` once. Each chooses at most about
        ``page`` rows. None if no row passes.

        The rows are divided by the first digits of their digests, which are spread evenly. So no answer reaches the
        window, and rows that are added or deleted meanwhile do not move others.
        """
        total = self.count(within(expr, prefix))
        digits = 0
        while total > page * 16**digits:
            digits += 1
        for number in range(16**digits if total else 0):
            yield within(expr, prefix + f"{number:0{digits}x}" if digits else prefix)

    def pages(self, fields: Sequence[str], expr: str = "", prefix: str = "") -> Iterator[list[Row]]:
        """Yield all rows that pass ``expr`` with these ``fields``, each once, in parts."""
        for part in self.parts(PAGE, expr, prefix):
            if rows := self.page(part, fields):
                yield rows

    def page(self, part: str, fields: Sequence[str]) -> list[Row]:
        """The rows of an expression of :meth:`parts`. Raises :class:`GalleryError` if they are too many for an
        answer."""
        rows = self.query(part, fields)
        if len(rows) == WINDOW:
            raise GalleryError(f"{self.address.text}: grows too fast to be read: stop enrolling and run this again")
        return rows

    def query(self, expr: str, fields: Sequence[str]) -> list[Row]:
        """Up to ``WINDOW`` rows that pass ``expr``."""
        with self._explained():
            return list(
                self._client.query(
                    self._name, expr, output_fields=list(fields), limit=WINDOW, consistency_level="Strong",
                    timeout=PATIENCE,
                )
            )  # fmt: skip

    def find(self, ids: Sequence[str]) -> set[str]:
        """Those ``ids`` that are stored."""
        return {row["id"] for row in self.look_up(ids, ["id"])}

    def look_up(self, ids: Sequence[str], fields: Sequence[str]) -> list[Row]:
        """The rows of those ``ids`` that are stored."""
        parts = (ids[at : at + IDS] for at in range(0, len(ids), IDS))
        return [row for part in parts for row in self.query(among(part), fields)]

    def search(self, queries: NDArray[np.float32], limit: int, expr: str, fields: Sequence[str]) -> list[list[Row]]:
        """For each of ``queries`` (B, D), up to ``limit`` rows that pass ``expr``, nearest first. Each has a
        "distance", squared and in single precision."""
        with self._explained():
            answers = self._client.search(
                self._name, list(queries), filter=expr, limit=limit, output_fields=list(fields),
                search_params={"params": {"ef": max(EF, limit)}}, consistency_level="Strong", timeout=PATIENCE,
            )  # fmt: skip
        return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in answers]

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows. They replace rows with the same id. They are in Milvus's log when this returns.

        Rows are written in parts. Each part is written completely or not at all.
        """
        if not rows:
            return
        step = max(
            1, WRITE_BYTES // max(4 * len(row["vector"]) + sum(len(row[name]) for name in TEXTS) for row in rows)
        )
        for at in range(0, len(rows), step):
            with self._explained():
                self._client.upsert(self._name, list(rows[at : at + step]), timeout=PATIENCE)

    def delete(self, expr: str) -> None:
        """Delete all rows that pass ``expr``. :meth:`compact` removes their bytes."""
        with self._explained():
            self._client.delete(self._name, filter=expr, timeout=LOADING)

    def delete_ids(self, ids: Sequence[str]) -> None:
        """Delete the rows with these digests, if they are stored."""
        for at in range(0, len(ids), IDS):
            self.delete(among(ids[at : at + IDS]))

    def compact(self) -> None:
        """Let Milvus rewrite its segments without deleted rows, and wait until it has finished."""
        deadline = time.monotonic() + LOADING
        with self._explained():
            self._client.flush(self._name, timeout=LOADING)
            job = self._client.compact(self._name, timeout=PATIENCE)
            while self._client.get_compaction_state(job, timeout=PATIENCE) != "Completed":
                if time.monotonic() > deadline:
                    raise GalleryError(f"{self.address.text}: was not compacted within {LOADING:g} s: run it again")
                time.sleep(0.2)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn pymilvus's errors into a line that says what to do."""
        try:
            yield
        except MilvusException as error:
            raise self._error(str(error.message)) from error
        except grpc.RpcError as error:
            # pymilvus does not convert this error if a call takes too long.
            raise self._error(str(error)) from error

    def _error(self, text: str) -> GalleryError:
        kind = UnavailableError if _is_away(text) else GalleryError
        return kind(f"{self.address.text}: {_explain(text)}")


def _is_away(text: str) -> bool:
    """Whether no server answers."""
    return any(word in text.lower() for word in ("fail connecting", "unavailable", "retry", "deadline"))


def _explain(text: str) -> str:
    lower = text.lower()
    if _is_away(text):
        # In pymilvus, a wrong password gives the same error as a missing server.
        return (
            f"no Milvus server answers within {PATIENCE:g} s: check that it runs, its host and port, and user and "
            f"password in {TOKEN}; everything stored is safe"
        )
    if "auth" in lower:
        return f"the server refuses the login: give user:password or an API key in {TOKEN}"
    return f"Milvus says: {' '.join(text.split())[:300]}"
