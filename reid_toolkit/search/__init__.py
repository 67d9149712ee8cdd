"""Enroll people in a gallery and find them again: the library behind ``reid enroll`` and ``reid search``.

    from reid_toolkit.search import Query, Search, enroll, units_of

Nothing here prints or asks questions. Progress is reported to callbacks.
"""

from reid_toolkit.search.answers import Answer
from reid_toolkit.search.confidence import Asked, Confidence, ConfidenceScale
from reid_toolkit.search.enroll import Enrolment, Unit, enroll, units_of
from reid_toolkit.search.query import Query, Result, Search

__all__ = [
    "Answer", "Asked", "Confidence", "ConfidenceScale", "Enrolment", "Query", "Result", "Search", "Unit", "enroll",
    "units_of",
]  # fmt: skip
