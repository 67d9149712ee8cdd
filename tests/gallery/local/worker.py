"""Changes a gallery until it is killed; says before each change what it will be, and after it that it is done.

python worker.py GALLERY SEED
"""

import json
import random
import sys
import zlib

import numpy as np

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import index_files as cache
from reid_toolkit.records import Record

D = 16
EXACT_BELOW = 30


def vector_of(name: str, version: int) -> np.ndarray:
    """(D,) float32 of length 1, in half precision, so that it comes back as it is."""
    vector = np.random.default_rng(zlib.crc32(f"{name} {version}".encode())).normal(size=D)
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)


def record_of(name: str, version: int) -> Record:
    return Record(name, "ab"[zlib.crc32(name.encode()) % 2], tags=(f"v{version}",), source="killed")


def choose(chance: random.Random, names: list[str], number: int) -> dict:
    """One change; ``names`` are those that may be there."""
    kinds = {"add": 8, "replace": 3, "delete": 3, "forget": 1, "compact": 1, "index": 2, "refresh": 2}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    if kind == "add" or not names:
        return {"kind": "add", "rows": [[f"n{number}-{i}", 0] for i in range(chance.choice([1, 1, 3, 20]))]}
    if kind == "replace":
        return {"kind": "add", "rows": [[name, number] for name in chance.sample(names, min(3, len(names)))]}
    if kind in ("delete", "forget"):
        return {"kind": kind, "name": chance.choice(names)}
    return {"kind": kind}


def apply(gallery: Gallery, change: dict) -> None:
    kind = change["kind"]
    if kind == "add":
        vectors = [vector_of(name, version) for name, version in change["rows"]]
        gallery.add(np.array(vectors), [record_of(name, version) for name, version in change["rows"]])
    elif kind == "compact":
        gallery.compact()
    elif kind == "refresh":
        gallery.refresh_statistics()
    elif kind == "index":
        cache.clear(gallery._writer.folder)  # so that it is built and saved
        gallery.build_index()
    else:
        getattr(gallery, kind)(tracklet=change["name"])


def main(path: str, seed: int) -> None:
    chance = random.Random(seed)
    with Gallery.open(path, exact_below=EXACT_BELOW) as gallery:
        names = sorted(record.tracklet for records, _ in gallery.records() for record in records)
        for number in range(10**6):
            change = choose(chance, names, seed * 1000 + number)
            print(json.dumps(change), flush=True)
            apply(gallery, change)
            print("done", flush=True)
            names = sorted({*names, *(name for name, _ in change.get("rows", ()))} - {change.get("name")})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
