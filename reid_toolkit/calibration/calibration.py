"""What distances of one model mean at one site, kept as a file beside the model."""

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
"""The first is for distances with camera statistics, of which older toolkits know nothing."""
SUFFIX = ".calibration.json"

Basis = Literal["camera pair", "pooled", "one camera"]
"""Where an answer's evidence is from: just these two cameras (or the one); all pairs of different cameras together,
or all cameras against themselves; or, for two cameras, only from within one camera, which cannot know what a change
of camera does."""

Links = Literal["run", "neighbours"]


@dataclass(frozen=True)
class Calibration:
    """Curves of one model, by pair of cameras."""

    model: str
    """Fingerprint of the model whose distances these are."""
    dataset: str
    """Fingerprint of the dataset that they were measured on."""
    tracklets: int
    links: Links
    """What told who is who across cameras: a training run's clusters, or reciprocal nearest neighbours."""
    per_person: float
    """Tracklets of one person in that dataset, on average: by the run's clusters; without a run by how often people
    came back to a camera, as far as the distances tell (``share_of_same``); 1 at least."""
    within: Curve
    """Of two tracklets of one camera, whichever it is."""
    across: Curve | None
    """Of tracklets of two cameras, whichever they are; None where nothing is known across cameras."""
    pairs: dict[CameraPair, Curve]
    """Of the pairs of cameras that have enough evidence of their own."""
    usual: dict[CameraPair, float]
    """Of every pair of cameras, the median distance between any two tracklets: by it ``within`` and ``across`` are
    moved to the cameras in question."""
    statistics: str | None = None
    """Digest of the camera statistics that the distances were measured with; None for descriptors as they are."""

    def misfit(self, statistics: str | None) -> str:
        """Why it does not fit distances measured with the camera statistics of this digest, None for without any; empty
        where it does fit."""
        if self.statistics == statistics:
            return ""
        if self.statistics is None:
            return "it was made for distances without camera statistics, and this gallery is searched with them"
        if statistics is None:
            return "it was made for distances with camera statistics, and this search is without them"
        return f"it was made for other camera statistics ({self.statistics}) than this gallery has now ({statistics})"

    def probability(self, distance: float, query: str | None, found: str, base_rate: float) -> tuple[float, Basis]:
        """That a query from camera ``query`` and a record of camera ``found`` show one person, and by what evidence.

        base_rate: the share of comparisons that are of one person, above 0 and below 1. ``query`` is None where the
        camera is not known: it may be the record's or another, so the lower of both is the answer.
        """
        best = [curves[0] for curves in self.chains(query, found)]
        return min((curve.probability(distance, base_rate), basis) for curve, basis in best)

    def threshold(self, false_match_rate: float, query: str | None, found: str) -> float:
        """The distance under which two people come in at most ``false_match_rate`` (0-1) of comparisons.

        Where a pair of cameras has too few distances of two people, those of all such pairs answer.

        Raises:
            InputError: they are too few too; the two cameras differ and only evidence from within one is known, or
                ``query`` is None, so that they may differ; or it is no rate.
        """
        if not 0 < false_match_rate <= 1:
            raise InputError(f"a false-match rate of {false_match_rate:g}: expected more than 0 and at most 1")
        if query != found and self.across is None:
            raise InputError(
                f"a false-match rate between cameras {query or 'unknown'!r} and {found!r}: the calibration has "
                "evidence from within one camera alone, which cannot tell: calibrate on more footage of both, or leave "
                "--false-match-rate out"
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
        """The curves that can answer for two cameras, the best one first; of an unknown query one such list for
        each of the two that it may be."""
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
        """The share of ``records`` that show the person searched for, if that is somebody among them.

        With ``people`` different ones in the gallery, one in so many; else by how many tracklets a person had where
        it was calibrated. Never above a half.
        """
        return min(1 / people if people else self.per_person / max(records, 1), 0.5)

    def save(self, path: Path) -> None:
        """Write it as JSON, all or nothing."""
        curves = {name: curve and asdict(curve) for name, curve in (("within", self.within), ("across", self.across))}
        pairs = [{"cameras": list(pair), **asdict(curve)} for pair, curve in self.pairs.items()]
        about = {
            "format": FORMAT if self.statistics else PLAIN_FORMAT,
            "model": self.model, "dataset": self.dataset, "toolkit": __version__,
            "tracklets": self.tracklets, "links": self.links, "per_person": self.per_person,
            "camera_statistics": self.statistics,
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
    links: Links,
    per_person: float | None = None,
    statistics: str | None = None,
) -> Calibration:
    """Fit what ``collect`` found; for the other arguments see :class:`Calibration`.

    ``per_person`` None is estimated. Raises :class:`InputError` when the evidence is too little even with all cameras
    together, or when nearer is not likelier.
    """
    known = {pair: one for pair, one in evidence.items() if np.isfinite(one.usual)}
    within = pool([one for (a, b), one in known.items() if a == b])
    across = pool([one for (a, b), one in known.items() if a != b])
    curve = fit_curve(within)
    if curve is None:
        raise InputError(
            f"{len(within.same)} distances within a person and {len(within.different)} between people seen at once "
            f"in one camera: expected at least {LEAST} of each, the first smaller: calibrate on more footage, with "
            "several crops a tracklet and with times"
        )
    if per_person is None:
        per_person = max(share_of_same(curve.log_ratios(within.any)) * tracklets, 1.0)
    fitted = {pair: fit_curve(one) for pair, one in known.items()}
    return Calibration(
        model, dataset, tracklets, links, per_person, curve, fit_curve(across),
        {pair: one for pair, one in fitted.items() if one},
        {pair: one.usual for pair, one in known.items()},
        statistics,
    )  # fmt: skip


def beside(model: Path) -> Path:
    """Where a model's calibration is looked for."""
    return model.with_suffix(SUFFIX)


def load_calibration(path: Path, model: str) -> Calibration:
    """Read what :meth:`Calibration.save` wrote; ``model`` is the fingerprint of the model in use.

    Raises :class:`ModelError` when the file is missing, damaged, of another format or of another model.
    """
    try:
        table = parse_json(path.read_text(encoding="utf-8"))
        held = table["format"]
    except OSError as error:
        raise ModelError(f"{path}: cannot read it: {error.strerror}: `reid calibrate` makes a calibration") from None
    except (ValueError, KeyError, TypeError):
        held = None
    if held not in (FORMAT, PLAIN_FORMAT):
        raise ModelError(f"{path}: not a calibration of format {FORMAT}: make it anew by `reid calibrate`")
    if table.get("model") != model:
        raise ModelError(
            f"{path}: calibrates model {table.get('model')}, got model {model}: distances of two models do not "
            "compare; make it anew by `reid calibrate`, or delete it"
        )
    try:
        return Calibration(
            model, str(table["dataset"]), int(table["tracklets"]), table["links"], _per_person(table),
            _curve(table["within"]), None if table["across"] is None else _curve(table["across"]),
            {(str(a), str(b)): _curve(one) for one in table["pairs"] for a, b in [one.pop("cameras")]},
            {(str(a), str(b)): _distance(one) for one in table["usual"] for a, b in [one["cameras"]]},
            _digest(table) if held == FORMAT else None,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{path}: damaged ({error!r}): make it anew by `reid calibrate`") from None


def _rounded_up(rate: float) -> str:
    """To two digits; to the nearest it might be less than what can be answered."""
    digit = Decimal(f"{rate:.1e}")
    return f"{float(digit if digit >= Decimal(rate) else digit + Decimal(1).scaleb(digit.adjusted() - 1)):g}"


def _digest(table: dict[str, Any]) -> str:
    digest = table["camera_statistics"]
    if not isinstance(digest, str) or not digest:
        raise ValueError(f"camera statistics {digest!r}")
    return digest


def _per_person(table: dict[str, Any]) -> float:
    count = float(table["per_person"])
    if not 1 <= count < math.inf:  # of NaN, none or fewer there is no base rate
        raise ValueError(f"{count} tracklets a person")
    return count


def _distance(table: dict[str, Any]) -> float:
    distance = float(table["distance"])
    if not 0 <= distance <= 2:
        raise ValueError(f"a distance of {distance}")
    return distance


def _curve(table: dict[str, Any]) -> Curve:
    return Curve(**table | {"ranks": tuple(table["ranks"]), "quantiles": tuple(table["quantiles"])})
