"""Similarities of neighbourhoods against slow readings of their definitions."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from reid_toolkit.errors import InputError
from reid_toolkit.method import neighbours
from reid_toolkit.method.neighbours import camera_aware_similarity, nearest, reciprocal_similarity


def descriptors(count: int, seed: int = 0, dimension: int = 8) -> NDArray[np.float32]:
    points = np.random.default_rng(seed).normal(size=(count, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def with_ties(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit rows of which many are equal and all distances are exact."""
    return (np.random.default_rng(seed).choice([-0.5, 0.5], size=(count, 4))).astype(np.float32)


def ranked(points: NDArray[np.float32], i: int, among: Sequence[int]) -> list[int]:
    """``among``, nearest to ``i`` first, of equals the first."""
    distances = np.square(points[i].astype(np.float64) - points.astype(np.float64)).sum(axis=1)
    return sorted((j for j in among if j != i), key=lambda j: (distances[j], j))


def mutual(lists: list[list[int]]) -> list[set[int]]:
    return [{j for j in each if i in lists[j]} | {i} for i, each in enumerate(lists)]


def jaccard(points: NDArray[np.float32], sets: list[set[int]], near: list[list[int]]) -> NDArray[np.float64]:
    """Weights, their averages over ``near``, and Σ min / Σ max of every two rows."""
    count = len(points)
    weights = np.zeros((count, count))
    for i, members in enumerate(sets):
        for j in members:
            weights[i, j] = np.exp(-np.square(points[i].astype(np.float64) - points[j]).sum())
        weights[i] /= weights[i].sum()
    rows = np.array([np.mean([weights[j] for j in each], axis=0) for each in near])
    return np.array([[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in rows] for a in rows])


def slow_camera_aware(
    points: NDArray[np.float32],
    cameras: Sequence[str | None],
    within: int,
    across: int,
    averaged: tuple[int, int],
    farthest: Callable[[str | None, str | None], float] = lambda a, b: np.inf,
) -> NDArray[np.float64]:
    every = range(len(points))

    def near_enough(i: int, listed: list[int]) -> list[int]:
        return [
            j for j in listed if j == i or np.linalg.norm(points[i] - points[j]) <= farthest(cameras[i], cameras[j])
        ]

    same = [[j for j in every if j == i or (cameras[i] and cameras[j] == cameras[i])] for i in every]
    own = [ranked(points, i, same[i]) for i in every]
    other = [ranked(points, i, [j for j in every if j not in same[i]]) for i in every]
    # Of the nearest, those that are too far are left out; no farther ones take their places.
    sets = [
        a | b
        for a, b in zip(
            mutual([near_enough(i, o[:within]) for i, o in enumerate(own)]),
            mutual([near_enough(i, o[:across]) for i, o in enumerate(other)]),
            strict=True,
        )
    ]
    near = [[i, *near_enough(i, own[i][: averaged[0] - 1]), *near_enough(i, other[i][: averaged[1]])] for i in every]
    return jaccard(points, sets, near)


def slow_reciprocal(points: NDArray[np.float32], number: int, averaged: int) -> NDArray[np.float64]:
    every = range(len(points))
    lists = [ranked(points, i, every) for i in every]
    whole = mutual([each[:number] for each in lists])
    half = mutual([each[: max(1, round(number / 2))] for each in lists])
    sets = [
        members.union(*(half[q] for q in members if len(half[q] & members) > 2 / 3 * len(half[q]))) for members in whole
    ]
    return jaccard(points, sets, [[i, *lists[i][: averaged - 1]] for i in every])


def names(count: int, cameras: int, seed: int = 0) -> list[str]:
    return [f"camera {c}" for c in np.random.default_rng(seed).integers(0, cameras, count)]


def check(found: sparse.csr_array, expected: NDArray[np.float64]) -> None:
    dense = found.toarray()
    np.testing.assert_allclose(dense, expected, atol=2e-7)
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(dense.diagonal(), 1)
    assert found.dtype == np.float32
    assert (found.data > 0).all()
    assert found.has_sorted_indices


@pytest.mark.parametrize("cameras", [1, 2, 5])
@pytest.mark.parametrize("draw", [descriptors, with_ties])
def test_camera_aware_similarity_is_its_definition(draw, cameras: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 7)  # many blocks, none of them full
    monkeypatch.setattr(neighbours, "COLUMNS", 11)
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    monkeypatch.setattr(neighbours, "PART", 40)
    points, seen_by = draw(60), names(60, cameras)
    found = camera_aware_similarity(points, seen_by, within=3, across=6, averaged=(2, 2))
    check(found, slow_camera_aware(points, seen_by, 3, 6, (2, 2)))


