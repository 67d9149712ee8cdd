"""A calibration: what the distances of a model mean at a site. It is a file beside the model."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reid_toolkit.calibration.curve import LEAST, Curve, fit_curve, share_of_same
from reid_toolkit.calibration.evidence import CameraPair, Evidence, pool
from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.files import parse_json, write_atomic
from reid_toolkit.version import __version__

FORMAT, PLAIN_FORMAT = "reid-calibration-2", "reid-calibration-1"
"""The first format is for distances with camera statistics, which older toolkits do not know."""
SUFFIX = ".calibration.json"

Basis = Literal["camera pair", "pooled", "one camera"]
"""The evidence for an answer. "camera pair": these two cameras (or this camera). "pooled": all pairs of different
cameras together, or all cameras within themselves. "one camera": for two cameras, only evidence within single cameras,
which cannot know the effect of a change of camera."""

IdentitySource = Literal["run", "neighbours"]


@dataclass(frozen=True)
class Calibration:
    """The curves of a model, by pair of cameras."""

    model: str
    """Fingerprint of the model that made the descriptors."""
    dataset: str
    """Fingerprint of the dataset."""
    tracklets: int
    links: IdentitySource
    """The evidence of the same person across cameras: the clusters of a run, or reciprocal nearest neighbours."""
    per_person: float
    """Tracklets per person in the dataset, on average, at least 1. Counted in the run's clusters, or without a run
    estimated from the distances within a camera (``share_of_same``)."""
    within: Curve
    """The curve for two tracklets of the same camera, over all cameras."""
    across: Curve | None
    """The curve for tracklets of two different cameras, over all pairs. None if there is too little evidence."""
    pairs: dict[CameraPair, Curve]
    """The curves of those pairs of cameras that have enough evidence of their own."""
    usual: dict[CameraPair, float]
    """For each pair of cameras, the median distance between any two tracklets. By it, ``within`` and ``across`` are
    shifted to the cameras of a query and a record."""
    statistics: str | None = None
    """Digest of the camera statistics that the distances were measured with. None if without camera statistics."""
    corrections: int = 0
    """Pairs of tracklets that a user corrected, which are part of the evidence."""
    people_pairs: int | None = None
    """How many pairs of people were seen at once. All distances between different people come from them, so nothing is
    known about events that are rarer than one in so many. None in files of older toolkits."""

    def misfit(self, statistics: str | None) -> str:
        """Why the calibration does not fit distances with the camera statistics of this digest (None for without).
        Empty if it fits."""
        if self.statistics == statistics:
            return ""
        if self.statistics is None:
            return "it was made for distances without camera statistics, and this gallery is searched with them"
        if statistics is None:
            return "it was made for distances with camera statistics, and this search is without them"
        return f"it was made for other camera statistics ({self.statistics}) than this gallery has now ({statistics})"

    @property
    def rarest(self) -> float:
        """The smallest false-match rate that so many pairs of people can support, 0-1. Each pair counts once: distances
        of one pair depend on each other."""
        return 1 / ((self.people_pairs or 0) + 1)

    def doubt(self, false_match_rate: float) -> str:
        """Why different people may come as near more often than ``false_match_rate`` says. Empty if there is no known
        reason."""
        if self.people_pairs is None or false_match_rate >= self.rarest:
            return ""
        return (
            f"a false-match rate of {false_match_rate:g} is uncertain, and may be several times as high: all distances "
            f"between different people come from {self.people_pairs:,} pairs of people who were seen at once: ask for "
            f"{_rounded_up(self.rarest)} or more, or calibrate on more footage"
        )

    def probability(self, distance: float, query: str | None, found: str, base_rate: float) -> tuple[float, Basis]:
        """The probability that a query from camera ``query`` and a record from camera ``found`` show the same person,
        and the evidence for it.

        base_rate: the share of comparisons that show the same person, above 0 and below 1. If ``query`` is None
        (unknown), it may be the record's camera or another, so the lower of both probabilities is given.
        """
        best = [curves[0] for curves in self.chains(query, found)]
        return min((curve.probability(distance, base_rate), basis) for curve, basis in best)

    def threshold(self, false_match_rate: float, query: str | None, found: str) -> float:
        """The distance under which different people come in at most ``false_match_rate`` (0-1) of comparisons.

        If a pair of cameras has too few distances between different people, those of all such pairs are used.

        Raises:
            InputError: all pairs together have too few distances; or the cameras differ (or may differ, because
                ``query`` is None) and there is only evidence within single cameras; or the rate is not above 0 and at
                most 1.
        """
        if not 0 < false_match_rate <= 1:
            raise InputError(f"a false-match rate of {false_match_rate:g}: expected more than 0 and at most 1")
        if query != found and self.across is None:
            raise InputError(
                f"a false-match rate between cameras {query or 'unknown'!r} and {found!r}: the calibration has "
                "evidence only within single cameras, which is not enough: calibrate on more footage of both cameras, "
                "or leave out --false-match-rate"
            )
        limits = []
        for curves in self.chains(query, found):
            known = [limit for curve, _ in curves if (limit := curve.threshold(false_match_rate)) is not None]
            if not known:
                enough = max(curve.different for curve, _ in curves)
                raise InputError(
                    f"a false-match rate of {false_match_rate:g} needs {1 / false_match_rate - 1:.0f} distances "
                    f"between different people, the calibration has {enough} for cameras {query or 'unknown'!r} and "
                    f"{found!r}: ask for {_rounded_up(1 / (enough + 1))} or more, or calibrate on more footage"
                )
            limits.append(known[0])
        return min(limits)

    def chains(self, query: str | None, found: str) -> list[list[tuple[Curve, Basis]]]:
        """The curves for two cameras, the best first. If the query's camera is unknown, there are two lists: for the
        same camera, and for different cameras."""
        if query is None:
            own = self.chains(found, found)
            if self.across is None:
                return [[(curve, "one camera") for curve, _ in own[0]]]
            return [*own, [(self.across, "pooled")]]
        pair = min(query, found), max(query, found)
        pooled = self.within if query == found else self.across
        if pooled is None:
            return [[(self.within, "one camera")]]
        chain: list[tuple[Curve, Basis]] = [(self.pairs[pair], "camera pair")] if pair in self.pairs else []
        return [[*chain, (pooled.moved(self.usual.get(pair, pooled.usual)), "pooled")]]

    def base_rate(self, records: int, people: int | None = None) -> float:
        """The share of ``records`` that show the person searched for, if that person is in the gallery.

        It is 1 / ``people`` if the number of different people is given, else :attr:`per_person` / ``records``. Never
        above 0.5.
        """
        return min(1 / people if people else self.per_person / max(records, 1), 0.5)

    def save(self, path: Path) -> None:
        """Write the calibration as JSON, all or nothing."""
        curves = {name: curve and asdict(curve) for name, curve in (("within", self.within), ("across", self.across))}
        pairs = [{"cameras": list(pair), **asdict(curve)} for pair, curve in self.pairs.items()]
        about = {
            "format": FORMAT if self.statistics else PLAIN_FORMAT,
            "model": self.model, "dataset": self.dataset, "toolkit": __version__,
            "tracklets": self.tracklets, "links": self.links, "per_person": self.per_person,
            "camera_statistics": self.statistics, "corrections": self.corrections,
            "people_pairs": self.people_pairs,
        }  # fmt: skip
        usual = [{"cameras": list(pair), "distance": distance} for pair, distance in self.usual.items()]
        table = {**about, **curves, "pairs": pairs, "usual": usual}
        write_atomic(path, json.dumps(table, indent=1, allow_nan=False) + "\n")


def calibrate(
    evidence: Mapping[CameraPair, Evidence],
    *,
    model: str,
    dataset: str,
    tracklets: int,
    links: IdentitySource,
    per_person: float | None = None,
    statistics: str | None = None,
    corrections: int = 0,
    people_pairs: int | None = None,
) -> Calibration:
    """Fit the evidence that ``collect`` found. For the other arguments see :class:`Calibration`.

    If ``per_person`` is None, it is estimated. Raises :class:`InputError` if all cameras together give too little
    evidence, or if nearer descriptors are not more likely the same person.
    """
    known = {pair: one for pair, one in evidence.items() if np.isfinite(one.median)}
    within = pool([one for (a, b), one in known.items() if a == b])
    across = pool([one for (a, b), one in known.items() if a != b])
    curve = fit_curve(within)
    if curve is None:
        raise InputError(
            f"{len(within.same)} distances within a person and {len(within.different)} between people seen at once "
            f"in one camera: expected at least {LEAST} of each, and the first smaller: calibrate on more footage, with "
            "several crops per tracklet and with times"
        )
    if per_person is None:
        per_person = max(share_of_same(curve.log_ratios(within.any)) * tracklets, 1.0)
    fitted = {pair: fit_curve(one) for pair, one in known.items()}
    return Calibration(
        model, dataset, tracklets, links, per_person, curve, fit_curve(across),
        {pair: one for pair, one in fitted.items() if one},
        {pair: one.median for pair, one in known.items()},
        statistics, corrections, people_pairs,
    )  # fmt: skip


def beside(model: Path) -> Path:
    """The file in which a model's calibration is expected."""
    return model.with_suffix(SUFFIX)


