"""merge_clusters against the definitions, evaluated anew for every merge by the slowest obvious code."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from reid_toolkit.errors import InputError
from reid_toolkit.method.merging import merge_clusters

TIE = 1e-6


def brute_force_cost(a, b, x, within_of, *, trade_off, linkage, metric, size_weight):
    """Eq. 5 from Eq. 4 for clusters given as member lists."""
    distances = np.linalg.norm(x[a][:, None] - x[b][None], axis=2)
    if metric == "squared_euclidean":
        distances = distances**2
    between = distances.mean() if linkage == "average" else distances.min()
    return between + trade_off * (within_of[a[0]] + within_of[b[0]]) + size_weight * (len(a) + len(b))


def brute_force_within(a, x, within, metric):
    """Eq. 3."""
    distances = np.linalg.norm(x[a][:, None] - x[a][None], axis=2)
    if metric == "squared_euclidean":
        distances = distances**2
    return distances.sum() / (len(a) ** 2 if within == "mean" else len(a))


def follow(x, labels, history, *, merges, trade_off=0.1, within="mean", linkage="average",
           metric="euclidean", size_weight=0.0, cannot_link=()):  # fmt: skip
    """Check every merge of ``history`` against all pairs of clusters there were; returns the final clusters.

    A merge is right when its cost is the least, up to rounding; where several pairs are that cheap, brute
    force cannot tell (its own rounding breaks true ties), so the tie rule has tests of its own.
    """
    x = np.asarray(x, dtype=np.float64)
    scale = max(1.0, float(np.abs(x).max())) ** (2 if metric == "squared_euclidean" else 1)
    groups = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    clusters = {members[0]: members for members in groups.values()}
    within_of = {c: brute_force_within(m, x, within, metric) for c, m in clusters.items()}
    options = {"trade_off": trade_off, "linkage": linkage, "metric": metric, "size_weight": size_weight}
    separate = {frozenset(pair) for pair in cannot_link}
    for a, b, cost in history:
        costs = {
            (p, q): brute_force_cost(clusters[p], clusters[q], x, within_of, **options)
            for p, q in itertools.combinations(sorted(clusters), 2)
            if not any(frozenset((i, j)) in separate for i in clusters[p] for j in clusters[q])
        }
        assert (a, b) in costs
        assert costs[a, b] == pytest.approx(cost, abs=TIE * scale)
        assert cost <= min(costs.values()) + TIE * scale
        n_a, n_b = len(clusters[a]), len(clusters[b])
        if within == "printed":
            pair = brute_force_cost(
                clusters[a], clusters[b], x, within_of,
                trade_off=0, linkage="average", metric=metric, size_weight=0,
            )  # fmt: skip
            total = n_a * within_of[a] + n_b * within_of[b] + n_a * n_b * pair
            within_of[a] = total / (n_a + n_b + n_a * n_b)
        clusters[a] = sorted(clusters[a] + clusters.pop(b))
        if within == "mean":
            within_of[a] = brute_force_within(clusters[a], x, within, metric)
    if len(history) < merges:
        assert all(
            any(frozenset((i, j)) in separate for i in clusters[p] for j in clusters[q])
            for p, q in itertools.combinations(clusters, 2)
        )
    return clusters


def numbered(clusters, count):
    """Eq. 8 for clusters named by their smallest members."""
    labels = np.empty(count, dtype=np.int64)
    for number, first in enumerate(sorted(clusters)):
        labels[clusters[first]] = number
    return labels


@st.composite
def problems(draw):
    """Small problems of every kind: continuous, duplicates, on a lattice, clustered beforehand or not."""
    n = draw(st.integers(2, 12))
    d = draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "sphere", "lattice", "duplicates", "identical"]))
    x = generator.standard_normal((n, d))
    if kind == "sphere":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    elif kind == "lattice":
        x = generator.integers(0, 3, (n, d)).astype(float)
    elif kind == "duplicates":
        x = x[generator.integers(0, max(1, n // 2), n)]
    elif kind == "identical":
        x = np.repeat(x[:1], n, axis=0)
    start = draw(st.sampled_from(["singletons", "some", "giant"]))
    labels = generator.permutation(n)
    if start == "some":
        labels = generator.integers(-5, 5, n)
    elif start == "giant":
        labels = np.where(np.arange(n) < n // 2, 99, labels)
    count = len(set(labels.tolist()))
    merges = draw(st.integers(0, count - 1))
    options = {
        "trade_off": draw(st.sampled_from([0.0, 0.1, 0.5, 3.0])),
        "within": draw(st.sampled_from(["mean", "printed"])),
        "linkage": draw(st.sampled_from(["average", "minimum"])),
        "metric": draw(st.sampled_from(["euclidean", "squared_euclidean"])),
        "size_weight": draw(st.sampled_from([0.0, 0.0, 0.05])),
    }
    pairs = generator.integers(0, n, (draw(st.integers(0, 6)), 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    distinct = {tuple(sorted((labels[i], labels[j]))) for i, j in pairs}
    if len(distinct) < count * (count - 1) // 2:
        options["cannot_link"] = pairs
    return x.astype(np.float32), labels, merges, options


@given(problems())
def test_every_merge_is_the_cheapest_by_the_definitions(problem):
    x, labels, merges, options = problem
    result = merge_clusters(x, labels, merges, **options)
    assert len(result.history) <= merges
    clusters = follow(x, labels, result.history, merges=merges, **options)
    assert result.labels.dtype == np.int64
    assert result.labels.tolist() == numbered(clusters, len(x)).tolist()


def sphere(n, d, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("linkage", "method"), [("average", "average"), ("minimum", "single")])
def test_without_a_within_term_it_is_scipys_linkage(linkage, method):
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    x = sphere(150, 16)
    tree = hierarchy.linkage(x.astype(np.float64), method)
    result = merge_clusters(x, np.arange(150), 149, trade_off=0.0, linkage=linkage)
    assert [cost for _, _, cost in result.history] == pytest.approx(tree[:, 2].tolist(), abs=1e-6)
    for merges in (10, 75, 140):
        ours = merge_clusters(x, np.arange(150), merges, trade_off=0.0, linkage=linkage).labels
        theirs = hierarchy.fcluster(tree, 150 - merges, "maxclust")
        assert partition(ours) == partition(theirs)


def partition(labels):
    groups = {}
    for i, label in enumerate(np.asarray(labels).tolist()):
        groups.setdefault(label, set()).add(i)
    return {frozenset(group) for group in groups.values()}


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("linkage", ["average", "minimum"])
@pytest.mark.parametrize("within", ["mean", "printed"])
def test_storage_order_changes_no_merge(metric, linkage, within):
    x, labels = sphere(60, 8), np.arange(60) // 2
    order = np.random.default_rng(1).permutation(60)
    options = {"metric": metric, "linkage": linkage, "within": within, "trade_off": 0.3}
    plain = merge_clusters(x, labels, 20, **options)
    shuffled = merge_clusters(x[order], labels[order], 20, **options)
    assert [cost for *_, cost in plain.history] == [cost for *_, cost in shuffled.history]
    back = np.empty(60, dtype=np.int64)
    back[order] = shuffled.labels
    assert partition(plain.labels) == partition(back)


def test_the_trade_off_changes_the_partition():
    # A loose pair lies a little nearer to sample 2 than samples 3 and 4 lie to each other.
    x = np.array([[-0.5], [0.5], [2.0], [10.0], [12.1]], dtype=np.float32)
    assert merge_clusters(x, [0, 0, 1, 2, 3], 1, trade_off=0.0).history[0][:2] == (0, 2)
    assert merge_clusters(x, [0, 0, 1, 2, 3], 1, trade_off=3.0).history[0][:2] == (3, 4)


def test_ties_go_to_the_smallest_member_indices():
    x = np.zeros((6, 2), dtype=np.float32)
    history = merge_clusters(x, [5, 3, 3, 1, 0, 2], 4).history
    assert history == [(0, 1, 0.0), (0, 3, 0.0), (0, 4, 0.0), (0, 5, 0.0)]
    corners = np.array([[0, 0], [9, 0], [0, 1], [9, 1]], dtype=np.float32)
    assert [pair[:2] for pair in merge_clusters(corners, [3, 2, 1, 0], 3).history] == [(0, 2), (1, 3), (0, 1)]


def test_a_tie_that_a_merge_makes_goes_to_the_smallest_too():
    # After (2, 3) merges, its mean distance to 1 equals that of 0 to 1, bit for bit.
    x = np.array([[-2.0], [0.0], [2.0], [2.0], [50.0]], dtype=np.float32)
    assert [pair[:2] for pair in merge_clusters(x, range(5), 3).history] == [(2, 3), (0, 1), (0, 2)]


def test_a_shorter_stage_is_the_beginning_of_a_longer_one():
    x = sphere(80, 8)
    long = merge_clusters(x, np.arange(80), 70)
    assert merge_clusters(x, np.arange(80), 30).history == long.history[:30]


def test_labels_come_back_as_the_kind_that_features_came():
    x = sphere(6, 3)
    assert isinstance(merge_clusters(x, range(6), 2).labels, np.ndarray)
    tensors = merge_clusters(torch.from_numpy(x), torch.arange(6), 2)
    assert isinstance(tensors.labels, torch.Tensor)
    assert tensors.labels.dtype == torch.int64


def test_features_may_be_read_only_and_of_any_number_type():
    x = np.array([[0, 0], [9, 0], [0, 1]])
    expected = merge_clusters(x.astype(np.float32), range(3), 2).history
    frozen = x.astype(np.float32)
    frozen.flags.writeable = False
    for features in (x, x.astype(np.float16), x.astype(np.float64)[:, ::-1], torch.tensor(x), frozen):
        assert merge_clusters(features, range(3), np.int64(2)).history == expected
    watched = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    assert merge_clusters(watched, range(3), 2).history == expected


def test_no_merge_only_renumbers_by_smallest_member():
    assert merge_clusters(sphere(5, 3), [7, -2, 7, 9, -2], 0).labels.tolist() == [0, 1, 0, 2, 1]


def test_cannot_link_is_inherited_by_merged_clusters():
    x = np.array([[0.0], [1.0], [2.1], [9.0]], dtype=np.float32)
    result = merge_clusters(x, range(4), 2, cannot_link=[(2, 0)])
    assert [pair[:2] for pair in result.history] == [(0, 1), (2, 3)]


def test_cannot_link_that_leaves_no_pair_ends_the_stage_early():
    x = np.array([[0.0], [1.0], [5.0], [7.0]], dtype=np.float32)
    result = merge_clusters(x, range(4), 3, cannot_link=[(0, 2), (1, 3)])
    assert [pair[:2] for pair in result.history] == [(0, 1), (2, 3)]
    assert result.labels.tolist() == [0, 0, 1, 1]


GOOD = {"features": sphere(4, 3), "labels": [0, 1, 2, 3], "merges": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"features": np.array([[0.0], [np.nan], [1.0], [2.0]], dtype=np.float32)},
            "sample 1 are not finite",
        ),
        ({"features": np.array([[0.0], [1.0], [np.inf], [2.0]])}, "sample 2 are not finite"),
        ({"features": np.zeros(4)}, "shape"),
        ({"features": np.zeros((0, 3)), "labels": []}, "shape"),
        ({"labels": [0, 1, 2]}, "labels have shape"),
        ({"labels": [0.0, 1.0, 2.0, 3.0]}, "expected integers"),
        ({"merges": 4}, "merges is 4: expected 0 to 3"),
        ({"merges": -1}, "merges is -1"),
        ({"merges": 1.5}, "merges is 1.5"),
        ({"features": np.array([["a"], ["b"], ["c"], ["d"]])}, "expected numbers"),
        ({"features": np.ones((4, 2)) * 1j}, "expected real numbers"),
        ({"device": "cuda:99"}, "device cuda:99 cannot be used"),
        ({"max_memory": 10}, "max_memory is 10 bytes"),
        ({"labels": [0, 0, 1, 1]}, "merges is 2: expected 0 to 1"),
        ({"within": "median"}, "within is 'median'"),
        ({"linkage": "ward"}, "linkage is 'ward'"),
        ({"metric": "cosine"}, "metric is 'cosine'"),
        ({"trade_off": -0.1}, "trade_off is -0.1"),
        ({"trade_off": float("nan")}, "trade_off is nan"),
        ({"size_weight": float("inf")}, "size_weight is inf"),
        ({"cannot_link": [(0, 4)]}, "outside 0..3"),
        ({"cannot_link": [(0, 1, 2)]}, "sample indices"),
        ({"cannot_link": [(1, 1)]}, "samples 1 and 1"),
        ({"labels": [0, 1, 1, 2], "merges": 1, "cannot_link": [(2, 1)]}, "samples 2 and 1"),
        ({"cannot_link": [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]}, "every two of the 4 clusters"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(InputError, match=message):
        merge_clusters(**(GOOD | wrong))
