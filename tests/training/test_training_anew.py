"""Clusters made anew for each round: on drawn descriptors of people whom two cameras see under a bias of their own."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, RoundsRecipe
from reid_toolkit.errors import RunError
from reid_toolkit.method.neighbours import reciprocal_similarity
from reid_toolkit.training.batches import draw_clusters
from reid_toolkit.training.clustering import Rounds, balance, by_density, numbers
from reid_toolkit.training.features import Features
from reid_toolkit.training.schedule import learning_rate, plan

CPU = torch.device("cpu")
RECIPE = Recipe(
    network=NetworkRecipe(weights="none"),
    rounds=RoundsRecipe(count=3, steps=2, cameras_from=1, neighbours=5, within=4, across=5, smallest=4),
)
PEOPLE, EACH = 12, 5


def seen(bias: float = 1.0, cameras: int = 2) -> tuple[Features, list[str], Tensor]:
    """Features of people, each seen EACH times by every camera; the cameras' names, and who it is."""
    chance = torch.Generator().manual_seed(0)
    who = F.normalize(torch.randn(PEOPLE, 1, 1, 32, generator=chance), dim=3)
    shift = bias * F.normalize(torch.randn(1, cameras, 1, 32, generator=chance), dim=3)
    rows = who + shift + 0.16 * torch.randn(PEOPLE, cameras, EACH, 32, generator=chance)
    descriptors = F.normalize(rows.flatten(0, 2))
    names = [chr(ord("a") + camera) for _ in range(PEOPLE) for camera in range(cameras) for _ in range(EACH)]
    who_is = torch.arange(PEOPLE).repeat_interleave(cameras * EACH)
    return Features(descriptors, descriptors, torch.stack([descriptors, descriptors])), names, who_is


def anew(cameras: Sequence[str], recipe: Recipe = RECIPE, pairs: NDArray[np.int64] | None = None) -> Rounds:
    return Rounds(plan(recipe, len(cameras)), tuple(cameras), pairs, recipe, CPU)


def changed(**rounds: object) -> Recipe:
    return replace(RECIPE, rounds=replace(RECIPE.rounds, **rounds))


def together(labels: Tensor) -> set[tuple[int, int]]:
    """Pairs of samples in one cluster."""
    return {(a, b) for a, b in combinations(range(len(labels)), 2) if labels[a] == labels[b]}


def check_labels(labels: Tensor, count: int) -> None:
    assert labels.shape == (count,)
    assert sorted(labels.unique().tolist()) == list(range(int(labels.max()) + 1))


def test_clusters_cross_cameras_from_the_round_that_looks_at_them() -> None:
    features, cameras, who = seen()
    rounds, crossing, right = anew(cameras), {}, {}
    for number in (0, 1, 2):
        labels = rounds.cluster(number, features)
        check_labels(labels, len(cameras))
        pairs = together(labels)
        crossing[number] = sum(cameras[a] != cameras[b] for a, b in pairs) / len(pairs)
        right[number] = sum(bool(who[a] == who[b]) for a, b in pairs) / len(pairs)
    assert crossing[0] < 0.05
    assert crossing[1] > 0.4
    assert crossing[1] == crossing[2]
    assert min(right.values()) > 0.9


def test_the_threshold_is_that_of_the_kind_of_round() -> None:
    features, cameras, _ = seen()
    for setting, number in (("until_before_cameras", 0), ("until", 1)):
        counts = [
            int(anew(cameras, changed(**{setting: until})).cluster(number, features).max())
            for until in (0.0, 0.5, 0.95)
        ]
        assert counts[0] > counts[1] > counts[2]
        other = anew(cameras, changed(**{setting: 0.95})).cluster(1 - number, features)
        assert torch.equal(other, anew(cameras).cluster(1 - number, features))


@pytest.mark.parametrize("number", [0, 1])
def test_samples_that_must_not_meet_do_not(number: int) -> None:
    features, cameras, _ = seen()
    free = together(anew(cameras).cluster(number, features))
    forbidden = np.array(sorted(free)[::7])
    kept = together(anew(cameras, pairs=forbidden).cluster(number, features))
    assert not kept & {tuple(pair) for pair in forbidden.tolist()}
    assert len(kept) > len(free) / 10  # and not by merging nothing
    every = np.array(list(combinations(range(len(cameras)), 2)))
    assert anew(cameras, pairs=every).cluster(number, features).tolist() == list(range(len(cameras)))


