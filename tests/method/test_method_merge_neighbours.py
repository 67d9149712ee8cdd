"""Merging on sparse similarities: the same merges as a slow reading of Eq. 3-8 on all pairs makes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from reid_toolkit.errors import InputError
from reid_toolkit.method.merging import merge_clusters, merge_neighbours


@dataclass(frozen=True)
class Problem:
    similarity: NDArray[np.float64]
    labels: list[int]
    until: float | None
    merges: int | None
    trade_off: float
    within: str
    cannot_link: list[tuple[int, int]]


def stepwise(problem: Problem) -> list[tuple[int, int, float]]:
    """Eq. 3-8 on the matrix of distances 1 - similarity: every sum anew for every pair and every merge."""
    similarity, printed, cost_of = problem.similarity, problem.within == "printed", problem.trade_off
    groups: dict[int, list[int]] = {}
    for sample, label in enumerate(problem.labels):
        groups.setdefault(label, []).append(sample)
    clusters = {min(members): members for members in groups.values()}
    merges = len(clusters) - 1 if problem.merges is None else problem.merges

    def distance(a: list[int], b: list[int]) -> float:
        return 1.0 - similarity[np.ix_(a, b)].sum() / (len(a) * len(b))

    within = {a: distance(m, m) * (len(m) if printed else 1) for a, m in clusters.items()}
    history: list[tuple[int, int, float]] = []
    while len(history) < merges:
        costs = []
        for a in clusters:
            for b in clusters:
                ends = clusters[a], clusters[b]
                if a >= b or any((min(i, j), max(i, j)) in problem.cannot_link for i in ends[0] for j in ends[1]):
                    continue
                between = distance(*ends)
                costs.append((between + cost_of * (within[a] + within[b]) if cost_of else between, a, b, between))
        if not costs or (problem.until is not None and min(costs)[0] > problem.until):
            break
        cost, a, b, between = min(costs)
        n, m = len(clusters[a]), len(clusters[b])
        clusters[a] = clusters[a] + clusters.pop(b)
        if printed:
            within[a] = (n * within[a] + m * within[b] + n * m * between) / (n + m + n * m)
        else:
            within[a] = distance(clusters[a], clusters[a])
        history.append((a, b, cost))
    return history


def solve(problem: Problem, **changed: object) -> list[tuple[int, int, float]]:
    arguments = {
        "until": problem.until, "merges": problem.merges, "trade_off": problem.trade_off, "within": problem.within,
        "cannot_link": np.array(problem.cannot_link, np.int64).reshape(-1, 2),
    }  # fmt: skip
    arguments |= changed
    return merge_neighbours(sparse.csr_array(problem.similarity), problem.labels, **arguments).history  # type: ignore[arg-type]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small ones with many ties: similarities of few values, many of them 0, are exact in floating point."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    count = draw(st.integers(2, 11))
    steps = draw(st.sampled_from([1, 2, 4, 64, 1024]))
    upper = rng.integers(0, steps + 1, (count, count)) / steps * (rng.random((count, count)) < rng.random())
    upper = np.triu(upper, 1)
    labels = rng.permutation(count) if draw(st.booleans()) else rng.integers(0, count, count)
    clusters = len(np.unique(labels))
    until = draw(st.sampled_from([None, 0.0, 0.25, 0.5, 0.8, 0.99]))
    merges = draw(st.integers(0, clusters - 1)) if until is None or draw(st.booleans()) else None
    chance = draw(st.sampled_from([0.0, 0.15]))
    apart = [
        (i, j) for i in range(count) for j in range(i + 1, count) if labels[i] != labels[j] and rng.random() < chance
    ]
    return Problem(
        upper + upper.T + np.eye(count), labels.tolist(), until, merges,
        draw(st.sampled_from([0.0, 0.1, 0.5, 2.0])), draw(st.sampled_from(["mean", "mean", "printed"])), apart,
    )  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(problems())
def test_every_merge_is_that_of_the_definition(problem: Problem) -> None:
    names = set(problem.labels)
    banned = {tuple(sorted((problem.labels[i], problem.labels[j]))) for i, j in problem.cannot_link}
    if problem.merges != 0 and banned and len(banned) == len(names) * (len(names) - 1) // 2:
        with pytest.raises(InputError, match="none can merge"):
            solve(problem)
        return
    assert solve(problem) == stepwise(problem)


def drawn(count: int, seed: int = 0) -> NDArray[np.float64]:
    """A similarity of ``count`` samples with about six neighbours each, no two of them equal."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((count, count)) * (rng.random((count, count)) < 6 / count), 1)
    return upper + upper.T + np.eye(count)


