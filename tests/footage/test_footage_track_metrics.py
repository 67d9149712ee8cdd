"""Scores of tracks, against cases counted by hand, a slow version, and the library's own reading of files."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.mot import mot_text
from reid_toolkit.exchange.tracks import Row, Tracks, collect
from reid_toolkit.footage.track_metrics import score_tracks

Places = dict[tuple[int, int], int]
"""Frame and track -> where the box stands. Boxes of different places do not overlap."""


def tracks_of(places: Places) -> Tracks:
    rows = (Row("", frame, track, (100.0 * place, 10, 40, 90), 1) for (frame, track), place in places.items())
    return collect("", rows)


def test_equal_tracks_are_perfect() -> None:
    tracks = tracks_of({(frame, track): track for frame in range(5) for track in (3, 8)})
    scores = score_tracks(tracks, tracks)
    assert (scores.hota, scores.mota, scores.idf1) == pytest.approx((1, 1, 1))
    assert (scores.misses, scores.false_boxes, scores.switches, scores.true_tracks) == (0, 0, 0, 2)


def test_a_switch_a_miss_and_a_false_box() -> None:
    truth = tracks_of({(frame, 1): 1 for frame in range(10)})
    found = tracks_of({(frame, 1 if frame < 6 else 2): 1 for frame in range(9)} | {(0, 9): 5})
    scores = score_tracks(truth, found)
    assert (scores.misses, scores.false_boxes, scores.switches) == (1, 1, 1)
    assert scores.mota == pytest.approx(1 - 3 / 10)
    assert scores.idf1 == pytest.approx(2 * 6 / (10 + 10))  # six boxes of the longer of the two tracks


PLACES = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 2)), st.integers(0, 2), min_size=1, max_size=12)


def apart(places: Places) -> Places:
    """At most one box a place in each frame."""
    seen: dict[tuple[int, int], tuple[int, int]] = {}
    for (frame, track), place in places.items():
        seen.setdefault((frame, place), (frame, track))
    return {key: place for (_, place), key in seen.items()}


@settings(max_examples=50, deadline=None)
@given(PLACES.map(apart), PLACES.map(apart))
def test_idf1_and_mota_are_those_of_a_slow_version(truth: Places, found: Places) -> None:
    scores = score_tracks(tracks_of(truth), tracks_of(found))
    true_tracks = sorted({track for _, track in truth})
    others = [*sorted({track for _, track in found}), *[None] * len(true_tracks)]
    best = max(
        sum(
            found.get((frame, who)) == place
            for (frame, track), place in truth.items()
            if (who := pairs[true_tracks.index(track)]) is not None
        )
        for pairs in permutations(others, len(true_tracks))
    )
    assert scores.idf1 == pytest.approx(2 * best / (len(truth) + len(found)))
    at = {(frame, place): track for (frame, track), place in found.items()}
    last: dict[int, int] = {}
    hits = switches = 0
    for (frame, track), place in sorted(truth.items()):
        who = at.get((frame, place))
        if who is not None:
            hits += 1
            switches += last.get(track, who) != who
            last[track] = who
    assert (scores.misses, scores.false_boxes, scores.switches) == (len(truth) - hits, len(found) - hits, switches)
    assert scores.mota == pytest.approx(1 - (len(truth) + len(found) - 2 * hits + switches) / len(truth))


def test_they_are_those_of_the_library_for_files(tmp_path: Path) -> None:
    from trackers.eval import evaluate_mot_sequence

    generator = np.random.default_rng(5)
    boxes = {
        (frame, track): (40.0 * track + 3 * frame, 50.0, 40.0, 90.0)
        for track in range(6)
        for frame in range(generator.integers(0, 20), generator.integers(30, 60))
    }
    noisy = {
        (frame, track if frame < 25 or track % 2 else track + 10): tuple(generator.normal(box, 4))
        for (frame, track), box in boxes.items()
        if generator.random() < 0.9
    }
    truth, found = (
        collect("", (Row("", *key, box, 1.0) for key, box in one.items()))  # type: ignore[arg-type]
        for one in (boxes, noisy)
    )
    for name, one in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.txt").write_text(mot_text(one).replace(",1,-1,-1,-1", ",1,1,1"))
    theirs = evaluate_mot_sequence(tmp_path / "truth.txt", tmp_path / "found.txt", ["CLEAR", "HOTA", "Identity"])
    ours = score_tracks(truth, found)
    assert 0.3 < ours.hota < 0.95
    assert theirs.HOTA is not None
    assert theirs.CLEAR is not None
    assert theirs.Identity is not None
    assert (ours.hota, ours.detection, ours.association) == pytest.approx(
        (theirs.HOTA.HOTA, theirs.HOTA.DetA, theirs.HOTA.AssA)
    )
    assert (ours.mota, ours.idf1) == pytest.approx((theirs.CLEAR.MOTA, theirs.Identity.IDF1))
    assert (ours.misses, ours.false_boxes, ours.switches) == (
        theirs.CLEAR.CLR_FN, theirs.CLEAR.CLR_FP, theirs.CLEAR.IDSW,
    )  # fmt: skip


def test_fractions_and_pixels_are_compared_if_the_size_is_known() -> None:
    pixels = collect("", [Row("", 1, 1, (10, 20, 30, 60), 1)], size=(100, 200))
    parts = collect("", [Row("", 1, 1, (0.1, 0.1, 0.3, 0.3), 1)], relative=True)
    assert score_tracks(pixels, parts).hota == pytest.approx(1)
    assert score_tracks(parts, pixels).hota == pytest.approx(1)
    assert score_tracks(parts, parts).hota == pytest.approx(1)
    with pytest.raises(InputError, match="one file has boxes in pixels, the other has fractions"):
        score_tracks(tracks_of({(1, 1): 1}), parts)
    with pytest.raises(InputError, match="100 x 200 and 300 x 200"):
        score_tracks(pixels, collect("", [Row("", 1, 1, (10, 20, 30, 60), 1)], size=(300, 200)))
