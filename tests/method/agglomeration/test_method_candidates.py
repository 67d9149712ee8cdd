"""The screens find every pair within a threshold, and no other."""

import numpy as np
import pytest
import torch
from merging_problems import ROOMY, blobs

from reid_toolkit.method.agglomeration.candidates import ExactScreen, MeanScreen, product_error
from reid_toolkit.method.agglomeration.clusters import Clusters
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage


def screened(x, labels, metric):
    clusters = Clusters(torch.as_tensor(labels))
    distances = ExactDistances(torch.from_numpy(x), metric)
    criterion = Criterion(0.1, 0.0, False, False, distances.unit)
    linkage = ClusterLinkage(distances, clusters, False, ROOMY)
    arguments = linkage, Dispersion(criterion, linkage), criterion, torch.empty(0, 2, dtype=torch.int64)
    return MeanScreen(*arguments), ExactScreen(*arguments)


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
def test_the_bounds_of_means_hold_at_every_threshold(metric, precision, scale):
    x = blobs(200, 32)
    x[50:90] = x[50] + 1e-4 * x[50:90]  # nearly equal samples, where float32 loses the most
    torch.set_float32_matmul_precision(precision)
    try:
        means, exact = screened(np.float32(scale) * x, np.arange(200) // 2, metric)
        truth = exact.lowest()
        assert bool((means.lowest() >= truth)[truth < torch.inf].all())
        for threshold in truth[truth < torch.inf].sort().values[[0, 3, 20, 60]].tolist():
            ours, theirs = (screen.edges(threshold, 10**6) for screen in (means, exact))
            pairs, expected = (sorted(zip(*(part.tolist() for part in edges), strict=True)) for edges in (ours, theirs))
            assert pairs == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_too_little_room_for_pairs_is_none_and_not_fewer_pairs():
    for screen in screened(blobs(60, 8), np.arange(60), "euclidean"):
        assert screen.edges(10.0, 60 * 59 // 2 - 1) is None
        assert len(screen.edges(10.0, 60 * 59 // 2).a) == 60 * 59 // 2


def test_a_precision_set_for_one_backend_widens_the_bounds():
    plain = product_error(512)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert product_error(512) > 2.0**-7 > plain
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert product_error(512) == plain