def test_merges_are_those_of_merge_clusters_where_distances_are_euclidean() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(40, 8))
    points *= 0.4 / np.linalg.norm(points, axis=1, keepdims=True)  # so that no distance passes 1
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    dense = merge_clusters(points, np.arange(40), 30)
    found = merge_neighbours(sparse.csr_array(1 - distances), np.arange(40), merges=30)
    assert [merge[:2] for merge in found.history] == [merge[:2] for merge in dense.history]
    assert [merge[2] for merge in found.history] == pytest.approx([merge[2] for merge in dense.history], abs=1e-6)
    np.testing.assert_array_equal(found.labels, dense.labels)


@pytest.mark.parametrize("trade_off", [0.0, 0.1])
def test_the_order_of_storage_changes_nothing(trade_off: float) -> None:
    similarity, order = drawn(300), np.random.default_rng(1).permutation(300)
    found = merge_neighbours(sparse.csr_array(similarity), np.arange(300), until=0.9, trade_off=trade_off)
    other = merge_neighbours(sparse.csr_array(similarity[np.ix_(order, order)]), np.arange(300), until=0.9,
                             trade_off=trade_off)  # fmt: skip
    moved = np.empty(300, np.int64)
    moved[order] = other.labels
    pairs = set(zip(found.labels.tolist(), moved.tolist(), strict=True))
    assert 50 < found.labels.max() + 1 < 250
    assert len(pairs) == found.labels.max() + 1 == other.labels.max() + 1
    assert [cost for *_, cost in found.history] == [cost for *_, cost in other.history]


def test_equal_costs_go_to_the_smallest_members() -> None:
    chain = sparse.csr_array(np.eye(6) + 0.5 * np.eye(6, k=1) + 0.5 * np.eye(6, k=-1))
    assert [merge[:2] for merge in merge_neighbours(chain, np.arange(6), until=0.5, trade_off=0).history] == [
        (0, 1), (2, 3), (4, 5),
    ]  # fmt: skip


def test_the_within_term_changes_the_partition() -> None:
    plain = merge_neighbours(sparse.csr_array(drawn(200)), np.arange(200), until=0.8, trade_off=0.0)
    spread = merge_neighbours(sparse.csr_array(drawn(200)), np.arange(200), until=0.8, trade_off=0.5)
    assert plain.labels.max() < spread.labels.max()


def test_a_merged_cluster_inherits_what_its_parts_may_not_join() -> None:
    similarity = np.array([[1, 0.9, 0.8], [0.9, 1, 0.7], [0.8, 0.7, 1]])
    found = merge_neighbours(sparse.csr_array(similarity), np.arange(3), until=0.9, cannot_link=[(1, 2)])
    assert found.labels.tolist() == [0, 0, 1]


def test_without_until_what_shares_nothing_merges_last() -> None:
    similarity = sparse.csr_array(sparse.block_array([[np.full((2, 2), 1.0), None], [None, np.full((2, 2), 1.0)]]))
    found = merge_neighbours(similarity, np.arange(4), merges=3)
    assert found.history == [(0, 1, 0.0), (2, 3, 0.0), (0, 2, 1.0)]


def test_samples_that_share_nothing_stay_alone() -> None:
    found = merge_neighbours(sparse.eye_array(5, format="csr"), np.arange(5), until=0.99)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    assert found.history == []


def test_labels_come_back_as_they_were_given() -> None:
    similarity = sparse.coo_array(drawn(10))
    assert isinstance(merge_neighbours(similarity, torch.arange(10), until=0.5).labels, torch.Tensor)
    assert isinstance(merge_neighbours(similarity, np.arange(10), until=0.5).labels, np.ndarray)


def test_rounding_of_a_similarity_is_forgiven() -> None:
    similarity = drawn(50)
    rough = similarity * (1 + 1e-7 * np.random.default_rng(0).uniform(-1, 1, (50, 50)))
    exact = merge_neighbours(sparse.csr_array(similarity), np.arange(50), until=0.8)
    assert merge_neighbours(sparse.csr_array(rough), np.arange(50), until=0.8).labels.tolist() == exact.labels.tolist()


