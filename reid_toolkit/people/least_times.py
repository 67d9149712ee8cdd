"""The file of least times between cameras: a CSV with the columns from,to,seconds."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from reid_toolkit.errors import InputError
from reid_toolkit.files import csv_text, write_atomic
from reid_toolkit.people.visits import Route

COLUMNS = ("from", "to", "seconds")
DRAFT = 0.5
"""A draft takes this part of the shortest time of a route, because a person may be quicker than all before."""
FEWEST = 5
"""A route with fewer moves is not in the draft."""


def read_least_times(path: Path) -> dict[tuple[str, str], float]:
    """Read the file. Of two rows for a pair of cameras, the smaller time counts, whichever direction it is for.

    Raises :class:`InputError` for another file, and for a time that is not 0 or more.
    """
    least: dict[tuple[str, str], float] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = csv.DictReader(handle, strict=True)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise InputError(
                    f"{path}: expected the columns {','.join(COLUMNS)}, got {','.join(rows.fieldnames or ())}"
                )
            for number, row in enumerate(rows, start=2):
                pair, seconds = (row["from"] or "", row["to"] or ""), _seconds(row["seconds"])
                if seconds is None or pair[0] == pair[1] or not all(pair):
                    raise InputError(
                        f"{path}, row {number}: expected two cameras and seconds of 0 or more, got {pair[0]!r}, "
                        f"{pair[1]!r}, {row['seconds']!r}"
                    )
                pair = min(pair), max(pair)
                least[pair] = min(seconds, least.get(pair, math.inf))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    return least


def write_least_times(path: Path, routes: Iterable[Route]) -> None:
    """Write a draft from what was learned."""
    rows = [(one.start, one.end, f"{DRAFT * one.shortest:.1f}") for one in routes if one.moves >= FEWEST]
    write_atomic(path, csv_text([COLUMNS, *rows]))


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
