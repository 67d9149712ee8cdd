"""The index files, which make a large gallery quick to open and to search. They may be deleted at any time.

    index.json            describes the other two, with their checksums and its own
    index-TOKEN.rows      the snapshot: names, columns, and descriptors in half precision
    index-TOKEN.graph     the graph over these rows

Each save has its own token, and ``index.json`` is replaced last. So if a save is killed, the files of the save before
stay valid. The database stores the token of its files. No content of a file is used, or given to hnswlib, before its
checksum is verified.
"""

import contextlib
import json
import re
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.files import atomic_path, parse_json
from reid_toolkit.gallery.digests import BLOCK, file_checksum, text_checksum
from reid_toolkit.gallery.local.hnsw import EF_CONSTRUCTION, SAMPLE, Index, M
from reid_toolkit.gallery.local.schema import METRIC
from reid_toolkit.gallery.local.snapshot import COLUMNS, Snapshot, Version, enlarged

MANIFEST = "index.json"
FORMAT = 2
OURS = re.compile(r"index\.(json|hnsw)|index-\w+\.(rows|graph)|\.index(-\w+)?\.\w+\.partial\.(json|rows|graph|hnsw)")
"""Names of index files, also of the first versions of the toolkit and of killed saves. Other files are not ours."""
READERS = 2
"""Threads that read descriptors. More threads would only wait for memory."""


class Identity(NamedTuple):
    """What a file must name to belong to a gallery."""

    gallery: str
    """The gallery's id, because row numbers have no meaning in another gallery."""
    model: str | None
    dimension: int


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """The content of ``index.json``."""

    format: int
    gallery: str
    model: str | None
    dimension: int
    metric: str
    version: tuple[int, ...]
    """:class:`Version` of the database when the rows were read. Older toolkits wrote three numbers."""
    count: int
    """Number of rows in both files."""
    dead: int
    """How many of these rows were deleted."""
    damage: dict[str, str]
    """Damaged records that were left out: id -> reason."""
    token: str
    names_bytes: int
    """Bytes of the names at the beginning of the rows file."""
    rows_bytes: int
    head_checksum: int
    """Checksum of names, deletions and columns."""
    vector_checksums: list[int]
    """Checksums of the descriptors, one per block (:func:`_blocks`), so that several threads can read them."""
    graph_bytes: int
    graph_checksum: int
    index: dict[str, Any]
    """Settings of the graph, and the measured recall."""

    @property
    def statistics(self) -> int:
        """Version of the camera statistics that were applied to the rows. 0 for none."""
        return Version(*self.version).statistics

    @property
    def rows_name(self) -> str:
        return f"index-{self.token}.rows"

    @property
    def graph_name(self) -> str:
        return f"index-{self.token}.graph"

    def dead_after(self, removed: int) -> int:
        """How many rows of the files are deleted now. ``removed`` is the number that :class:`Version` counts now."""
        return self.dead + removed - self.version[2]