def test_clusters_of_few_samples_are_left_out_of_a_round_and_may_be_back_in_the_next() -> None:
    features, cameras, _ = seen()
    rounds = anew(cameras)
    labels = torch.tensor([7] * 4 + [0] * 3 + [2] * 5 + [5] + [1] * 3 + [3] * 2 + [4] + [6] * (len(cameras) - 19))
    classes = rounds.targets(0, labels).classes
    assert classes.tolist() == [2] * 4 + [-1] * 3 + [0] * 5 + [-1] * 7 + [1] * (len(cameras) - 19)
    assert rounds.learned(labels) == 3
    next_labels, row = rounds.after(0, features, labels)
    assert row["learned_clusters"] == 3
    assert row["left_out"] == pytest.approx(10 / len(cameras))
    assert row["across_clusters"] == pytest.approx(2 / 3)  # 7 is in camera a alone
    assert torch.equal(next_labels, rounds.cluster(1, features))  # nothing of labels is left
    assert row["next_clusters"] == rounds.learned(next_labels)
    assert bool((rounds.targets(0, next_labels).classes[4:7] >= 0).all())


def test_after_the_last_round_the_labels_stay() -> None:
    features, cameras, _ = seen()
    rounds, labels = anew(cameras), torch.arange(len(cameras)) // 4
    assert torch.equal(rounds.after(2, features, labels)[0], labels)
    row = rounds.after(1, features, labels)[1]
    assert not rounds.is_over([])
    assert not rounds.is_over([row, row])
    assert rounds.is_over([row] * 3)
    assert rounds.is_over([row, row | {"next_clusters": 1}])


def test_weights_follow_the_formula() -> None:
    """w_c = T exp(H_c) / sum exp(H): one camera, two evenly, three to one, and three evenly; one sample left out."""
    cameras = [*"aaaa", *"ab", *"aaac", *"abc", "d"]
    classes = np.array([0] * 4 + [1] * 2 + [2] * 4 + [3] * 3 + [-1])
    entropies = [0.0, 1.0, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)), math.log2(3)]
    total = sum(map(math.exp, entropies))
    expected = [4 * math.exp(one) / total for one in entropies]
    found = balance(classes, cameras)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(expected)
    assert float(found.mean()) == pytest.approx(1)
    rounds = anew(cameras, changed(smallest=2))
    labels = torch.tensor([*classes[:-1], 4])
    assert torch.equal(rounds.targets(0, labels).weights, found)
    assert anew(cameras, changed(smallest=2, balance_cameras=False)).targets(0, labels).weights is None


def test_with_smallest_1_every_sample_is_learned() -> None:
    cameras, labels = ["a", "a", "b", "a"], torch.tensor([0, 1, 0, 2])
    rounds = anew(cameras, changed(smallest=1))
    assert torch.equal(rounds.targets(0, labels).classes, labels)
    drawn = draw_clusters(
        labels.numpy(), np.array(cameras), steps=1, clusters=3, each=2, generator=np.random.default_rng(0)
    )
    assert sorted(drawn[0].tolist()) == [0, 1, 1, 2, 3, 3]  # who is alone comes twice


@pytest.mark.parametrize(("radius", "smallest"), [(0.3, 2), (0.5, 4), (0.7, 4)])
def test_density_is_that_of_the_dense_matrix(radius: float, smallest: int) -> None:
    similarity = reciprocal_similarity(seen()[0].descriptors, neighbours=8)
    dense = np.maximum(1 - similarity.toarray().astype(np.float64), 0)
    expected = DBSCAN(eps=radius, min_samples=smallest, metric="precomputed").fit_predict(dense)
    found = by_density(similarity, radius, smallest)
    check_labels(found, len(dense))
    joined = expected >= 0
    assert together(found[joined]) == together(torch.from_numpy(expected[joined]))
    sizes = torch.bincount(found)
    assert bool((sizes[found[~joined]] == 1).all())  # noise is alone
    assert len(set(expected[joined])) > 2


