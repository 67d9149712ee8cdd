"""Studies whether the probabilities of `reid calibrate` come true on drawn footage, whose truth is known.

    python tools/study_calibration.py DEMO --held-out OTHER --people 16 --json calibration.json --png calibration.png

DEMO is a folder of `reid demo`. OTHER is a folder with `people` and `identities.csv` of other people, whom the model
has not seen. Calibrations are fitted to footage without its identities: from pairs within a camera alone, with
reciprocal nearest neighbours (as `reid calibrate` does), and with the clusters of the demo's run. Identities only judge
them. An answer is one of the ten records that a search shows. With --camera-statistics, distances are those of a
gallery of each footage with camera statistics.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from reliability import Reliability, reliability
from study import print_rows, run, write_json, write_png

from reid_toolkit.calibration import Calibration, calibrate
from reid_toolkit.calibration.cross_camera import read_clusters, reciprocal_clusters
from reid_toolkit.calibration.evidence import collect
from reid_toolkit.calibration.measure import Described, describe, per_person
from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import times
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import InputError
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.runtime import Embedder

SHOWN = 10
RATES = (0.05, 0.01, 0.005)
JUNK = "-1"


class Pairs:
    """All pairs of tracklets whose identities are known: (N, N), without the diagonal."""

    def __init__(self, described: Described, truth: dict[str, str]) -> None:
        who = np.array([truth.get(one.name, JUNK) for one in described.tracklets])
        self.cameras = [one.camera for one in described.tracklets]
        camera = np.array(self.cameras)
        rows = described.whole
        self.distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        self.known = (who != JUNK)[:, None] & (who != JUNK)[None] & ~np.eye(len(who), dtype=bool)
        self.same = who[:, None] == who[None]
        self.within = camera[:, None] == camera[None]
        self.halves = np.linalg.norm(described.halves[:, 0] - described.halves[:, 1], axis=1)

    def answers(self, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the nearest ``SHOWN`` of each row, among these pairs."""
        shown = np.zeros_like(among)
        for row, allowed in enumerate(among):
            places = np.flatnonzero(allowed)
            shown[row, places[np.argsort(self.distances[row, places], kind="stable")[:SHOWN]]] = True
        return shown

    def gap(self) -> dict[str, float]:
        """Return the median distances of each kind of pair."""
        kinds = {
            "halves of a tracklet": self.halves[np.isfinite(self.halves)],
            "one person, one camera": self.distances[self.known & self.same & self.within],
            "one person, two cameras": self.distances[self.known & self.same & ~self.within],
            "two people, one camera": self.distances[self.known & ~self.same & self.within],
            "two people, two cameras": self.distances[self.known & ~self.same & ~self.within],
        }
        return {name: round(float(np.median(values)), 4) for name, values in kinds.items()}


def judge(calibration: Calibration, pairs: Pairs, people: int | None) -> dict[str, Any]:
    """Judge a calibration: its reliability, and its real false-match rates beside those that were requested."""
    rate = calibration.base_rate(len(pairs.cameras) - 1, people)
    said = np.empty_like(pairs.distances)
    cameras = np.array(pairs.cameras)
    for a in set(pairs.cameras):
        for b in set(pairs.cameras):
            block = np.ix_(cameras == a, cameras == b)
            curve, _ = calibration.chains(a, b)[0][0]
            said[block] = curve.probabilities(pairs.distances[block], rate)
    sets = {
        "answers": pairs.answers(pairs.known),
        "answers from other cameras": pairs.answers(pairs.known & ~pairs.within),
        "all pairs": pairs.known,
        "pairs across cameras": pairs.known & ~pairs.within,
    }
    found: dict[str, Reliability] = {name: reliability(said[rows], pairs.same[rows]) for name, rows in sets.items()}
    return {
        "base_rate": round(rate, 4),
        **{name: rounded(asdict(one)) for name, one in found.items()},
        "false_matches": [row for asked in RATES for row in [false_matches(calibration, pairs, asked)] if row],
    }


