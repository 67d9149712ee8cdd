"""The paths without the whole matrix do the very merges that the matrix does, bit for bit."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from merging_problems import ROOMY, blobs

from reid_toolkit.errors import InputError
from reid_toolkit.method import merging
from reid_toolkit.method.agglomeration import bounded
from reid_toolkit.method.agglomeration.memory import Plan, plan_memory
from reid_toolkit.method.merging import merge_clusters


def merge_with(plan, *arguments, **options):
    """merge_clusters, told how to divide its memory."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (merging, bounded):
            patch.setattr(module, "plan_memory", lambda *_: plan)
        return merge_clusters(*arguments, **options)


@st.composite
def problems(draw):
    n = draw(st.integers(2, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "blobs", "lattice", "duplicates", "identical", "tiny"]))
    x = generator.standard_normal((n, draw(st.integers(1, 6))))
    if kind == "blobs":
        x = x[generator.integers(0, 1 + n // 4, n)] + 0.05 * x
    elif kind == "lattice":
        x = generator.integers(0, 3, x.shape).astype(float)
    elif kind == "duplicates":
        x = x[generator.integers(0, 1 + n // 3, n)]
    elif kind == "identical":
        x = np.repeat(x[:1], n, axis=0)
    elif kind == "tiny":
        x = x * 1e-30
    labels = draw(st.sampled_from([np.arange(n), np.arange(n) // 2, generator.integers(0, n, n) // 2]))
    count = len(np.unique(labels))
    pairs = generator.integers(0, n, (draw(st.integers(0, 20)), 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    distinct = {tuple(sorted((labels[i], labels[j]))) for i, j in pairs}
    options = {
        "trade_off": draw(st.sampled_from([0.0, 0.1, 2.0])),
        "within": draw(st.sampled_from(["mean", "printed"])),
        "linkage": draw(st.sampled_from(["average", "average", "minimum"])),
        "metric": draw(st.sampled_from(["euclidean", "squared_euclidean"])),
        "size_weight": draw(st.sampled_from([0.0, 0.0, 0.02])),
        "cannot_link": pairs if len(distinct) < count * (count - 1) // 2 else None,
    }
    return x.astype(np.float32), labels, draw(st.integers(0, count - 1)), options


@given(
    problem=problems(),
    block=st.sampled_from([2, 5, 64]),
    entries=st.sampled_from([1, 30, 10**5]),
    pairs=st.sampled_from([1, 4, 20, 10**6]),
    means=st.booleans(),
)
def test_every_path_does_the_same_merges(problem, block, entries, pairs, means):
    x, labels, merges, options = problem
    expected = merge_clusters(x, labels, merges, **options)
    for dense in (True, False):
        result = merge_with(Plan(dense, block, entries, entries, pairs, means), x, labels, merges, **options)
        assert result.history == expected.history
        assert result.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("linkage", ["average", "minimum"])
def test_a_memory_limit_changes_nothing(metric, linkage):
    x = blobs(700, 16)
    labels = np.arange(700) // 2
    limit = 900_000
    assert not plan_memory(350, 16, torch.device("cpu"), limit).dense
    options = {"metric": metric, "linkage": linkage}
    expected = merge_clusters(x, labels, 120, **options)
    assert merge_clusters(x, labels, 120, max_memory=limit, **options).history == expected.history


def test_a_limit_below_one_block_is_refused():
    with pytest.raises(InputError, match="max_memory is 1000 bytes: expected at least"):
        merge_clusters(blobs(16, 4), range(16), 2, max_memory=1000)


def test_one_giant_cluster_among_many_single_samples():
    x = blobs(150, 8)
    labels = np.where(np.arange(150) < 70, 0, np.arange(150))
    expected = merge_clusters(x, labels, 60)
    assert merge_with(ROOMY, x, labels, 60).history == expected.history


@pytest.mark.parametrize("linkage", ["average", "minimum"])
def test_what_the_cpu_merges_for_a_gpu_is_told_to_it(linkage, monkeypatch):
    """As where ``Tensor.cpu`` copies: rounds of few pairs, each of which begins from what the last one left."""
    few = Plan(dense=False, block_size=64, entries=4096, scanned=1024, pairs=60, means=True)
    x, options = blobs(300, 16), {"linkage": linkage, "trade_off": 0.5}
    expected = merge_clusters(x, np.arange(300), 250, **options).history
    copies = []

    def copied(tensor):
        copies.append(tensor.data_ptr())
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "cpu", copied)
    assert merge_with(few, x, np.arange(300), 250, **options).history == expected
    assert len(copies) > 100  # of several rounds


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("linkage", ["average", "minimum"])
def test_a_gpu_does_the_same_merges(linkage):
    x = blobs(700, 16)
    expected = merge_clusters(x, np.arange(700), 200, linkage=linkage, device="cpu").history
    assert merge_clusters(x, np.arange(700), 200, linkage=linkage, device="cuda").history == expected
    assert merge_with(ROOMY, x, np.arange(700), 200, linkage=linkage, device="cuda").history == expected
