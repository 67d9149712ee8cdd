"""Neighbours beyond the lists, of samples that have very many alike."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reid_toolkit.method import cells
from reid_toolkit.method.cells import Pairs, nearest_within
from reid_toolkit.method.dense_places import MOST, among
from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.neighbours import camera_aware_similarity, limits_of

PEOPLE, ALIKE = 20, 50


def drawn(alike: int):
    """People with 3 samples in each of two cameras, and a poster with ``alike`` samples in one camera."""
    rng = np.random.default_rng(0)
    person = np.concatenate([np.repeat(np.arange(PEOPLE), 6), np.full(alike, PEOPLE)])
    cameras = [*(["a", "b"] * 3 * PEOPLE), *["a"] * alike]
    noise = np.where(person < PEOPLE, 0.4, 0.1)[:, None]
    points = rng.normal(size=(PEOPLE + 1, 48))[person] + noise * rng.normal(size=(len(person), 48))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), cameras, person


def similar(points, cameras, surely: float | None, cells_from: int | None = None):
    sure = None if surely is None else lambda a, b: surely
    return camera_aware_similarity(
        points, cameras, within=2, across=4, farthest=lambda a, b: 0.9, surely=sure, cells_from=cells_from
    )


def groups(similarity) -> list[int]:
    return merge_neighbours(similarity, range(similarity.shape[0]), until=0.8).labels.tolist()


def test_without_dense_places_nothing_changes() -> None:
    points, cameras, _ = drawn(0)
    one, other = similar(points, cameras, None), similar(points, cameras, 0.6)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def test_who_has_very_many_samples_stays_one_cluster() -> None:
    points, cameras, person = drawn(ALIKE)
    assert len(set(groups(similar(points, cameras, None)))) > PEOPLE + 1
    labels = groups(similar(points, cameras, 0.6))
    assert len(set(labels)) == len(set(zip(labels, person.tolist(), strict=True))) == PEOPLE + 1


@pytest.mark.parametrize("surely", [0.0, 0.05])
def test_samples_that_are_not_near_enough_are_not_taken(surely: float) -> None:
    points, cameras, _ = drawn(ALIKE)
    assert (similar(points, cameras, surely) != similar(points, cameras, None)).nnz == 0


@pytest.mark.parametrize("cells_from", [1, None], ids=["in cells", "all pairs"])
def test_hundreds_of_near_duplicates_stay_one_cluster(cells_from: int | None) -> None:
    """Each keeps 60 of them. Of the 60 nearest, two would share too few."""
    points, cameras, person = drawn(600)
    labels = groups(similar(points, cameras, 0.6, cells_from))
    assert len(set(labels)) == len(set(zip(labels, person.tolist(), strict=True))) == PEOPLE + 1


@pytest.mark.parametrize(("most", "expected"), [(4, [[1, 2], [2, 3]]), (3, [[2, 3], [0, 2]])])
def test_of_too_many_the_nearest_are_kept(monkeypatch: pytest.MonkeyPatch, most: int, expected: list) -> None:
    monkeypatch.setattr(cells, "TOO_MANY", most)
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed: SimpleNamespace(permutation=lambda n: np.array([3, 0, 1, 2]))
    )
    pairs = Pairs(np.repeat([0, 1], 3), np.array([1, 2, 3, 0, 2, 3]), np.array([3, 2, 1, 1, 2, 3], np.float32))
    kept = cells.agreed(pairs, (2, 2), np.zeros(4, np.int64))
    assert [sorted(kept.other[kept.row == row].tolist()) for row in (0, 1)] == expected


def test_in_cells_nearly_all_of_the_same_pairs_are_found() -> None:
    """Everybody is in a dense place here, as in a gallery where people have more records than lists have places."""
    rng = np.random.default_rng(0)
    person = rng.integers(60, size=3000)
    points = rng.normal(size=(60, 32))[person] + 0.5 * rng.normal(size=(3000, 32))
    points = torch.from_numpy((points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32))
    groups, limits = rng.integers(3, size=3000), limits_of(["a", "b", "a"] * 1000, lambda a, b: 0.6 if a == b else 0.7)
    everything = pairs_of(*among(points, np.arange(3000), groups, *limits))
    in_cells = pairs_of(nearest_within(points, (2, 4), groups, limits[0], limits[1] / 2, limits[1], MOST)[2])
    both_ways = [found | {(other, row) for row, other in found} for found in (everything, in_cells)]
    assert both_ways[1] <= both_ways[0]
    assert len(both_ways[1]) >= 0.98 * len(both_ways[0]) > 2500


def pairs_of(*parts: Pairs) -> set[tuple[int, int]]:
    return {pair for part in parts for pair in zip(part.row.tolist(), part.other.tolist(), strict=True)}


def test_in_cells_a_poster_stays_one_cluster() -> None:
    points, cameras, person = drawn(ALIKE)
    limits = {"farthest": lambda a, b: 0.9, "surely": lambda a, b: 0.6}
    labels = groups(camera_aware_similarity(points, cameras, within=2, across=4, cells_from=1, **limits))
    assert len(set(labels)) == len(set(zip(labels, person.tolist(), strict=True))) == PEOPLE + 1