def false_matches(calibration: Calibration, pairs: Pairs, asked: float) -> dict[str, Any] | None:
    """Measure the result of a false-match rate. None if the calibration refuses the rate."""
    names = sorted(set(pairs.cameras))
    try:
        limits = np.array([[calibration.threshold(asked, a, b) for b in names] for a in names])
    except InputError:
        return None
    places = np.searchsorted(names, pairs.cameras)
    limit = limits[places[:, None], places[None]]
    near = pairs.distances < limit
    row: dict[str, Any] = {"asked": asked}
    for place, where in (("one camera", pairs.within), ("two cameras", ~pairs.within)):
        for kind, which in (("false", ~pairs.same), ("found", pairs.same)):
            row[f"{place}, {kind}"] = round(float(near[pairs.known & where & which].mean()), 4)
    return row


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def main(options: Namespace) -> None:
    demo: Path = options.demo
    embedder = Embedder(demo / "model.onnx")
    folders = {"trained on": demo, **({"not trained on": options.held_out} if options.held_out else {})}
    footage: dict[str, Pairs] = {}
    calibrations: dict[tuple[str, str], Calibration] = {}
    for name, folder in folders.items():
        dataset = open_dataset(folder / "people")
        described = describe(embedder, dataset)
        if options.camera_statistics:
            cameras = [tracklet.camera for tracklet in described.tracklets]
            statistics = fit_camera_statistics(described.whole, cameras)
            if statistics is None:
                raise InputError(f"{folder}: no camera statistics: too few tracklets of different people")
            described = described.freed(statistics)
        footage[name] = Pairs(described, read_identities(folder / "identities.csv"))
        seen_at_once = cannot_link_pairs(*times(described.tracklets))
        cameras = footage[name].cameras
        kinds = {"one camera": None, "neighbours": reciprocal_clusters(described.whole, cameras, seen_at_once)}
        if folder == demo:
            kinds["run"] = read_clusters(demo / "run", described.tracklets)
        for kind, clusters in kinds.items():
            calibrations[name, kind] = calibrate(
                collect(described.whole, described.halves, cameras, seen_at_once, clusters),
                model=embedder.fingerprint, dataset=dataset.fingerprint, tracklets=len(described.tracklets),
                links="run" if kind == "run" else "neighbours",
                per_person=per_person(clusters) if kind == "run" else None,
            )  # fmt: skip
    results = []
    for (fitted, kind), calibration in calibrations.items():
        for judged, pairs in footage.items():
            for people in (None, options.people):
                found = judge(calibration, pairs, people)
                results.append({"fitted": fitted, "evidence": kind, "judged": judged, "people": people, **found})
    gaps = {name: pairs.gap() for name, pairs in footage.items()}
    write_json(options.json, {"median distances": gaps, "results": results})
    write_png(options.png, draw(results))
    print_rows({key: error_of(value) for key, value in row.items() if key != "false_matches"} for row in results)
    print_rows(
        {key: row[key] for key in ("fitted", "evidence", "judged")} | rates
        for row in results
        if row["people"]
        for rates in row["false_matches"]
    )
    print(gaps)


def error_of(value: Any) -> Any:
    return value["error"] if isinstance(value, dict) else "-" if value is None else value


def draw(results: list[dict[str, Any]]) -> Figure:
    """Plot stated probability against the share of right answers, for searches of the footage that was calibrated on.
    The size of a point shows the number of answers."""
    shown = [row for row in results if row["people"] and row["fitted"] == row["judged"]]
    names = list(dict.fromkeys(row["judged"] for row in shown))
    figure = Figure(figsize=(4.2 * len(names), 4.2), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        for row in (row for row in shown if row["judged"] == name):
            found = row["answers"]
            said, true, count = (np.array([one[key] for one in found["bins"]]) for key in ("said", "true", "count"))
            (line,) = axes.plot(said, true, "-", label=f"{row['evidence']}: error {100 * found['error']:.1f}%")
            axes.scatter(said, true, s=8 + 160 * count / count.sum(), color=line.get_color())
        axes.set(title=f"footage the model was {name}", xlabel="probability said", ylabel="share right")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, metavar="DEMO", help="folder of a finished `reid demo`")
    parser.add_argument("--held-out", type=Path, metavar="OTHER", help="footage of other people")
    parser.add_argument("--camera-statistics", action="store_true", help="compare as a gallery with statistics does")
    parser.add_argument("--people", type=int, required=True, help="number of people, as `reid search --people`")
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    run(main, parser)
