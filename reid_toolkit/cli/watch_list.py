"""The watch list of ``reid watch``: whom ``--alert`` names, and how many false alerts are allowed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid_toolkit.cli.console import counted
from reid_toolkit.cli.people_limits import fitting_calibration
from reid_toolkit.errors import InputError, ModelError

if TYPE_CHECKING:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.gallery.base import GalleryStore
    from reid_toolkit.gallery.people_table import PeopleTable
    from reid_toolkit.people.alert_budget import AlertBudget, Limit
    from reid_toolkit.people.scale import Probability
    from reid_toolkit.people.watch_list import WatchList
    from reid_toolkit.people.watch_log import WatchLog
    from reid_toolkit.runtime import Embedder

A_DAY = 1.0
"""False alerts a day that pictures are allowed if --alerts-per-day is not given."""


def sort_alerts(alerts: Sequence[str], table: "PeopleTable", gallery: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The people and the pictures among what --alert names.

    Raises :class:`InputError` for a name that is neither, both, or given twice.
    """
    from reid_toolkit.gallery.people_table import People
    from reid_toolkit.people.naming import find_person, unknown_person

    known = table.read() if alerts else People()
    people, pictures = [], []
    for alert in alerts:
        if alerts.count(alert) > 1:
            raise InputError(f"--alert {alert}: is given twice: name each picture and person once")
        is_person = find_person(alert, known) is not None
        if is_person and Path(alert).exists():
            raise InputError(
                f"--alert {alert}: is a person of {gallery} and a file here: write ./{alert} for the file, or the "
                "number of the person, such as person-000012"
            )
        if is_person:
            people.append(alert)
        elif Path(alert).exists():
            pictures.append(alert)
        elif "/" in alert or Path(alert).suffix:
            raise InputError(f"--alert {alert}: no such picture or folder, and nobody in {gallery} is called so")
        else:
            raise unknown_person(alert, known, gallery)
    return tuple(people), tuple(pictures)


def limit_by(calibration: "Calibration") -> "Limit":
    """The distance for a false-match rate, None if the calibration has too little evidence for it.

    The limits of searches take each distance between two people for new evidence. Here something is promised, so each
    pair of people counts once.
    """

    def limit(rate: float, one: str | None, other: str) -> float | None:
        try:
            return calibration.threshold(rate, one, other) if rate >= calibration.rarest else None
        except InputError:
            return None

    return limit


def probability_by(calibration: "Calibration", store: "GalleryStore") -> "Probability":
    """The probability that two tracklets show one person."""

    def probability(distance: float, query: str | None, record: str, people: int) -> float:
        rate = calibration.base_rate(len(store), people or None)
        return calibration.probability(distance, query, record, rate)[0]

    return probability


@dataclass(frozen=True)
class Allowance:
    """How many false alerts a day are allowed, and what is needed to keep that."""

    store: "GalleryStore"
    embedder: "Embedder"
    cameras: Sequence[str]
    calibration: "Calibration"
    path: Path
    """Where the calibration is."""
    budget: "AlertBudget"

    @classmethod
    def of(
        cls, store: "GalleryStore", embedder: "Embedder", cameras: Sequence[str], a_day: float | None
    ) -> "Allowance":
        """Read the calibration, and count how many tracklets a day the gallery has of these cameras.

        Raises :class:`ModelError` if there is no calibration that fits.
        """
        from reid_toolkit.calibration import beside
        from reid_toolkit.gallery.types import Selection
        from reid_toolkit.people.alert_budget import AlertBudget, busiest_day

        path = beside(embedder.path)
        if not path.exists():
            raise ModelError(
                f"{path}: no calibration: alerts by pictures and --alerts-per-day need one: make it with "
                "`reid calibrate DATASET --model MODEL --gallery GALLERY`"
            )
        calibration = fitting_calibration(store, path, embedder.fingerprint)
        times = (record.start for name in cameras for record in store.listed(Selection(camera=name)))
        budget = AlertBudget(A_DAY if a_day is None else a_day, busiest_day(times))
        return cls(store, embedder, cameras, calibration, path, budget)

    def watch_list(self, pictures: Sequence[str], log: "WatchLog") -> "WatchList":
        """Embed the pictures. Raises :class:`InputError` for one that cannot be read."""
        from reid_toolkit.people.watch_list import Picture, WatchList
        from reid_toolkit.search.query import Query

        shown = []
        for name in pictures:
            query = Query.of(Path(name))
            shown.append(Picture(name, self.embedder.embed_tracklet(list(query.images)), query.camera))
        probability = probability_by(self.calibration, self.store)
        limit, statistics = limit_by(self.calibration), self.store.statistics()
        return WatchList(shown, self.budget, limit, probability, statistics, log)

    def in_words(self) -> str:
        """What is promised, in plain words. Raises :class:`InputError` if the calibration cannot promise it."""
        from reid_toolkit.people.alert_budget import LOOKS

        budget = self.budget
        by = "the busiest day of these cameras in the gallery" if budget.expected else "assumed until an hour was seen"
        comparisons = budget.comparisons_a_day
        pictures, records = (budget.sizes.get(part, 0) for part in ("pictures", "people"))
        with_what = [counted(pictures, "picture")] if pictures else []
        with_what += [f"{counted(records, 'record')} of people"] if records else []
        so_many = (
            f"{budget.tracklets_a_day:,.0f} tracklets a day ({by}), each compared up to {len(LOOKS)} times with "
            f"{' and '.join(with_what)}, make {comparisons:,.0f} comparisons"
        )
        rate = min(budget.a_day / comparisons, 1.0)
        least = max(self.least_rate(name) for name in self.cameras)
        if rate < least:
            fewest = math.ceil(least * comparisons)
            raise InputError(
                f"--alerts-per-day {budget.a_day:g} cannot be promised: {so_many}, so different people may come as "
                f"near in 1 of {1 / rate:,.0f}; {self.path} comes from {self.calibration.people_pairs or 0:,} pairs of "
                f"people seen at once: allow {fewest:,} alerts a day, watch for fewer, or calibrate on more footage"
            )
        nearest = ", ".join(f"{name} {self.nearest(rate, name)}" for name in self.cameras)
        return (
            f"alerts: at most {budget.a_day:g} false a day are expected. {so_many}; so the limit is the distance that "
            f"different people come under in 1 of {1 / rate:,.0f} comparisons: {nearest}"
        )

    def least_rate(self, camera: str) -> float:
        """The smallest false-match rate that can be promised for a picture of an unknown camera: one in the number of
        pairs of people who were seen at once."""
        if self.calibration.across is None:
            raise ModelError(
                f"{self.path}: has evidence only within single cameras, which is not enough for alerts: calibrate on "
                "footage of several cameras"
            )
        if self.calibration.people_pairs is None:
            raise ModelError(f"{self.path}: made by an older toolkit: make it again with `reid calibrate`")
        known = [max(curve.different for curve, _ in chain) for chain in self.calibration.chains(None, camera)]
        return max(self.calibration.rarest, 1 / (min(known) + 1))

    def nearest(self, rate: float, camera: str) -> str:
        """The limit for a picture of an unknown camera, as text."""
        return f"{self.calibration.threshold(rate, None, camera):.3f}"
