import pytest
import torch
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.training.network import ReidNetwork, build_network, standardise, to_rgb

SMALL = NetworkRecipe(backbone="resnet18", weights="none", embedding=16, height=32, width=32)
FROZEN = NetworkRecipe(backbone="resnet18", weights="none", embedding=16, height=32, width=32, frozen="layer2")


def test_crops_become_rgb_of_zero_to_one() -> None:
    crop = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    crop[..., 2] = 255  # red, in BGR
    rgb = to_rgb(crop)
    assert rgb.shape == (1, 3, 2, 2)
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]


def test_standardising_is_imagenets() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    images = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(standardise(images), (images - mean) / std)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_have_length_one(training: bool) -> None:
    network = build_network(SMALL, 0).train(training)
    pooled = network(torch.rand(4, 3, 32, 32))
    assert pooled.shape == (4, network.dimension)
    torch.testing.assert_close(network.embed(pooled).norm(dim=1), torch.ones(4))


def test_the_seed_decides_what_is_random_and_nothing_else_does() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, other = (build_network(SMALL, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.embedding.weight, other.embedding.weight)


def test_frozen_parts_stay_as_loaded_while_the_rest_learns() -> None:
    network = build_network(FROZEN, 0).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameter_groups(1.0), lr=0.1, weight_decay=5e-4)
    for _ in range(2):
        loss = F.cross_entropy(network.embed(network(torch.rand(4, 3, 32, 32))), torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    stem = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert not {key for key in changed if key.startswith(stem)}
    assert {"backbone.layer3.0.conv1.weight", "backbone.layer4.0.bn1.running_mean", "embedding.weight"} <= changed


@pytest.mark.parametrize("recipe", [SMALL, FROZEN])
def test_each_trainable_parameter_is_in_one_group(recipe: NetworkRecipe) -> None:
    network = ReidNetwork(recipe)
    backbone, head = network.parameter_groups(0.1)
    assert (backbone["factor"], head["factor"]) == (0.1, 1.0)
    listed = [id(p) for group in (backbone, head) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters() if p.requires_grad}