UNEVEN = np.array([[1, 0.5], [0.4, 1]])


@pytest.mark.parametrize(
    ("similarity", "changed", "message"),
    [
        (UNEVEN, {}, r"not symmetric: 0.5 for samples 0 and 1, 0.4 for 1 and 0"),
        (np.array([[1, 1.5], [1.5, 1]]), {}, r"samples 0 and 1 is 1.5: expected 0 to 1"),
        (np.array([[1, -0.5], [-0.5, 1]]), {}, r"is -0.5: expected 0 to 1"),
        (np.array([[1, np.nan], [np.nan, 1]]), {}, r"is nan: expected 0 to 1"),
        (np.array([[0.5, 0.1], [0.1, 1]]), {}, r"sample 0 with itself is 0.5: expected 1"),
        (np.ones((2, 3)), {}, r"expected a square \(N, N\) scipy.sparse array"),
        (np.eye(2), {"until": 1.0}, r"until is 1.0: expected at least 0 and under 1"),
        (np.eye(2), {"until": -0.1}, r"until is -0.1"),
        (np.eye(2), {"until": float("nan")}, r"until is nan"),
        (np.eye(2), {"until": None}, r"neither until nor merges is given"),
        (np.eye(2), {"merges": 2}, r"merges is 2: expected 0 to 1 for 2 clusters"),
        (np.eye(2), {"merges": 0.5}, r"merges is 0.5"),
        (np.eye(2), {"trade_off": -1.0}, r"trade_off is -1.0"),
        (np.eye(2), {"within": "median"}, r"within is 'median'"),
        (np.eye(2), {"cannot_link": [(0, 2)]}, r"names samples outside 0..1"),
        (np.eye(3), {}, r"labels have shape \(2,\): expected \(3,\)"),
    ],
)
def test_wrong_arguments_are_named(similarity: NDArray[np.float64], changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        merge_neighbours(sparse.csr_array(similarity), np.arange(2), **{"until": 0.5, **changed})  # type: ignore[arg-type]


def test_a_dense_similarity_is_refused() -> None:
    with pytest.raises(InputError, match="expected a square"):
        merge_neighbours(np.eye(3), np.arange(3), until=0.5)  # type: ignore[arg-type]


def test_a_zero_that_is_stored_is_no_similarity() -> None:
    similarity = sparse.csr_array(drawn(60))
    pairs = np.argwhere(similarity.toarray() == 0)[:200]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    zeros = sparse.coo_array((np.full(len(both), 1e-9), both.T), shape=similarity.shape)
    stored = sparse.csr_array(similarity + zeros)
    stored.data[stored.data < 1e-8] = 0
    assert stored.nnz > similarity.nnz
    for arguments in ({"until": 0.9}, {"merges": 59}):
        plain = merge_neighbours(similarity, np.arange(60), **arguments)  # type: ignore[arg-type]
        assert merge_neighbours(stored, np.arange(60), **arguments).history == plain.history  # type: ignore[arg-type]


@pytest.mark.parametrize("until", [0.9, None])
def test_marks_keep_known_groups_apart_as_pairs_do(until: float | None) -> None:
    similarity = sparse.csr_array(drawn(80))
    marks = np.where(np.arange(80) % 3, -1, np.arange(80) % 7)
    pairs = [(i, j) for i in range(80) for j in range(i) if marks[i] != marks[j] and min(marks[i], marks[j]) >= 0]
    how = {"until": until, "merges": 60 if until is None else None}
    marked = merge_neighbours(similarity, range(80), marks=marks, **how)  # type: ignore[arg-type]
    paired = merge_neighbours(similarity, range(80), cannot_link=pairs, **how)  # type: ignore[arg-type]
    assert marked.history == paired.history != merge_neighbours(similarity, range(80), **how).history  # type: ignore[arg-type]


def test_marks_of_another_shape_are_refused() -> None:
    for marks in ([0, 1], [0.5] * 3):
        with pytest.raises(InputError, match=r"expected \(3,\) integers"):
            merge_neighbours(sparse.csr_array(np.eye(3)), range(3), until=0.5, marks=marks)
