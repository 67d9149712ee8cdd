"""The filters of a search, from the fields of a form or of a query string."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from reid_toolkit.files import as_name
from reid_toolkit.gallery import Filter
from reid_toolkit.gallery.pages import GROUPINGS, Grouping
from reid_toolkit.search import Asked, Search
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.forms import CURSOR, Form
from reid_toolkit.times import read_seconds

FILTERS = ("camera", "since", "until", "tag", "source")
FIELDS = (*FILTERS, "record", "person", "top_k", "group", CURSOR, "query_camera", "false_match_rate")
TOP_K = 200
"""At most so many matches of a page."""
LONGEST = 200
"""Characters of a name."""


@dataclass(frozen=True)
class Wanted:
    """What a client searches for, besides the pictures."""

    record: str | None
    person: str | None
    cameras: tuple[str, ...]
    tags: tuple[str, ...]
    sources: tuple[str, ...]
    """Ids of sources."""
    since: float | None
    until: float | None
    top_k: int
    group: Grouping | None
    after: str | None
    query_camera: str | None
    asked: Asked

    def among(self, desk: Desk, search: Search | None = None) -> Filter:
        """The filter. Raises :class:`Refusal` or :class:`InputError` for a camera, tag or source that the gallery does
        not have."""
        search = search or Search(desk.store, desk.label)
        vars(search)["held"] = desk.info()
        if self.query_camera is not None:
            search.check_names([self.query_camera])
        search.check_names(self.cameras, self.tags)
        sources = desk.chosen_sources(self.sources)
        return Filter(self.cameras or None, self.since, self.until, sources or None, self.tags)


def wanted_of(form: Form) -> Wanted:
    """The wishes in a form. Raises :class:`Refusal` 422 for a value that makes no sense."""
    group = form.one("group")
    if group is not None and group not in GROUPINGS:
        raise Refusal(422, f"group: expected {' or '.join(GROUPINGS)}, got {group[:40]!r}")
    record, person = form.one("record"), form.one("person")
    return Wanted(
        record, None if person is None else name_in(person, "person"),
        tuple(names_in(form, "camera", empty=True)), tuple(names_in(form, "tag")), tuple(form.several("source")),
        seconds_in(form, "since"), seconds_in(form, "until"),
        whole_in(form, "top_k", 10, TOP_K), cast("Grouping | None", group), form.one(CURSOR),
        next(iter(names_in(form, "query_camera")), None) if form.one("query_camera") else None,
        Asked(None, None, rate_in(form)),
    )  # fmt: skip


def form_of(query: Mapping[str, Sequence[str]]) -> Form:
    """A query string as a form."""
    return Form(query, ())


def name_in(value: str, field: str) -> str:
    """A name in its stored form. Raises :class:`Refusal` 422 for one that is too long."""
    if len(value) > LONGEST:
        raise Refusal(422, f"{field}: expected at most {LONGEST} characters")
    return as_name(value)


def names_in(form: Form, field: str, *, empty: bool = False) -> list[str]:
    """The names in a field. The empty one is the name of a camera that was given no name."""
    return [name_in(value, field) for value in form.several(field, empty=empty)]


def seconds_in(form: Form, field: str) -> float | None:
    """A time in seconds."""
    value = form.one(field)
    if value is None:
        return None
    try:
        return read_seconds(value)
    except (ValueError, OverflowError, OSError):
        raise Refusal(
            422, f"{field}: {value[:40]!r} is neither seconds nor ISO 8601, e.g. 2026-11-22T14:30:00+01:00"
        ) from None


def whole_in(form: Form, field: str, default: int, most: int) -> int:
    """A number from 1 to ``most``."""
    value = form.one(field)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise Refusal(422, f"{field}: expected a whole number from 1 to {most}, got {value[:40]!r}")
    return int(value)


def rate_in(form: Form) -> float | None:
    """The false-match rate: above 0, and at most 0.5."""
    value = form.one("false_match_rate")
    if value is None:
        return None
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= 0.5:
        raise Refusal(422, f"false_match_rate: expected a fraction above 0 and up to 0.5, got {value[:40]!r}")
    return rate
