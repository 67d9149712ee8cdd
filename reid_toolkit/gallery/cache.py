"""The files that make a large gallery quick to open and to search. They may be deleted at any time.

    index.json            what the other two hold, their checksums, and its own
    index-TOKEN.rows      the snapshot: names, columns, descriptors
    index-TOKEN.graph     the index over them

Each save has its own token and ``index.json`` is replaced last, so that a save that is killed leaves the files of
the one before. Nothing of a file is believed, and hnswlib is shown nothing, before its checksum was found right.
"""

import contextlib
import json
import uuid
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.files import atomic_path
from reid_toolkit.gallery.checksum import BLOCK, file_checksum, text_checksum
from reid_toolkit.gallery.index import EF_CONSTRUCTION, SAMPLE, Index, M
from reid_toolkit.gallery.schema import METRIC
from reid_toolkit.gallery.snapshot import COLUMNS, Snapshot, Version

SIDECAR = "index.json"
FORMAT = 1


class Identity(NamedTuple):
    """What a file must name to be of a gallery."""

    gallery: str
    """The gallery's own id: row numbers mean nothing in another gallery."""
    model: str | None
    dimension: int


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What ``index.json`` says."""

    format: int
    gallery: str
    model: str | None
    dimension: int
    metric: str
    version: tuple[int, int, int]
    """:class:`Version` of the record that the rows were taken from."""
    count: int
    """Rows in both files."""
    dead: int
    """Those of them that were deleted."""
    damage: dict[str, str]
    """Records that were left out, by id, and why."""
    token: str
    names_bytes: int
    """Length of the names at the beginning of the rows file."""
    rows_bytes: int
    rows_checksum: int
    graph_bytes: int
    graph_checksum: int
    index: dict[str, Any]
    """Settings, and the recall that was measured."""

    @property
    def rows_name(self) -> str:
        return f"index-{self.token}.rows"

    @property
    def graph_name(self) -> str:
        return f"index-{self.token}.graph"


def read_sidecar(folder: Path, identity: Identity, epoch: int) -> Sidecar | None:
    """The description of the files in ``folder``, if it is whole and of this gallery as it is now."""
    try:
        outer = json.loads((folder / SIDECAR).read_bytes())
        if text_checksum(outer["about"]) != outer["checksum"]:
            return None
        fields = json.loads(outer["about"])
        about = Sidecar(**fields | {"version": tuple(fields["version"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = (FORMAT, *identity, METRIC, epoch)
    held = (about.format, about.gallery, about.model, about.dimension, about.metric, about.version[0])
    return about if held == wanted else None


def complete(folder: Path, about: Sidecar) -> bool:
    """Whether both files are there and of the right size; their checksums are looked at when they are read."""
    try:
        sizes = [(folder / name).stat().st_size for name in (about.rows_name, about.graph_name)]
    except OSError:
        return False
    return sizes == [about.rows_bytes, about.graph_bytes]


def save(folder: Path, identity: Identity, snapshot: Snapshot, index: Index) -> Sidecar:
    """Write both files, and return what :func:`publish` then makes known. Raises :class:`OSError`."""
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
                rows_checksum = 0
                for part in (names, snapshot.live[:count], snapshot.columns[:count], snapshot.vectors[:count]):
                    handle.write(_bytes(part))
                    rows_checksum = zlib.crc32(_bytes(part), rows_checksum)
        with atomic_path(graph_path) as temporary:
            temporary.touch(mode=0o600)
            index.save(temporary)
            graph_checksum = file_checksum(temporary)
        return Sidecar(
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
            rows_checksum=rows_checksum,
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


def publish(folder: Path, about: Sidecar) -> None:
    """From here on these are the files; others are removed."""
    text = json.dumps(asdict(about))
    with atomic_path(folder / SIDECAR) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"about": text, "checksum": text_checksum(text)}))
    clear(folder, keep=(SIDECAR, about.rows_name, about.graph_name))


def remove(folder: Path, about: Sidecar) -> None:
    """Remove these files, and their description if it is still the one in use."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(json.loads((folder / SIDECAR).read_bytes())["about"])["token"] == about.token:
            (folder / SIDECAR).unlink()
    for name in (about.rows_name, about.graph_name):
        (folder / name).unlink(missing_ok=True)


def clear(folder: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove the files but those to ``keep``, and what killed saves left behind."""
    for path in (*folder.glob("index*"), *folder.glob(".index*")):
        if path.name not in keep:
            path.unlink(missing_ok=True)


def load_rows(folder: Path, about: Sidecar) -> Snapshot | None:
    """The snapshot as it was saved; None when the file is not what it should be."""
    count = about.count
    names = np.empty(about.names_bytes, np.uint8)
    # A tenth more room, so that the next rows need no copy of all.
    columns = np.empty(count + count // 10 + 64, COLUMNS)
    vectors = np.empty((len(columns), about.dimension), np.float32)
    live = np.empty(len(columns), bool)
    checksum = 0
    try:
        with open(folder / about.rows_name, "rb") as handle:
            for part in (names, live[:count], columns[:count], vectors[:count]):
                view = _bytes(part)
                for at in range(0, len(view), BLOCK):
                    block = view[at : at + BLOCK]
                    if handle.readinto(block) != len(block):
                        return None
                    checksum = zlib.crc32(block, checksum)
            if checksum != about.rows_checksum or handle.read(1):
                return None
    except OSError:
        return None
    snapshot = Snapshot(about.dimension)
    snapshot.hold(vectors, columns, live, count)
    snapshot.names = json.loads(names.tobytes())
    snapshot.damage = {int(number): why for number, why in about.damage.items()}
    snapshot.version = Version(*about.version)
    return snapshot


def load_graph(folder: Path, about: Sidecar) -> Index | None:
    """The index as it was saved; None when the file is not what it should be."""
    path = folder / about.graph_name
    try:
        if file_checksum(path) != about.graph_checksum:
            return None
    except OSError:
        return None
    return Index.load(path, about.dimension, about.count, about.index["ef"], about.index["recall_at_10"])


def _bytes(array: NDArray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
