"""Damage to the files of a gallery, and what may come of it. A process of its own, since hnswlib may crash.

    python corruptions.py GALLERY SCRATCH FIRST LAST

prints a line for each seed, FIRST to LAST: the file, the damage, and "exact", "left out" or "refused".
"""

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gallery_people import make_people

from reid_toolkit.errors import ReidError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import search as searcher
from reid_toolkit.records import Match, Record

searcher.LOAD_AFTER = 0
VECTORS, RECORDS = make_people()
STORED = VECTORS.astype(np.float16).astype(np.float64)
ROW_OF = {(record.source, record.tracklet, record.camera): row for row, record in enumerate(RECORDS)}
K = 10


def flip_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_bytes(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(2, 50)):
        content[chance.randrange(len(content))] = chance.randrange(256)


def clear_block(content: bytearray, chance: random.Random) -> None:
    at, size = chance.randrange(len(content)), chance.choice([16, 512, 4096])
    content[at : at + size] = bytes(len(content[at : at + size]))


def scramble_block(content: bytearray, chance: random.Random) -> None:
    at, size = chance.randrange(len(content)), chance.choice([16, 512, 4096])
    content[at : at + size] = chance.randbytes(len(content[at : at + size]))


def swap_blocks(content: bytearray, chance: random.Random) -> None:
    size = chance.choice([32, 512, 32768])
    one, other = (chance.randrange(max(1, len(content) // size)) * size for _ in range(2))
    if one != other and max(one, other) + size <= len(content):
        content[one : one + size], content[other : other + size] = (
            content[other : other + size],
            content[one : one + size],
        )


def truncate(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def lengthen(content: bytearray, chance: random.Random) -> None:
    content += chance.randbytes(chance.choice([1, 100, 40000]))


def replace_all(content: bytearray, chance: random.Random) -> None:
    content[:] = chance.randbytes(chance.choice([0, 10, 1000, len(content)]))


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bit, flip_bit, flip_bytes, clear_block, scramble_block, swap_blocks, truncate, lengthen, replace_all,
)  # fmt: skip


def try_one(source: Path, folder: Path, seed: int) -> str:
    """Damage a copy and use it; raises AssertionError when a wrong answer was given as if it were right."""
    chance = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    # The record twice as often as each file of the cache.
    files = sorted(file for file in folder.iterdir() if file.stat().st_size)
    file = chance.choice([*files, *(file for file in files if file.suffix == ".sqlite")])
    damage = chance.choice(DAMAGES)
    content = bytearray(file.read_bytes())
    damage(content, chance)
    file.write_bytes(content)
    return f"{seed} {file.suffix} {damage.__name__}: {outcome(folder, chance)}"


def outcome(folder: Path, chance: random.Random) -> str:
    try:
        with Gallery.open(folder, exact_below=100) as gallery:
            found = []
            for row in chance.sample(range(len(VECTORS)), 6):
                cameras = chance.choice([None, {"a", "b", "c"}, {"d"}])
                found.append((row, cameras, gallery.search(VECTORS[row], K, cameras)))
            damage = gallery.damage
            # All of the damage is known after the last of the searches, so all are judged by it.
            wrong = [row for row, cameras, matches in found if not is_right(row, cameras, matches, damage)]
            assert not wrong, f"wrong answers to {wrong}, with {damage}"
            if damage:
                assert not gallery.check().sound
            gallery.add(VECTORS[:1], [Record("new", "a")])
            assert "new" in {match.record.tracklet for match in gallery.search(VECTORS[0], 2)}
            return "left out" if damage else "exact"
    except ReidError as error:
        return "refused in many lines" if "\n" in str(error) else "refused"


def is_right(row: int, cameras: set[str] | None, matches: list[Match], damage: dict[int, str]) -> bool:
    """Whether the matches are the nearest of those that are not known to be damaged, and told as they are."""
    distances = np.linalg.norm(STORED - VECTORS[row], axis=1)
    for match in matches:
        other = ROW_OF.get((match.record.source, match.record.tracklet, match.record.camera))
        if other is None or match.record != RECORDS[other] or abs(match.distance - distances[other]) > 1e-6:
            return False
    found = [ROW_OF[match.record.source, match.record.tracklet, match.record.camera] for match in matches]
    may = [i for i, record in enumerate(RECORDS) if cameras is None or record.camera in cameras]
    if 0 in damage:  # some are missing altogether: the others are in order
        return found == sorted(found, key=lambda i: distances[i])
    best = sorted((i for i in may if i + 1 not in damage), key=lambda i: distances[i])[:K]
    return found == best


if __name__ == "__main__":
    for seed in range(int(sys.argv[3]), int(sys.argv[4])):
        print(try_one(Path(sys.argv[1]), Path(sys.argv[2]), seed), flush=True)
