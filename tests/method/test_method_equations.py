"""Eq. 2-8 against slow, obvious versions and against each other."""

import math

import pytest
import torch

from reid_toolkit.method import equations


@pytest.fixture
def samples():
    return torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_repelled_loss_is_the_mean_of_minus_log_probability(samples):
    features, table = torch.nn.functional.normalize(samples[:3]), torch.nn.functional.normalize(samples[3:])
    labels = [5, 0, 2]
    expected = 0.0
    for v, y in zip(features, labels, strict=True):
        powers = [math.exp(float(row @ v) / 0.1) for row in table]
        expected -= math.log(powers[y] / sum(powers)) / 3
    loss = equations.repelled_loss(features, torch.tensor(labels), table, 0.1)
    assert float(loss) == pytest.approx(expected)
    probabilities = equations.repelled_log_probabilities(features, table, 0.1).exp()
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("power", [1, 2])
def test_dispersions_are_loops_over_pairs(samples, power):
    metric = "euclidean" if power == 1 else "squared_euclidean"
    a, b = samples[:4], samples[4:]

    def total(p, q):
        return sum(float((i - j).norm()) ** power for i in p for j in q)

    assert float(equations.within_dispersion(a, "mean", metric)) == pytest.approx(total(a, a) / 16)
    assert float(equations.within_dispersion(a, "printed", metric)) == pytest.approx(total(a, a) / 4)
    assert float(equations.between_dispersion(a, b, metric)) == pytest.approx(total(a, b) / 20)


def test_one_sample_has_no_dispersion(samples):
    assert float(equations.within_dispersion(samples[:1])) == 0
    assert float(equations.within_dispersion(samples[:1], "printed")) == 0


def test_eq_6_is_exact(samples):
    a, b, s = samples[:2], samples[2:5], samples[5:]
    updated = equations.merged_between(
        equations.between_dispersion(a, s),
        equations.between_dispersion(b, s),
        torch.tensor(2.0),
        torch.tensor(3.0),
    )
    assert float(updated) == pytest.approx(float(equations.between_dispersion(samples[:5], s)))


def test_the_update_of_eq_7_that_we_use_is_exact(samples):
    a, b = samples[:2], samples[2:7]
    updated = equations.merged_within(
        float(equations.within_dispersion(a)),
        float(equations.within_dispersion(b)),
        float(equations.between_dispersion(a, b)),
        2.0,
        5.0,
    )
    assert updated == pytest.approx(float(equations.within_dispersion(samples[:7])))


def test_eq_3_and_eq_7_as_printed_cannot_both_hold():
    pair = torch.tensor([[0.0], [6.0]], dtype=torch.float64)
    assert float(equations.within_dispersion(pair, "printed")) == 6.0
    assert equations.merged_within_printed(0.0, 0.0, 6.0, 1.0, 1.0) == 2.0
    assert float(equations.within_dispersion(pair, "mean")) == 3.0
    assert equations.merged_within(0.0, 0.0, 6.0, 1.0, 1.0) == 3.0


def test_eq_5_and_eq_8():
    assert equations.merging_cost(2.0, 0.5, 1.5, 0.1) == pytest.approx(2.2)
    assert equations.labels_of_clusters([[0, 3], [2], [1, 4]]).tolist() == [0, 2, 1, 0, 2]