def read_manifest(folder: Path) -> IndexManifest | None:
    """Read ``index.json`` of ``folder``. None if it is missing or damaged. It may belong to another gallery."""
    try:
        outer = parse_json((folder / MANIFEST).read_bytes())
        if text_checksum(outer["about"]) != outer["checksum"]:
            return None
        fields = parse_json(outer["about"])
        return IndexManifest(**fields | {"version": tuple(fields["version"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def fits(about: IndexManifest, identity: Identity, token: str | None) -> bool:
    """Whether these files belong to this gallery. ``token`` is the token that its database stores.

    Ids alone cannot tell: a database that was restored from a copy may give the same ids to other rows.
    """
    held = (about.format, about.gallery, about.model, about.dimension, about.metric, about.token)
    return held == (FORMAT, *identity, METRIC, token)


def changed(folder: Path) -> tuple[int, int]:
    """Numbers that change when ``index.json`` is replaced."""
    try:
        about = (folder / MANIFEST).stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_ino


def holds_deleted(folder: Path, about: IndexManifest | None, removed: int) -> bool:
    """Whether a file may hold deleted rows: a file of ``about``, or a file that a killed save has left.

    ``removed`` is the number of removed rows that :class:`Version` counts now.
    """
    known = (MANIFEST, about.rows_name, about.graph_name) if about else ()
    dead = about is not None and about.dead_after(removed) > 0
    return dead or any(path.name not in known for path in _files(folder))


def complete(folder: Path, about: IndexManifest) -> bool:
    """Whether both files exist and have the right size. Their checksums are verified when they are read."""
    try:
        sizes = [(folder / name).stat().st_size for name in (about.rows_name, about.graph_name)]
    except OSError:
        return False
    return sizes == [about.rows_bytes, about.graph_bytes]


def save(folder: Path, identity: Identity, snapshot: Snapshot, index: Index) -> IndexManifest:
    """Write both files. :func:`publish` the manifest that this returns. Raises :class:`OSError`."""
    count = index.rows
    version = snapshot.version
    if count < snapshot.count:
        version = version._replace(last_id=int(snapshot.ids[count - 1]))
    token = uuid.uuid4().hex[:12]
    rows_path, graph_path = folder / f"index-{token}.rows", folder / f"index-{token}.graph"
    names = np.frombuffer(json.dumps(snapshot.names).encode(), np.uint8)
    try:
        with atomic_path(rows_path) as temporary:
            temporary.touch(mode=0o600)
            with open(temporary, "wb") as handle:
                head_checksum, vector_checksums = 0, []
                for part in (names, snapshot.live[:count], snapshot.columns[:count]):
                    handle.write(_bytes(part))
                    head_checksum = zlib.crc32(_bytes(part), head_checksum)
                for block in _blocks(count, snapshot.dimension):
                    halves = _bytes(snapshot.vectors[block].astype(np.float16))
                    handle.write(halves)
                    vector_checksums.append(zlib.crc32(halves))
        with atomic_path(graph_path) as temporary:
            temporary.touch(mode=0o600)
            index.save(temporary)
            graph_checksum = file_checksum(temporary)
        return IndexManifest(
            format=FORMAT,
            **identity._asdict(),
            metric=METRIC,
            version=version,
            count=count,
            dead=count - int(np.count_nonzero(snapshot.live[:count])),
            damage={str(number): why for number, why in snapshot.damage.items()},
            token=token,
            names_bytes=len(names),
            rows_bytes=rows_path.stat().st_size,
            head_checksum=head_checksum,
            vector_checksums=vector_checksums,
            graph_bytes=graph_path.stat().st_size,
            graph_checksum=graph_checksum,
            index={
                "rows": count, "M": M, "ef_construction": EF_CONSTRUCTION, "ef": index.ef,
                "recall_at_10": index.recall, "sample": min(SAMPLE, count),
            },
        )  # fmt: skip
    except BaseException:
        rows_path.unlink(missing_ok=True)
        graph_path.unlink(missing_ok=True)
        raise


def publish(folder: Path, about: IndexManifest) -> None:
    """Make these the files of the folder, and remove all other index files."""
    text = json.dumps(asdict(about))
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"about": text, "checksum": text_checksum(text)}))
    clear(folder, keep=(MANIFEST, about.rows_name, about.graph_name))


def remove(folder: Path, about: IndexManifest) -> None:
    """Remove these files, and ``index.json`` if it still describes them."""
    there = read_manifest(folder)
    described = (MANIFEST,) if there and there.token == about.token else ()
    for name in (*described, about.rows_name, about.graph_name):
        with contextlib.suppress(OSError):  # on a read-only medium they stay, and are not used
            (folder / name).unlink(missing_ok=True)


def clear(folder: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove all index files except those in ``keep``, ``index.json`` first."""
    for path in sorted(_files(folder), key=lambda path: path.name != MANIFEST):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if OURS.fullmatch(path.name)]


def load_rows(folder: Path, about: IndexManifest) -> Snapshot | None:
    """Read the saved snapshot. None if the file is missing or damaged."""
    count = about.count
    # A tenth more room, so that adding rows does not copy all of them.
    room = count + count // 10 + 64
    vectors = np.empty((room, about.dimension), np.float32)
    path = folder / about.rows_name

    def read(block: slice, checksum: int) -> bool:
        halves = _read_block(path, about, block, checksum)
        if halves is not None:
            vectors[block] = halves
        return halves is not None

    try:
        head = _read_head(path, about)
        with ThreadPoolExecutor(READERS) as pool:
            if head is None or not all(pool.map(read, _blocks(count, about.dimension), about.vector_checksums)):
                return None
    except OSError:
        return None
    names, live, columns = head
    snapshot = Snapshot(about.dimension)
    snapshot.hold(vectors, enlarged(columns, room), enlarged(live, room), count)
    snapshot.names = parse_json(names.tobytes())
    snapshot.damage = {int(number): why for number, why in about.damage.items()}
    snapshot.version = Version(*about.version)
    return snapshot


def whole(folder: Path, about: IndexManifest) -> bool:
    """Whether both files are undamaged. Reads them completely."""
    path = folder / about.rows_name
    try:
        return (
            _read_head(path, about) is not None
            and all(
                _read_block(path, about, block, checksum) is not None
                for block, checksum in zip(_blocks(about.count, about.dimension), about.vector_checksums, strict=True)
            )
            and file_checksum(folder / about.graph_name) == about.graph_checksum
        )
    except OSError:
        return False


def _read_head(path: Path, about: IndexManifest) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray] | None:
    """Names as JSON, which rows are live, and the columns. None if the file's size or the checksum is wrong."""
    if path.stat().st_size != about.rows_bytes:
        return None
    head = np.empty(about.names_bytes, np.uint8), np.empty(about.count, bool), np.empty(about.count, COLUMNS)
    checksum = 0
    with open(path, "rb") as handle:
        for part in head:
            handle.readinto(_bytes(part))
            checksum = zlib.crc32(_bytes(part), checksum)
    return head if checksum == about.head_checksum else None


def _read_block(path: Path, about: IndexManifest, block: slice, checksum: int) -> NDArray[np.float16] | None:
    """The descriptors of a block of rows. None if their checksum is wrong."""
    halves = np.empty((block.stop - block.start, about.dimension), np.float16)
    with open(path, "rb") as handle:
        handle.seek(about.rows_bytes - (about.count - block.start) * halves.strides[0])
        handle.readinto(_bytes(halves))
    return halves if zlib.crc32(_bytes(halves)) == checksum else None


def load_graph(folder: Path, about: IndexManifest, vectors: NDArray[np.float32]) -> Index | None:
    """Read the graph over ``vectors``, the rows that it was saved with. None if the file is missing or damaged."""
    path = folder / about.graph_name
    try:
        if file_checksum(path) != about.graph_checksum:
            return None
    except OSError:
        return None
    return Index.load(path, vectors[: about.count], about.index["ef"], about.index["recall_at_10"])


def _blocks(count: int, dimension: int) -> Iterator[slice]:
    """Yield the blocks of rows whose descriptors are read and verified together."""
    step = max(1, BLOCK // (2 * dimension))
    return (slice(at, min(at + step, count)) for at in range(0, count, step))


def _bytes(array: NDArray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
