"""Filters as Milvus expressions, with every name quoted so that no name is taken for a part of an expression."""

import sys
from collections.abc import Iterable

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.criteria import Filter
from reid_toolkit.gallery.fingerprints import key_digest

LARGEST = sys.float_info.max
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def expression(where: Filter) -> str:
    """The expression that is true of the records which pass ``where``; empty when all do."""
    tests = []
    if where.cameras is not None:
        tests.append(f"camera in {_list(where.cameras)}")
    # A record without times starts after and ends before everything, so it passes no filter of time.
    if where.since is not None:
        tests.append(f"end_time >= {_seconds(where.since)} and end_time > {-LARGEST!r}")
    if where.until is not None:
        tests.append(f"start_time <= {_seconds(where.until)} and start_time < {LARGEST!r}")
    if where.sources is not None:
        tests.append(" or ".join(map(_below, sorted(where.sources))) or "id in []")
    tests += [f'json_contains(tags["tags"], {_quoted(tag)})' for tag in sorted(where.tags)]
    if where.exclude:
        tests.append(f"id not in {_list({key_digest(record) for record in where.exclude})}")
    return _all(tests)


def chosen(tracklet: str | None, camera: str | None, source: str | None) -> str:
    """The records that match all that is given; raises :class:`InputError` when nothing is."""
    named = (("tracklet", tracklet), ("camera", camera))
    tests = [f"{name} == {_quoted(value)}" for name, value in named if value is not None]
    if source is not None:
        tests.append(_below(source))
    if not tests:
        raise InputError("nothing chosen: expected a tracklet, a camera or a source")
    return _all(tests)


def within(expr: str, prefix: str) -> str:
    """``expr``, and of these the records whose digest begins with ``prefix``."""
    # "g" comes after all hexadecimal digits.
    return _all([test for test in (expr, f'id >= "{prefix}" and id < "{prefix}g"' if prefix else "") if test])


def among(ids: Iterable[str]) -> str:
    """The records of these digests."""
    return f"id in {_list(ids)}"


def _all(tests: list[str]) -> str:
    return " and ".join(f"({test})" for test in tests)


def _below(source: str) -> str:
    # By comparing and not by LIKE, whose signs cannot be escaped. "0" comes right after "/".
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
