"""Filters as Milvus expressions. Every name is quoted, so that no name is read as a part of an expression."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.types import DATED_FROM, Filter, Selection

LARGEST = sys.float_info.max
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def expression(where: Filter, kept_since: float | None = None) -> str:
    """The expression for records that pass ``where``. Empty if all pass.

    kept_since: Unix time. Records that were last seen, or enrolled, before it do not pass.
    """
    tests = []
    if where.cameras is not None:
        tests.append(f"camera in {_list(where.cameras)}")
    # A record without times is stored with a start after and an end before all times, so it passes no time filter.
    if where.since is not None:
        tests.append(f"end_time >= {_seconds(where.since)} and end_time > {-LARGEST!r}")
    if where.until is not None:
        tests.append(f"start_time <= {_seconds(where.until)} and start_time < {LARGEST!r}")
    if where.sources is not None:
        tests.append(" or ".join(map(_below, sorted(where.sources))) or "id in []")
    tests += [f'json_contains(tags["tags"], {_quoted(tag)})' for tag in sorted(where.tags)]
    if where.exclude:
        tests.append(f"id not in {_list({key_digest(record) for record in where.exclude})}")
    if kept_since is not None:
        tests.append(f"place >= {_nanoseconds(kept_since)}")
        tests.append(f"end_time < {DATED_FROM!r} or end_time >= {_seconds(kept_since)}")
    return _all(tests)


def is_hidden(row: Mapping[str, Any], kept_since: float | None) -> bool:
    """Whether a row does not pass ``kept_since`` of :func:`expression`."""
    if kept_since is None:
        return False
    return bool(row["place"] < _nanoseconds(kept_since) or DATED_FROM <= row["end_time"] < kept_since)


def chosen(which: Selection) -> str:
    """The expression for records that match all criteria."""
    named = (("tracklet", which.tracklet), ("camera", which.camera))
    tests = [f"{name} == {_quoted(value)}" for name, value in named if value is not None]
    if which.source is not None:
        tests.append(_below(which.source))
    if which.before is not None:
        seen_before = f"end_time >= {DATED_FROM!r} and end_time < {_seconds(which.before)}"
        tests.append(f"place < {_nanoseconds(which.before)} or ({seen_before})")
        if which.keep_undated:
            tests.append(f"end_time >= {DATED_FROM!r}")
    return _all(tests)


def within(expr: str, prefix: str) -> str:
    """The expression for records that match ``expr`` and whose digest begins with ``prefix``."""
    # "g" comes after all hexadecimal digits.
    return _all([test for test in (expr, f'id >= "{prefix}" and id < "{prefix}g"' if prefix else "") if test])


def among(ids: Iterable[str]) -> str:
    """The expression for the records with these digests."""
    return f"id in {_list(ids)}"


def _all(tests: list[str]) -> str:
    return " and ".join(f"({test})" for test in tests)


def _below(source: str) -> str:
    # Compared and not matched by LIKE, whose wildcards cannot be escaped. "0" comes right after "/".
    folder = source.rstrip("/")
    return f"source == {_quoted(source)} or (source >= {_quoted(folder + '/')} and source < {_quoted(folder + '0')})"


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(value) for value in sorted(values))}]"


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{text!r} is not valid Unicode") from None
    return f'"{text.translate(ESCAPES)}"'


def _seconds(time: float) -> str:
    return repr(max(-LARGEST, min(float(time), LARGEST)))


def _nanoseconds(time: float) -> int:
    # A row's place is the time of its enrolment in nanoseconds.
    return int(max(-9e9, min(time, 9e9)) * 1e9)
