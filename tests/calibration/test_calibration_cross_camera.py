import numpy as np
import pytest

from reid_toolkit.calibration import cross_camera as neighbours
from reid_toolkit.calibration.cross_camera import reciprocal_clusters

NOBODY = np.empty((0, 2), np.int64)


def circle(*degrees: float) -> np.ndarray:
    """Unit rows at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def groups(labels: np.ndarray) -> set[frozenset[int]]:
    """The clusters of two or more."""
    found = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist()) - {-1}}
    return {group for group in found if len(group) > 1}


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = circle(0, 30, 90, 2, 33, 34, 1)
    cameras = ["a", "a", "a", "b", "b", "b", "c"]
    # 0-3 and 1-4 are each other's nearest; 5's nearest is 1, whose own is 4; 2 is nobody's. 6 joins 0 and 3.
    wanted = {frozenset({0, 3, 6}), frozenset({1, 4})}
    assert groups(reciprocal_clusters(rows, cameras, NOBODY)) == wanted
    monkeypatch.setattr(neighbours, "ROWS", 2)
    assert groups(reciprocal_clusters(rows, cameras, NOBODY)) == wanted


def test_clusters_with_people_seen_at_once_are_taken_apart() -> None:
    """0 and 3 come together by way of 1 and 2, and cannot be one person."""
    rows, cameras = circle(0, 1, 3, 4, 90, 91), ["a", "b", "c", "a", "a", "b"]
    assert groups(reciprocal_clusters(rows, cameras, NOBODY)) == {frozenset({0, 1, 2, 3}), frozenset({4, 5})}
    labels = reciprocal_clusters(rows, cameras, np.array([[0, 3], [3, 4]]))
    assert groups(labels) == {frozenset({4, 5})}
    assert labels[:4].tolist() == [-1] * 4


def test_one_camera_has_no_neighbours() -> None:
    assert groups(reciprocal_clusters(circle(0, 0, 1), ["a"] * 3, np.array([[0, 1]]))) == set()
