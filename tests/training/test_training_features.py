from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from reid_toolkit.config import MergingRecipe, Recipe
from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.records import Tracklet
from reid_toolkit.training.clock import Clock
from reid_toolkit.training.clustering import Stages
from reid_toolkit.training.features import Features, extract, free_of_cameras
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.rounds import measure_and_merge
from reid_toolkit.training.samples import Samples, load_samples
from reid_toolkit.training.schedule import Plan

CPU = torch.device("cpu")


@pytest.fixture
def network(recipe: Recipe) -> ReidNetwork:
    return build_network(recipe.network, 0)


@pytest.fixture
def samples(tiny_dataset: Path) -> Samples:
    """Tracklets of 1, 2, 3 and 4 crops."""
    whole = open_dataset(tiny_dataset)
    cut = tuple(Tracklet(t.name, t.camera, t.crops[: 1 + i % 4]) for i, t in enumerate(whole.tracklets[:8]))
    return load_samples(Dataset(whole.root, whole.layout, cut), 32, 32)


@torch.no_grad()
def slowly(network: ReidNetwork, samples: Samples) -> Features:
    """One tracklet at a time."""
    network.eval()
    descriptors, embeddings, halves = [], [], []
    for i in range(len(samples)):
        crops = samples.read(range(int(samples.starts[i]), int(samples.starts[i + 1])))
        pooled = network(standardise(to_rgb(crops)))
        unit = F.normalize(pooled, dim=1)
        middle = (len(unit) + 1) // 2
        descriptors.append(F.normalize(unit.mean(0), dim=0))
        embeddings.append(network.embed(pooled.mean(0, keepdim=True))[0])
        second = unit[middle:].sum(0)
        halves.append(torch.stack([F.normalize(unit[:middle].sum(0), dim=0), F.normalize(second, dim=0)]))
    return Features(torch.stack(descriptors), torch.stack(embeddings), torch.stack(halves, dim=1))


@pytest.mark.parametrize("batch_size", [3, 64])
def test_batches_across_tracklets_change_nothing(network: ReidNetwork, samples: Samples, batch_size: int) -> None:
    found, expected = extract(network.train(), samples, CPU, batch_size), slowly(network, samples)
    torch.testing.assert_close(found.descriptors, expected.descriptors, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.embeddings, expected.embeddings, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.halves, expected.halves, atol=1e-5, rtol=0)
    single = [i for i in range(len(samples)) if samples.starts[i + 1] - samples.starts[i] == 1]
    assert single
    assert not found.halves[1][single].any()


def biased(cameras: int = 2, people: int = 30) -> tuple[Features, list[str], torch.Tensor]:
    """Features of people whom all cameras see, under a bias larger than what tells people apart; who they are."""
    chance = torch.Generator().manual_seed(0)
    who, bias = torch.randn(people, 16, generator=chance), 3 * torch.randn(cameras, 16, generator=chance)
    rows = (who[None] + bias[:, None]).flatten(0, 1)
    noise = 0.1 * torch.randn(3, len(rows), 16, generator=chance)
    descriptors, first, second = F.normalize(rows + noise, dim=2)
    halves = torch.stack([first, second])
    halves[:, 0] = 0  # a sample with one frame
    names = ["ab"[camera] for camera in range(cameras) for _ in range(people)]
    return Features(descriptors, descriptors, halves), names, torch.arange(people).repeat(cameras)


def test_features_freed_of_cameras_bring_people_together() -> None:
    features, cameras, who = biased()
    freed = free_of_cameras(features, cameras)
    assert freed.embeddings is features.embeddings  # what the loss compares stays
    assert not freed.halves[:, 0].any()
    torch.testing.assert_close(freed.halves[:, 1:].norm(dim=2), torch.ones(2, len(who) - 1))
    for rows, share in ((features.descriptors, 0.1), (freed.descriptors, 0.9)):
        distances = torch.cdist(rows, rows).fill_diagonal_(9)
        right = (who[distances.argmin(dim=1)] == who).float().mean()
        assert (right < share) if rows is features.descriptors else (right > share)


def test_features_of_too_few_samples_stay_as_they_are() -> None:
    features, cameras, _ = biased(people=9)
    assert free_of_cameras(features, cameras) is features
    features, cameras, _ = biased(cameras=1)
    assert free_of_cameras(features, cameras) is features


@pytest.mark.parametrize("camera_statistics", [False, True])
def test_a_recipe_merges_with_camera_statistics(camera_statistics: bool) -> None:
    features, cameras, who = biased()
    samples = SimpleNamespace(cameras=cameras)
    recipe = Recipe(merging=MergingRecipe(camera_statistics=camera_statistics))
    labels = torch.arange(len(who))
    clustering = Stages(Plan(20, 9, (1,) * 9, 1), None, recipe.merging, CPU)
    merged, row = measure_and_merge(clustering, 0, features, labels, samples, recipe, Clock(), CPU)
    together = [(a, b) for a in range(30) for b in range(30, 60) if merged[a] == merged[b]]
    right = sum(bool(who[a] == who[b]) for a, b in together)
    assert row["merges"] == 20
    if camera_statistics:
        assert right == len(together) == 20
    else:
        assert right < 2
