from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.records import Tracklet
from reid_toolkit.training.features import Features, extract
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb
from reid_toolkit.training.store import Samples, load_samples

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
