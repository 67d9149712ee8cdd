"""Whole-number distances: near the real ones, and the same in blocks of every size."""

import numpy as np
import pytest
import torch

from reid_toolkit.errors import InputError
from reid_toolkit.method.agglomeration.distances import ExactDistances


def sphere(n, d, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(x)


@pytest.mark.parametrize("scale", [1.0, 3e-12, 7e10])
@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
def test_the_error_is_within_the_bound_of_the_docs(scale, metric):
    x = scale * sphere(50, 33)
    x[7] = x[3] + 1e-5 * x[9]
    distances = ExactDistances(x, metric)
    every = torch.arange(50)
    ours = distances.block(every, every).double() * distances.unit
    truth = (x.double()[:, None] - x.double()[None]).norm(dim=2)
    margin = distances.grid * 33**0.5
    if metric == "squared_euclidean":
        truth, margin = truth.square(), 2 * margin * float(truth.max()) + margin**2
    assert float((ours - truth).abs().max()) <= margin + distances.unit


def test_blocks_pairs_and_neighbours_change_no_bit():
    x = sphere(64, 40)
    distances = ExactDistances(x, "euclidean")
    every = torch.arange(64)
    whole = distances.block(every, every)
    assert torch.equal(whole, whole.T)
    for width in (1, 7, 64):
        parts = [distances.block(every, part) for part in every.split(width)]
        assert torch.equal(whole, torch.cat(parts, dim=1))
    rows, columns = torch.triu_indices(64, 64)
    assert torch.equal(whole[rows, columns], distances.paired(rows, columns))


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
def test_only_equal_samples_are_at_distance_0(metric):
    x = sphere(5, 3)
    grid = ExactDistances(x, metric).grid
    x[1] = x[0]
    x[2] = x[0]
    x[2, 1] += 2 * grid
    distances = ExactDistances(x, metric)
    equal = distances.block(torch.arange(3), torch.arange(3)) == 0
    assert equal.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("count", [2, 3, 1000, 16522, 1_000_000])
def test_no_sum_can_overflow(metric, count):
    x = torch.zeros(1, 2).expand(count, 2).clone()
    x[0], x[1] = torch.tensor([1.189, 0.0]), torch.tensor([-1.189, 0.0])  # the largest norms for their grid
    distances = ExactDistances(x, metric)
    farthest = int(distances.paired(torch.tensor([0]), torch.tensor([1])))
    assert farthest * count**2 < 2**62
    assert farthest * distances.unit == pytest.approx(2.378 if metric == "euclidean" else 2.378**2, rel=1e-5)


def test_numbers_too_large_to_square_are_named():
    with pytest.raises(InputError, match="sample 0 are not finite"):
        ExactDistances(torch.from_numpy(np.full((2, 2), 1e200)), "euclidean")


def test_all_zero_features_are_all_equal():
    distances = ExactDistances(torch.zeros(3, 2), "euclidean")
    assert int(distances.block(torch.arange(3), torch.arange(3)).sum()) == 0
