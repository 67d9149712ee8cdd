"""Probabilities and verdicts for the answers of a search. They need a calibrated model."""

from pathlib import Path
from typing import NamedTuple

from reid_toolkit.calibration import Calibration, beside, load_calibration
from reid_toolkit.errors import ModelError
from reid_toolkit.records import Match
from reid_toolkit.runtime import Embedder

SAME, UNKNOWN = "same", "unknown"
SAME_PICTURE = "same picture"
IDENTICAL = 1e-3
"""Descriptors nearer than this come from the same pictures. A descriptor is about 0.0003 away from its stored copy,
because galleries store half precision."""


class Confidence(NamedTuple):
    """How sure a match is. All fields are None if there is no calibration."""

    probability: float | None = None
    """Probability that the match shows the person searched for, 0-1."""
    basis: str | None = None
    """The evidence: "camera pair", "pooled" or "one camera" (see ``calibration.Basis``), or "same picture", which is
    certain and not an estimate."""
    verdict: str | None = None
    """"same" or "unknown". None if no false-match rate was given."""

    @property
    def text(self) -> str:
        """The probability in per cent and its limits, as text for people."""
        if self.basis == SAME_PICTURE:
            return SAME_PICTURE
        if self.probability is None:
            return ""
        # Rounded to 100% or 0%, a probability would look certain.
        percent = 100 * self.probability
        share = ">99%" if percent > 99 else "<1%" if percent < 1 else f"{percent:.0f}%"
        words = [share, *([UNKNOWN] if self.verdict == UNKNOWN else [])]
        return ", ".join([*words, *(["same-camera evidence only"] if self.basis == "one camera" else [])])


class Asked(NamedTuple):
    """How distances are to be turned into probabilities. With all fields None, the calibration beside the model is
    used, if it exists."""

    calibration: Path | None = None
    """A file from ``reid calibrate``. None for the file beside the model, if it exists."""
    people: int | None = None
    """About how many different people the gallery holds. None to estimate it from the calibration."""
    false_match_rate: float | None = None
    """A match gets the verdict "unknown" if different people come as near in more than this share of comparisons."""


NOTHING = Asked()


class ConfidenceScale:
    """Turns the distances of a search into :class:`Confidence`. Without a calibration, all are ``Confidence()``."""

    def __init__(
        self,
        embedder: Embedder,
        records: int,
        camera: str | None,
        asked: Asked = NOTHING,
        statistics: str | None = None,
    ) -> None:
        """Load the calibration.

        Args:
            embedder: the model.
            records: number of records in the gallery.
            camera: the query's camera, None if unknown.
            asked: what the caller asked for. If it is ``NOTHING``, a calibration that does not fit is not used, and
                ``unfit`` says why.
            statistics: digest of the camera statistics that the search uses, None for none.

        Raises:
            ModelError: ``asked`` is not ``NOTHING``, and the calibration is missing or is for other distances.
        """
        path = asked.calibration or beside(embedder.path)
        wanted = asked != NOTHING
        self.calibration: Calibration | None = None
        self.base_rate: float | None = None
        self.unfit: str | None = None
        self.doubt = ""
        """Why the false-match rate may be higher than asked for. Empty if there is no known reason."""
        self.camera = camera
        self.rate = asked.false_match_rate
        if not wanted and not path.exists():
            return
        found = load_calibration(path, embedder.fingerprint)
        misfit = found.misfit(statistics)
        if not misfit:
            self.calibration = found
            self.base_rate = found.base_rate(records, asked.people)
            self.doubt = "" if self.rate is None else found.doubt(self.rate)
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
