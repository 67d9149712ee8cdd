"""What a search answers: matches, how sure each one is, and whether it is right if identities are known."""

import math
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

from reid_toolkit.gallery import Page
from reid_toolkit.records import Match
from reid_toolkit.search.confidence import SAME, UNKNOWN, Confidence, ConfidenceScale

CLEARLY = 0.05
"""Matches count as out of order only if their probabilities differ by more than this."""


class Answer(NamedTuple):
    """A match and what is known about it."""

    match: Match
    right: bool | None
    """Whether it shows the person searched for, by the identities that were given. None if they do not say."""
    crops: tuple[Match, ...] | None
    """In a search grouped by tracklet: the crops of the tracklet that were found, nearest first. Else None."""
    confidence: Confidence = Confidence()


def mark_answers(
    page: Page, query: str, truth: Mapping[str, str], scale: ConfidenceScale | None = None
) -> list[Answer]:
    """The matches of a page with their confidence, marked as right or wrong.

    ``truth`` maps tracklets to identities, and ``query`` is the tracklet that was searched for.
    """
    wanted = truth.get(query)
    answers = []
    for match, crops in zip(page.matches, page.crops or repeat(None), strict=False):
        identity = truth.get(match.record.tracklet)
        known = wanted is not None and identity is not None
        confidence = scale.of(match) if scale else Confidence()
        answers.append(Answer(match, identity == wanted if known else None, crops, confidence))
    return answers


def is_out_of_order(answers: Sequence[Answer]) -> bool:
    """Whether a match is clearly more likely than a nearer match."""
    known = [(answer.match.distance, answer.confidence.probability) for answer in answers]
    lowest = math.inf
    # Of equally near matches none is nearer, so the more likely ones come first.
    for _, probability in sorted((distance, -chance) for distance, chance in known if chance is not None):
        if -probability > lowest + CLEARLY:
            return True
        lowest = min(lowest, -probability)
    return False


def verdict(answers: Sequence[Answer]) -> str | None:
    """The verdict on a whole search: "same" if a match is near enough. None if no false-match rate was given."""
    verdicts = {answer.confidence.verdict for answer in answers}
    return SAME if SAME in verdicts else UNKNOWN if UNKNOWN in verdicts else None
