"""Our scores of tracks are those of the package motmetrics. It has no HOTA.

motmetrics 1.4 calls ``numpy.asfarray``, which numpy 2 has no more. These tests put it back while they run.

Walkers have lanes of their own. If two boxes may stand for one true box, the two packages choose by different rules:
TrackEval goes on with the box of the frame before, motmetrics with that of any earlier frame. Then switches differ.
"""

import motmetrics
import numpy as np
import pytest
from motmetrics.distances import iou_matrix

from reid_toolkit.exchange.tracks import Row, Tracks, collect
from reid_toolkit.footage.track_metrics import LEAST_IOU, score_tracks

Box = tuple[float, float, float, float]
Boxes = dict[tuple[int, int], Box]
"""By frame and track."""

FRAMES, WALKERS = 80, 7
SHARED = ["num_misses", "num_false_positives", "num_switches", "num_objects", "mota", "idf1"]


def drawn(seed: int) -> tuple[Boxes, Boxes]:
    """True boxes of people who walk side by side, and a tracker's: shifted, sometimes missing, false or exchanged."""
    rng = np.random.default_rng(seed)
    first, speed = rng.uniform(0, 600, WALKERS), rng.uniform(-6, 6, WALKERS)
    begin, end = rng.integers(0, FRAMES // 2, WALKERS), rng.integers(FRAMES // 2, FRAMES, WALKERS)
    truth: Boxes = {}
    found: Boxes = {}
    number = {walker: walker for walker in range(WALKERS)}
    for frame in range(FRAMES):
        if rng.random() < 0.06:
            one, other = rng.choice(WALKERS, 2, replace=False).tolist()
            number[one], number[other] = number[other], number[one]
        if rng.random() < 0.06:
            number[int(rng.integers(WALKERS))] = 100 + frame
        for walker in range(WALKERS):
            if begin[walker] <= frame <= end[walker]:
                box = np.array([first[walker] + speed[walker] * frame, 100.0 * walker, 40.0, 90.0])
                truth[frame, walker] = tuple(box.tolist())
                if rng.random() < 0.85:
                    found[frame, number[walker]] = tuple((box + rng.normal(0, 5, 4)).tolist())
        if rng.random() < 0.2:
            found[frame, 1000 + frame] = tuple(np.array([rng.uniform(0, 600), 900.0, 40.0, 90.0]).tolist())
    return truth, found


def tracks_of(boxes: Boxes) -> Tracks:
    return collect("", [Row("", frame, track, box, 1.0) for (frame, track), box in boxes.items()])


def by_motmetrics(truth: Boxes, found: Boxes) -> dict[str, float]:
    """What motmetrics says of the same boxes."""
    seen = motmetrics.MOTAccumulator(auto_id=False)
    for frame in sorted({frame for frame, _ in [*truth, *found]}):
        true, ours = ({track: box for (at, track), box in one.items() if at == frame} for one in (truth, found))
        rows = iou_matrix(list(true.values()), list(ours.values()), max_iou=1 - LEAST_IOU)
        seen.update(list(true), list(ours), rows, frameid=frame)
    row = motmetrics.metrics.create().compute(seen, metrics=SHARED)
    return {name: float(row[name].iloc[0]) for name in SHARED}


@pytest.mark.parametrize("seed", range(6))
def test_mota_idf1_and_switches_are_those_of_motmetrics(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "asfarray", lambda rows: np.asarray(rows, np.float64), raising=False)
    truth, found = drawn(seed)
    ours, theirs = score_tracks(tracks_of(truth), tracks_of(found)), by_motmetrics(truth, found)
    assert theirs["num_switches"] >= 3
    assert 0.2 < theirs["idf1"] < 0.95
    counts = (ours.misses, ours.false_boxes, ours.switches, ours.true_boxes)
    assert counts == tuple(theirs[name] for name in SHARED[:4])
    assert (ours.mota, ours.idf1) == pytest.approx((theirs["mota"], theirs["idf1"]))
