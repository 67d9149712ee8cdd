"""Neighbours that are searched for cell by cell, beside those of all pairs."""

import numpy as np
import pytest
import torch

from reid_toolkit.method import cells
from reid_toolkit.method.cells import least, make_cells, nearest_within, sampled, visits_needed
from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.neighbours import as_groups, camera_aware_similarity, limits_of, nearest, without_far

OWN, OTHER = 6, 20
LIMIT = 1.05


def crowd(people: int = 150, records: int = 12, width: int = 64, noise: float = 0.7):
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(people), records)
    points = rng.normal(size=(people, width))[truth] + noise * rng.normal(size=(len(truth), width))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return torch.from_numpy(points.astype(np.float32)), [f"camera-{at % 4}" for at in range(len(truth))], truth


def farthest(one: str | None, other: str | None) -> float:
    return LIMIT if one == other else LIMIT + 0.05


def both_ways(points: torch.Tensor, cameras: list[str]):
    """The lists of all pairs, and those of cells."""
    groups, limits = as_groups(cameras, points), limits_of(cameras, farthest)
    exact = [without_far(points, one, *limits) for one in nearest(points, (OWN, OTHER), groups)]
    return exact, nearest_within(points, (OWN, OTHER), groups, *limits)[:2]


def pairs(lists: np.ndarray) -> set[tuple[int, int]]:
    return {(int(row), int(lists[row, at])) for row, at in zip(*np.nonzero(lists >= 0), strict=True)}


def test_nearly_all_neighbours_are_found_in_cells() -> None:
    points, cameras, _ = crowd()
    for exact, found in zip(*both_ways(points, cameras), strict=True):
        assert found.shape == exact.shape
        assert len(pairs(exact) & pairs(found)) >= 0.97 * len(pairs(exact))


def test_all_cells_give_what_all_pairs_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "visits_needed", lambda points, made, some: len(made.centres))
    monkeypatch.setattr(cells, "SLAB", 500)  # several slabs
    points, cameras, _ = crowd()
    for exact, found in zip(*both_ways(points, cameras), strict=True):
        np.testing.assert_array_equal(found, exact)


def test_not_all_cells_are_visited() -> None:
    points, cameras, _ = crowd()
    made = make_cells(points)
    assert sorted(made.order.tolist()) == list(range(len(points)))
    near = least(sampled(points, LIMIT**2), (OWN, OTHER), as_groups(cameras, points))
    assert 1 <= visits_needed(points, made, near) < len(made.centres) / 2


def test_who_has_no_neighbour_has_none_in_cells() -> None:
    points = torch.eye(40)
    own, other, alike = nearest_within(points, (2, 3), np.arange(40) % 2, *limits_of(["a", "b"] * 20, lambda a, b: 1.0))
    assert (own == -1).all()
    assert (other == -1).all()
    assert not len(alike.row)


def test_a_crowd_has_the_same_groups_by_cells_and_by_all_pairs() -> None:
    points, cameras, truth = crowd()
    labels = [
        merge_neighbours(
            camera_aware_similarity(points, cameras, farthest=farthest, cells_from=number), range(len(truth)), until=0.8
        ).labels
        for number in (0, len(truth) + 1)
    ]
    np.testing.assert_array_equal(*labels)
    assert len(set(zip(labels[0].tolist(), truth.tolist(), strict=True))) == len(set(truth.tolist()))
