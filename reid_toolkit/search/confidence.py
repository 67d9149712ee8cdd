"""How sure the answers of a search are: probabilities and verdicts, where the model was calibrated."""

from collections.abc import Mapping, Sequence
from itertools import combinations, repeat
from pathlib import Path
from typing import NamedTuple

from reid_toolkit.calibration import Calibration, beside, load_calibration
from reid_toolkit.errors import ModelError
from reid_toolkit.gallery import Page
from reid_toolkit.records import Match
from reid_toolkit.runtime import Embedder

SAME, UNKNOWN = "same", "unknown"
SAME_PICTURE = "same picture"
IDENTICAL = 1e-3
"""Descriptors nearer than this are of the same pictures: half precision, in which galleries keep them, leaves about
0.0003 between one and itself."""
CLEARLY = 0.05
"""Two probabilities that differ by less are shown without a word about their order."""


class Confidence(NamedTuple):
    """Of one match. All None where the model was not calibrated."""

    probability: float | None = None
    """That it is the person searched for, 0-1."""
    basis: str | None = None
    """"camera pair", "pooled" or "one camera": see ``calibration.Basis``. "same picture": no estimate, but certain."""
    verdict: str | None = None
    """"same" or "unknown", where a false-match rate was asked for."""

    @property
    def text(self) -> str:
        """For people: the probability in per cent, and what there is to say beside it."""
        if self.basis == SAME_PICTURE:
            return SAME_PICTURE
        if self.probability is None:
            return ""
        # Nothing is certain, and nothing impossible: rounded to the whole, it would read so.
        percent = 100 * self.probability
        share = ">99%" if percent > 99 else "<1%" if percent < 1 else f"{percent:.0f}%"
        words = [share, *([UNKNOWN] if self.verdict == UNKNOWN else [])]
        return ", ".join([*words, *(["same-camera evidence only"] if self.basis == "one camera" else [])])


class Answer(NamedTuple):
    """A match, and what is known of it."""

    match: Match
    right: bool | None
    """Whether it shows the person searched for, by identities that somebody gave; None where they do not say."""
    crops: tuple[Match, ...] | None
    """Of a search for tracklets: those of its crops that were found, nearest first; else None."""
    confidence: Confidence = Confidence()


class Asked(NamedTuple):
    """What somebody wants to know beyond distances; all None for what there is."""

    calibration: Path | None = None
    """A file of ``reid calibrate``; the one beside the model by default, if there is one."""
    people: int | None = None
    """How many different people the gallery holds, about."""
    false_match_rate: float | None = None
    """Verdicts are "unknown" where other people come as near in more than this share of comparisons."""


NOTHING = Asked()


class ConfidenceScale:
    """What one search's distances mean; ``Confidence()`` throughout where there is no calibration."""

    def __init__(
        self,
        embedder: Embedder,
        records: int,
        camera: str | None,
        asked: Asked = NOTHING,
        statistics: str | None = None,
    ) -> None:
        """``records`` are those of the gallery, ``camera`` is the query's, None where it is not known, and
        ``statistics`` the digest of the camera statistics that it is searched with.

        Raises :class:`ModelError` for a calibration of other distances that was asked for. One beside the model that
        nobody asked for is left out, and ``unfit`` says why.
        """
        path = asked.calibration or beside(embedder.path)
        wanted = asked != NOTHING
        self.calibration: Calibration | None = None
        self.base_rate: float | None = None
        self.unfit: str | None = None
        self.camera = camera
        self.rate = asked.false_match_rate
        if not wanted and not path.exists():
            return
        found = load_calibration(path, embedder.fingerprint)
        misfit = found.misfit(statistics)
        if not misfit:
            self.calibration = found
            self.base_rate = found.base_rate(records, asked.people)
            return
        self.unfit = (
            f"{path}: {misfit}: run `reid calibrate DATASET --model MODEL --gallery GALLERY`; to search with "
            "--no-camera-statistics, run it without --gallery"
        )
        if wanted:
            raise ModelError(self.unfit)

    def of(self, match: Match) -> Confidence:
        """How sure ``match`` is."""
        if match.distance < IDENTICAL:
            verdict = None if self.rate is None else SAME
            return Confidence(None if self.calibration is None else 1.0, SAME_PICTURE, verdict)
        if self.calibration is None or self.base_rate is None:
            return Confidence()
        found = match.record.camera
        probability, basis = self.calibration.probability(match.distance, self.camera, found, self.base_rate)
        if self.rate is None:
            return Confidence(probability, basis)
        near = match.distance < self.calibration.threshold(self.rate, self.camera, found)
        return Confidence(probability, basis, SAME if near else UNKNOWN)


def mark_answers(
    page: Page, query: str, truth: Mapping[str, str], scale: ConfidenceScale | None = None
) -> list[Answer]:
    """The matches of a page with their confidence, and whether they are right by ``truth``: tracklet -> identity;
    ``query`` is the tracklet that was searched for."""
    wanted = truth.get(query)
    answers = []
    for match, crops in zip(page.matches, page.crops or repeat(None), strict=False):
        identity = truth.get(match.record.tracklet)
        known = wanted is not None and identity is not None
        confidence = scale.of(match) if scale else Confidence()
        answers.append(Answer(match, identity == wanted if known else None, crops, confidence))
    return answers


def is_out_of_order(answers: Sequence[Answer]) -> bool:
    """Whether a match is clearly likelier than one before it, which is nearer."""
    shown = [answer.confidence.probability for answer in answers if answer.confidence.probability is not None]
    return any(later > earlier + CLEARLY for earlier, later in combinations(shown, 2))


def verdict(answers: Sequence[Answer]) -> str | None:
    """Of all together: "same" where one match is near enough; None where no false-match rate was asked for."""
    verdicts = {answer.confidence.verdict for answer in answers}
    return SAME if SAME in verdicts else UNKNOWN if UNKNOWN in verdicts else None
