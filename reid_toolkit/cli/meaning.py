"""What the distances of a search mean, where the model was calibrated: options, probabilities, verdicts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from reid_toolkit.cli.options import FILE, Number
from reid_toolkit.cli.root import warn
from reid_toolkit.errors import ModelError
from reid_toolkit.records import Match

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.runtime import Embedder

SAME, UNKNOWN = "same", "unknown"
SAME_PICTURE = "same picture"
IDENTICAL = 1e-3
"""Descriptors nearer than this are of the same pictures: half precision, in which galleries keep them, leaves about
0.0003 between one and itself."""


class Meaning(NamedTuple):
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


OPTIONS = (
    click.option(
        "--calibration",
        type=FILE,
        help="What distances mean, by `reid calibrate`. [default: MODEL.calibration.json, if it is there]",
    ),
    click.option(
        "--people",
        type=click.IntRange(2, 10_000_000_000),  # as many as there are
        metavar="N",
        help="How many different people the gallery holds, about: the query is one of so many. "
        "[default: by the calibration]",
    ),
    click.option(
        "--false-match-rate",
        type=Number(0, 0.5, min_open=True),
        metavar="RATE",
        help="Answer unknown where other people come as near in more than RATE of comparisons, e.g. 0.001.",
    ),
)


def calibration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How to say what distances mean."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


class Scale:
    """What one search's distances mean; ``Meaning()`` throughout where there is no calibration."""

    def __init__(
        self,
        embedder: "Embedder",
        records: int,
        camera: str | None,
        calibration: Path | None,
        people: int | None,
        false_match_rate: float | None,
        statistics: str | None = None,
    ) -> None:
        """``camera`` is the query's, None where it is not known; ``records`` are those of the gallery; ``statistics``
        is the digest of the camera statistics that it is searched with.

        A calibration of other distances is refused; one that nobody asked for is left out with a warning.
        """
        from reid_toolkit.calibration import beside, load_calibration

        path = calibration or beside(embedder.path)
        asked = [calibration, people, false_match_rate] != [None] * 3
        self.calibration: Calibration | None = None
        self.base_rate: float | None = None
        if asked or path.exists():
            found = load_calibration(path, embedder.fingerprint)
            misfit = found.misfit(statistics)
            if misfit:
                message = (
                    f"{path}: {misfit}: run `reid calibrate DATASET --model MODEL --gallery GALLERY`; to search with "
                    "--no-camera-statistics, run it without --gallery"
                )
                if asked:
                    raise ModelError(message)
                warn(f"no probabilities: {message}")
            else:
                self.calibration = found
                self.base_rate = found.base_rate(records, people)
        self.camera = camera
        self.rate = false_match_rate

    def of(self, match: Match) -> Meaning:
        """What ``match`` means."""
        if match.distance < IDENTICAL:
            verdict = None if self.rate is None else SAME
            return Meaning(None if self.calibration is None else 1.0, SAME_PICTURE, verdict)
        if self.calibration is None or self.base_rate is None:
            return Meaning()
        found = match.record.camera
        probability, basis = self.calibration.probability(match.distance, self.camera, found, self.base_rate)
        if self.rate is None:
            return Meaning(probability, basis)
        near = match.distance < self.calibration.threshold(self.rate, self.camera, found)
        return Meaning(probability, basis, SAME if near else UNKNOWN)
