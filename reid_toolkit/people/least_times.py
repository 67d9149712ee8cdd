"""The file of least times between cameras: a CSV with the columns from,to,seconds."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from reid_toolkit.errors import InputError
from reid_toolkit.files import as_name, csv_text, write_atomic
from reid_toolkit.people.visits import Route

COLUMNS = ("from", "to", "seconds")
DRAFT = 0.5
"""A draft takes this part of the shortest time of a route, because a person may be quicker than all before."""
FEWEST = 5
"""Two cameras with fewer moves between them are not in the draft."""
SHORTEST = 0.1
"""Nor are cameras with a shorter time, seconds, because they may see the same place."""


def read_least_times(path: Path) -> dict[tuple[str, str], float]:
    """Read the file. Of two rows for a pair of cameras, the smaller time counts, whichever direction it is for.

    Raises :class:`InputError` for another file, and for a time that is not 0 or more.
    """
    least: dict[tuple[str, str], float] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = csv.DictReader(handle, strict=True)
            names = rows.fieldnames or ()
            if not set(COLUMNS) <= set(names):
                got = ",".join(names) or "an empty file"
                raise InputError(f"{path}: expected the columns {','.join(COLUMNS)}, got {got}")
            for number, row in enumerate(rows, start=2):
                pair, seconds = (_name(row["from"]), _name(row["to"])), _seconds(row["seconds"])
                if seconds is None or pair[0] == pair[1] or not all(pair):
                    raise InputError(
                        f"{path}, row {number}: expected two cameras and seconds of 0 or more, got {pair[0]!r}, "
                        f"{pair[1]!r}, {row['seconds'] or ''!r}"
                    )
                pair = min(pair), max(pair)
                least[pair] = min(seconds, least.get(pair, math.inf))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}): save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    return least


def write_least_times(path: Path, routes: Iterable[Route]) -> int:
    """Write a draft from the routes with ``direct=False``. Returns for how many pairs of cameras it has a time."""
    pairs: dict[tuple[str, str], list[Route]] = {}
    for one in routes:
        pairs.setdefault((min(one.start, one.end), max(one.start, one.end)), []).append(one)
    least = {pair: DRAFT * min(one.shortest for one in ways) for pair, ways in pairs.items()}
    rows = [
        (*pair, f"{least[pair]:.1f}")
        for pair, ways in sorted(pairs.items())
        if sum(one.moves for one in ways) >= FEWEST and least[pair] >= SHORTEST
    ]
    write_atomic(path, csv_text([COLUMNS, *rows]))
    return len(rows)


def _name(text: str | None) -> str:
    return as_name((text or "").strip())


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
