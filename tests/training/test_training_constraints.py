from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training.constraints import can_merge, cannot_link
from reid_toolkit.training.store import Samples


def samples(*seen: tuple[str, str, float | None, float | None]) -> Samples:
    """(folder of the recording, camera, start, end) each."""
    tracklets = tuple(
        Tracklet(str(i), camera, tuple(Crop(Path(f"/set/{folder}/{i}/0.jpg"), camera, str(i), 0, t) for t in (a, b)))
        for i, (folder, camera, a, b) in enumerate(seen)
    )
    crops = tuple(crop for tracklet in tracklets for crop in tracklet.crops)
    return Samples(tracklets, crops, np.arange(0, len(crops) + 1, 2), 32, 32, None)


def test_seen_at_once_in_one_camera() -> None:
    found = cannot_link(samples(("a", "door", 0, 5), ("a", "door", 4, 9), ("a", "door", 6, 9), ("a", "hall", 4, 9)))
    assert found.tolist() == [[0, 1], [1, 2]]


def test_unknown_times_make_no_pair_and_spoil_none() -> None:
    found = cannot_link(samples(("a", "door", 0, 5), ("a", "door", None, None), ("a", "door", 4, 9)))
    assert found.tolist() == [[0, 2]]
    assert len(cannot_link(samples(("a", "", None, None), ("a", "", None, None)))) == 0


def test_recordings_that_each_begin_at_zero_are_not_compared() -> None:
    assert len(cannot_link(samples(("monday", "door", 0, 5), ("tuesday", "door", 4, 9)))) == 0


def test_absolute_times_are_compared_across_recordings() -> None:
    day = 1_790_000_000.0
    found = cannot_link(samples(("a", "door", day, day + 5), ("b", "door", day + 4, day + 9)))
    assert found.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("labels", "pairs", "possible"),
    [
        ([0, 1, 2], None, True),
        ([0, 0, 0], None, False),
        ([0, 1, 2], [[0, 1], [0, 2]], True),
        ([0, 1, 2], [[0, 1], [0, 2], [1, 2]], False),
        ([0, 1, 0, 1], [[0, 1], [2, 3]], False),
        ([0, 1, 2, 0], [[0, 1], [1, 3], [0, 2], [2, 3]], True),
    ],
)
def test_whether_a_merge_is_left(labels: list[int], pairs: list[list[int]] | None, possible: bool) -> None:
    assert can_merge(np.array(labels), None if pairs is None else np.array(pairs)) is possible