def test_density_takes_noise_alone_and_copies_at_no_distance() -> None:
    nothing = sparse.csr_array(sparse.eye_array(5))
    assert sorted(by_density(nothing, 0.5, 2).tolist()) == [0, 1, 2, 3, 4]
    alike = sparse.csr_array(np.ones((3, 3), np.float32))
    assert by_density(alike, 0.1, 3).tolist() == [0, 0, 0]


def test_density_is_a_way_of_rounds() -> None:
    features, cameras, _ = seen()
    recipe = changed(clustering="dbscan", radius=0.5)
    similarity = reciprocal_similarity(features.descriptors, neighbours=8)
    assert torch.equal(anew(cameras, recipe).cluster(0, features), by_density(similarity, 0.5, 4))


def test_one_camera_is_never_looked_at() -> None:
    features, _, _ = seen()
    for names in (["a"] * len(features.descriptors), [""] * len(features.descriptors)):
        rounds = anew(names)
        assert torch.equal(rounds.cluster(0, features), rounds.cluster(2, features))
        assert set(rounds.targets(0, rounds.cluster(0, features)).weights.tolist()) == {1.0}


def test_cameras_of_one_sample_each_and_samples_without() -> None:
    features, cameras, _ = seen()
    own = [str(number) for number in range(len(cameras))]
    some = ["" if number % 3 == 0 else camera for number, camera in enumerate(cameras)]
    for names in (own, some):
        rounds = anew(names)
        labels = rounds.cluster(1, features)
        check_labels(labels, len(names))
        assert rounds.learned(labels) > 2
        targets = rounds.targets(0, labels)
        assert bool(targets.weights.isfinite().all())
        rounds.after(0, features, labels)


def test_fewer_samples_than_neighbours() -> None:
    features, cameras, _ = seen()
    few = Features(*(part[..., :7, :] for part in (features.descriptors, features.embeddings, features.halves)))
    recipe = changed(neighbours=50, within=50, across=50, smallest=2)
    for number in (0, 1):
        check_labels(anew(cameras[:7], recipe).cluster(number, few), 7)


def test_too_little_to_learn_is_said() -> None:
    features, cameras, _ = seen()
    said = r"round 0: 0 clusters of 99 samples or more among 120 samples: expected at least 2.*rounds\.smallest"
    with pytest.raises(RunError, match=said):
        anew(cameras, changed(smallest=99)).initial(features)
    every = np.array(list(combinations(range(len(cameras)), 2)))
    with pytest.raises(RunError, match="round 0: 0 clusters of 4"):
        anew(cameras, pairs=every).initial(features)


@pytest.mark.parametrize("number", [0, 1])
def test_the_order_of_samples_changes_no_cluster(number: int) -> None:
    features, cameras, _ = seen()
    order = torch.randperm(len(cameras), generator=torch.Generator().manual_seed(3))
    moved = Features(features.descriptors[order], features.embeddings[order], features.halves[:, order])
    for recipe in (RECIPE, changed(clustering="dbscan")):
        found = anew([cameras[i] for i in order], recipe).cluster(number, moved)
        back = torch.empty_like(found)
        back[order] = found
        assert together(back) == together(anew(cameras, recipe).cluster(number, features))


def test_names_become_numbers_in_their_order() -> None:
    assert numbers(["b", "", "a", "b"]).tolist() == [2, 0, 1, 2]


def test_rates_and_steps_of_rounds() -> None:
    recipe = changed(count=7, steps=5, warm_up=3, decay_every=5, learning_rate=0.3)
    assert (plan(recipe, 100).stages, plan(recipe, 100).steps) == (7, (5,) * 7)
    rates = [learning_rate(recipe, 100, number, 0) for number in range(7)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3, 0.03, 0.03])
    # A small set learns in smaller steps, by the square root of its share.
    few = changed(count=7, steps=5, learning_rate=0.3, full_rate_from=400)
    rates = [learning_rate(few, samples, 0, 0) for samples in (4, 100, 400, 10_000)]
    assert rates == pytest.approx([0.03, 0.15, 0.3, 0.3])


def test_the_settings_of_merging_count() -> None:
    features, cameras, _ = seen()
    recipe = replace(RECIPE, merging=MergingRecipe(trade_off=1.0))
    assert together(anew(cameras, recipe).cluster(1, features)) != together(anew(cameras).cluster(1, features))