def load_calibration(path: Path, model: str) -> Calibration:
    """Read a calibration. ``model`` is the fingerprint of the model in use.

    Raises :class:`ModelError` if the file is missing, damaged, of another format or of another model.
    """
    try:
        table = parse_json(path.read_text(encoding="utf-8"))
        held = table["format"]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}: make it with `reid calibrate`") from None
    except (ValueError, KeyError, TypeError):
        held = None
    if held not in (FORMAT, PLAIN_FORMAT):
        raise ModelError(f"{path}: not a calibration of format {FORMAT}: make it again with `reid calibrate`")
    if table.get("model") != model:
        raise ModelError(
            f"{path}: calibrates model {table.get('model')}, got model {model}: distances of two models cannot be "
            "compared: make it again with `reid calibrate`, or delete it"
        )
    try:
        return Calibration(
            model, str(table["dataset"]), int(table["tracklets"]), table["links"], _per_person(table),
            _curve(table["within"]), None if table["across"] is None else _curve(table["across"]),
            {(str(a), str(b)): _curve(one) for one in table["pairs"] for a, b in [one.pop("cameras")]},
            {(str(a), str(b)): _distance(one) for one in table["usual"] for a, b in [one["cameras"]]},
            _digest(table) if held == FORMAT else None, int(table.get("corrections", 0)),
            None if table.get("people_pairs") is None else int(table["people_pairs"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{path}: damaged ({error!r}): make it again with `reid calibrate`") from None


def _rounded_up(rate: float) -> str:
    """The rate rounded up to two digits, because a rate that is rounded down could not be answered."""
    digit = Decimal(f"{rate:.1e}")
    return f"{float(digit if digit >= Decimal(rate) else digit + Decimal(1).scaleb(digit.adjusted() - 1)):g}"


def _digest(table: dict[str, Any]) -> str:
    digest = table["camera_statistics"]
    if not isinstance(digest, str) or not digest:
        raise ValueError(f"camera statistics {digest!r}")
    return digest


def _per_person(table: dict[str, Any]) -> float:
    count = float(table["per_person"])
    if not 1 <= count < math.inf:  # also refuses NaN; other numbers give no base rate
        raise ValueError(f"{count} tracklets per person")
    return count


def _distance(table: dict[str, Any]) -> float:
    distance = float(table["distance"])
    if not 0 <= distance <= 2:
        raise ValueError(f"a distance of {distance}")
    return distance


def _curve(table: dict[str, Any]) -> Curve:
    return Curve(**table | {"ranks": tuple(table["ranks"]), "quantiles": tuple(table["quantiles"])})
