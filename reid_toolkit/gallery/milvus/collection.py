"""One collection of a Milvus server: pymilvus with its traps handled, and its errors as one line.

Every read is strong: it waits until the servers have seen all writes. Milvus's own default may show a person who
was forgotten seconds ago.
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
"""Environment variable with "user:password" or an API key; not in addresses, which other users can see."""
METRIC = "L2"
WINDOW = 16_384
"""Rows that Milvus gives in one answer at most."""
PAGE = 2_000
"""Rows asked for at once, with their descriptors: 4 MB at a width of 512."""
NARROW = 8_000
"""Rows asked for at once of which only a few numbers are wanted."""
IDS = 1_000
"""Digests in one expression: 68 kB."""
WRITE_BYTES = 16 << 20
"""Of rows written at once; servers refuse 64 MB."""
PATIENCE = 30.0
"""Seconds after which a server that does not answer is away."""
LOADING = 600.0
"""Seconds for which a collection may take to be loaded, or to be indexed."""
M, EF_CONSTRUCTION, EF = 16, 200, 256
"""Of HNSW, as in the embedded gallery."""


class Collection:
    """What is asked of one collection. Threads may share it."""

    def __init__(self, address: Address, client: Any = None) -> None:
        """Connect, unless there is a ``client``; raises :class:`GalleryError` when nothing answers."""
        self.address = address
        self._name = address.name
        if client is not None:
            self._client = client
            return
        # It logs every error with its traceback, before it raises it.
        logging.getLogger("pymilvus.decorators").setLevel(logging.CRITICAL)
        if address.lite:
            # Its server runs in this process, and logs each call that it does not know.
            logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
        with self._explained():
            self._client = MilvusClient(uri=address.uri, token=os.environ.get(TOKEN, ""), timeout=PATIENCE)

    def close(self) -> None:
        self._client.close()

    def sibling(self, name: str) -> "Collection":
        """The collection of this name, over the same connection. Messages name this one's address."""
        return Collection(replace(self.address, name=name), self._client)

    def names(self) -> list[str]:
        """Of all collections there are."""
        with self._explained():
            return list(self._client.list_collections(timeout=PATIENCE))

    def exists(self) -> bool:
        with self._explained():
            return bool(self._client.has_collection(self._name, timeout=PATIENCE))

    def create(self, dimension: int, properties: dict[str, str], index: str = "FLAT") -> None:
        """Make and load it, for exact search, or for "HNSW": Milvus indexes then what was written, by and by."""
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
                self._name, schema=schema, index_params=self._index(index), consistency_level="Strong",
                properties=properties, timeout=PATIENCE,
            )  # fmt: skip
        self.load()

    def drop(self) -> None:
        with self._explained():
            self._client.drop_collection(self._name, timeout=PATIENCE)

    def describe(self) -> tuple[int | None, dict[str, str]]:
        """Width of its descriptors, and its properties. None when it has other fields than a gallery's."""
        with self._explained():
            found = self._client.describe_collection(self._name, timeout=PATIENCE)
        widths = [field["params"].get("dim") for field in found["fields"] if field["name"] == "vector"]
        return (int(widths[0]) if widths and widths[0] else None), dict(found["properties"])

    def set_properties(self, properties: dict[str, str]) -> None:
        """Set these, all at one moment; others stay."""
        with self._explained():
            self._client.alter_collection_properties(self._name, properties, timeout=PATIENCE)

    def index(self) -> dict[str, Any]:
        """What Milvus tells about the index; empty when there is none."""
        with self._explained():
            if not self._client.list_indexes(self._name, "vector"):
                return {}
            return dict(self._client.describe_index(self._name, "vector", timeout=PATIENCE))

    def make_index(self, kind: str) -> None:
        """Replace the index by a "FLAT" or "HNSW" one; searches fail for the while."""
        with self._explained():
            self._client.flush(self._name, timeout=LOADING)
            self._client.release_collection(self._name, timeout=PATIENCE)
            if self.index():
                self._client.drop_index(self._name, "vector", timeout=PATIENCE)
            self._client.create_index(self._name, self._index(kind), timeout=LOADING)
        self.load()

    def finish_index(self) -> None:
        """Wait until the index covers what was written so far; searches are as right before that."""
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
        """Ask for it to be loaded, and wait until it is: Milvus answers earlier, and then with some of the rows."""
        deadline = time.monotonic() + LOADING
        with self._explained():
            self._client.load_collection(self._name, timeout=LOADING)
            while self._client.get_load_state(self._name, timeout=PATIENCE)["state"] != LoadState.Loaded:
                if time.monotonic() > deadline:
                    raise GalleryError(f"{self.address.text}: was not loaded within {LOADING:g} s: see Milvus's logs")
                time.sleep(0.1)

    def count(self, expr: str = "") -> int:
        """How many rows there are, or pass ``expr``."""
        with self._explained():
            answer = self._client.query(
                self._name, expr, output_fields=["count(*)"], consistency_level="Strong", timeout=PATIENCE
            )
        return int(answer[0]["count(*)"])

    def parts(self, page: int, expr: str = "", prefix: str = "") -> Iterator[str]:
        """Expressions which together choose all rows that pass ``expr``, each once, and one about ``page`` at most.

        By the first digits of their digests, which are spread evenly: so no answer meets the window, and a row
        that is added or deleted meanwhile moves no other. None when no row passes.
        """
        total = self.count(within(expr, prefix))
        digits = 0
        while total > page * 16**digits:
            digits += 1
        for number in range(16**digits if total else 0):
            yield within(expr, prefix + f"{number:0{digits}x}" if digits else prefix)

    def pages(self, fields: Sequence[str], expr: str = "", prefix: str = "") -> Iterator[list[Row]]:
        """All rows that pass ``expr`` with these ``fields``, each once, in parts."""
        for part in self.parts(PAGE, expr, prefix):
            if rows := self.page(part, fields):
                yield rows

    def page(self, part: str, fields: Sequence[str]) -> list[Row]:
        """The rows of one of :meth:`parts`; raises :class:`GalleryError` when they are too many for an answer."""
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
        """Those of ``ids`` that are there."""
        return {row["id"] for row in self.look_up(ids, ["id"])}

    def look_up(self, ids: Sequence[str], fields: Sequence[str]) -> list[Row]:
        """The rows of those of ``ids`` that are there."""
        parts = (ids[at : at + IDS] for at in range(0, len(ids), IDS))
        return [row for part in parts for row in self.query(among(part), fields)]

    def search(self, queries: NDArray[np.float32], limit: int, expr: str, fields: Sequence[str]) -> list[list[Row]]:
        """For each of ``queries`` (B, D), up to ``limit`` rows that pass, nearest first, with a "distance" each,
        squared and in single precision."""
        with self._explained():
            answers = self._client.search(
                self._name, list(queries), filter=expr, limit=limit, output_fields=list(fields),
                search_params={"params": {"ef": max(EF, limit)}}, consistency_level="Strong", timeout=PATIENCE,
            )  # fmt: skip
        return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in answers]

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows, in place of those of the same id; in Milvus's log when this returns.

        In parts, of which each is whole or not there.
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
        """Delete all rows that pass; their bytes leave with :meth:`compact`."""
        with self._explained():
            self._client.delete(self._name, filter=expr, timeout=LOADING)

    def delete_ids(self, ids: Sequence[str]) -> None:
        """Delete the rows of these digests, as far as they are there."""
        for at in range(0, len(ids), IDS):
            self.delete(among(ids[at : at + IDS]))

    def compact(self) -> None:
        """Have the segments rewritten without deleted rows, and wait until they are."""
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
        """Turn what pymilvus raises into one line that says what to do."""
        try:
            yield
        except MilvusException as error:
            raise self._error(str(error.message)) from error
        except grpc.RpcError as error:
            # Of a call that took too long, pymilvus lets this through.
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
        # A wrong password looks the same to pymilvus as no server.
        return (
            f"no Milvus server there that answers us within {PATIENCE:g} s: see that it runs, host and port, and user "
            f"and password in {TOKEN}; what was stored is safe"
        )
    if "auth" in lower:
        return f"the server refuses us: give user:password or an API key in {TOKEN}"
    return f"Milvus says: {' '.join(text.split())[:300]}"