def test_neighbours_are_not_farther_than_they_may_be() -> None:
    points, seen_by = descriptors(60), [*names(40, 3), *[None] * 20]
    median = float(np.median(np.linalg.norm(points[:, None] - points, axis=2)))

    def farthest(a: str | None, b: str | None) -> float:
        return median * (0.7 if a == b else 0.9 if a and b else 1.1)

    found = camera_aware_similarity(points, seen_by, within=5, across=9, averaged=(2, 3), farthest=farthest)
    check(found, slow_camera_aware(points, seen_by, 5, 9, (2, 3), farthest))
    assert found.nnz < camera_aware_similarity(points, seen_by, within=5, across=9, averaged=(2, 3)).nnz


@pytest.mark.parametrize("draw", [descriptors, with_ties])
def test_reciprocal_similarity_is_its_definition(draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 7)
    monkeypatch.setattr(neighbours, "COLUMNS", 11)
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    monkeypatch.setattr(neighbours, "PART", 40)
    points = draw(60)
    check(reciprocal_similarity(points, neighbours=7, averaged=3), slow_reciprocal(points, 7, 3))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_samples_than_neighbours_are_all_taken(count: int) -> None:
    points, seen_by = descriptors(count), names(count, 2)
    check(camera_aware_similarity(points, seen_by), slow_camera_aware(points, seen_by, 5, 20, (3, 3)))
    check(reciprocal_similarity(points), slow_reciprocal(points, 20, 6))


def test_samples_without_a_camera_are_each_of_their_own() -> None:
    points = descriptors(40)
    unknown: list[str | None] = [None, "", *names(38, 2)]
    found = camera_aware_similarity(points, unknown, within=3, across=6)
    check(found, slow_camera_aware(points, unknown, 3, 6, (3, 3)))
    alone = camera_aware_similarity(points, [f"camera {i}" for i in range(40)], across=6)
    np.testing.assert_array_equal(alone.toarray(), camera_aware_similarity(points, [None] * 40, across=6).toarray())


def test_duplicates_are_wholly_similar_and_of_equals_the_first_are_neighbours() -> None:
    points = np.repeat(descriptors(6), 4, axis=0)
    (lists,) = nearest(torch.from_numpy(points), (3,))
    assert [sorted(row) for row in lists.tolist()] == [[j for j in range(4 * (i // 4), 4 * (i // 4) + 4) if j != i]
                                                       for i in range(24)]  # fmt: skip
    found = reciprocal_similarity(points, neighbours=3, averaged=1).toarray()
    np.testing.assert_array_equal(found, np.kron(np.eye(6), np.ones((4, 4))))


def test_the_order_of_storage_changes_nothing() -> None:
    points, seen_by = descriptors(200), names(200, 3)
    order = np.random.default_rng(5).permutation(200)
    shuffled = [seen_by[i] for i in order]
    whole = camera_aware_similarity(points, seen_by).toarray()
    np.testing.assert_allclose(camera_aware_similarity(points[order], shuffled).toarray(), whole[np.ix_(order, order)],
                               atol=1e-7)  # fmt: skip


def test_other_cameras_are_neighbours_that_a_camera_blind_search_misses() -> None:
    rng = np.random.default_rng(0)
    people, bias = rng.normal(size=(12, 16)), np.repeat(rng.normal(scale=3, size=(2, 16)), 48, axis=0)
    points = np.tile(np.repeat(people, 4, axis=0), (2, 1)) + bias + rng.normal(scale=0.3, size=(96, 16))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    person, seen_by = np.tile(np.repeat(np.arange(12), 4), 2), ["a"] * 48 + ["b"] * 48
    elsewhere = (person[:, None] == person) & (np.array(seen_by)[:, None] != np.array(seen_by))
    blind = reciprocal_similarity(points, neighbours=6)
    aware = camera_aware_similarity(points, seen_by, within=3, across=6)
    assert blind.toarray()[elsewhere].mean() < 0.02
    assert aware.toarray()[elsewhere].mean() > 0.2


@pytest.mark.parametrize(
    ("points", "cameras", "numbers", "message"),
    [
        (np.zeros((0, 4)), [], {}, r"descriptors are .*\(0, 4\): expected \(N, D\)"),
        (np.zeros(4), ["a"] * 4, {}, r"expected \(N, D\)"),
        (np.full((2, 4), np.nan), ["a", "b"], {}, r"sample 0 is not finite"),
        (np.ones((2, 4)), ["a"], {}, r"1 cameras for 2 samples"),
        (np.ones((2, 4)), ["a", "b"], {"within": 0}, r"within is 0: expected a whole number, at least 1"),
        (np.ones((2, 4)), ["a", "b"], {"across": 2.5}, r"across is 2.5"),
        (np.ones((2, 4)), ["a", "b"], {"averaged": (0, 1)}, r"averaged is 0"),
        (np.ones((2, 4)), ["a", "b"], {"averaged": (1, -1)}, r"averaged is -1: expected a whole number, at least 0"),
    ],
)
def test_wrong_arguments_are_named(points, cameras, numbers, message: str) -> None:
    with pytest.raises(InputError, match=message):
        camera_aware_similarity(points, cameras, **numbers)
