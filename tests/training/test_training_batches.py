from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_backbone import SmallResNet
from test_training_rounds import learn, tensors
from torch.nn.functional import dropout
from torchvision.models import ResNet

from reid_toolkit.config import Recipe, RoundsRecipe
from reid_toolkit.records import Tracklet
from reid_toolkit.training.batches import Epoch, draw_clusters, draw_epoch, drawing_anew, pick_frames
from reid_toolkit.training.progress import Step

LENGTHS = (1, 3, 8, 2, 5, 4, 6, 2, 9, 3)
STARTS = np.cumsum([0, *LENGTHS])


class Lengths(SimpleNamespace):
    """As much of Samples as an epoch is drawn from."""

    starts = STARTS

    def __len__(self) -> int:
        return len(LENGTHS)

    @property
    def cameras(self) -> list[str]:
        return [tracklet.camera for tracklet in self.tracklets]


def draw(recipe: Recipe, stage: int = 0, epoch: int = 0, seed: int = 0, **training: Any) -> Epoch:
    changed = replace(recipe, seed=seed, training=replace(recipe.training, **training))
    return draw_epoch(Lengths(), changed, torch.arange(len(LENGTHS)), stage, epoch)


class StopAfter:
    """Ctrl-C in a training step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, step: Step) -> None:
        if step.done >= self.steps:
            raise KeyboardInterrupt


def test_a_network_that_draws_goes_on_as_if_unbroken(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As efficientnet_b0, which has stochastic depth. Stopped within an epoch; torch's generator is elsewhere then."""
    monkeypatch.setattr(SmallResNet, "forward", lambda self, x: dropout(ResNet.forward(self, x), 0.3, self.training))
    learn(tiny_dataset, recipe, tmp_path / "whole")
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, recipe, out, on_step=StopAfter(1), checkpoint_seconds=0)
    learn(tiny_dataset, recipe, out, resume=True)
    assert tensors(out, 2) == tensors(tmp_path / "whole", 2)
    monkeypatch.undo()
    learn(tiny_dataset, recipe, tmp_path / "undropped")
    assert tensors(tmp_path / "undropped", 0) != tensors(out, 0)


def test_layers_draw_by_seed_place_and_process_alone() -> None:
    def drawn(*numbers: int) -> list[float]:
        with drawing_anew(torch.device("cpu"), *numbers):
            return torch.rand(4).tolist()

    torch.rand(1)
    before = torch.random.get_rng_state()
    places = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)]
    found = [drawn(*place) for place in places]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len({tuple(numbers) for numbers in found}) == len(places)
    torch.rand(1)
    assert [drawn(*place) for place in places] == found


@pytest.mark.parametrize("size", [2, 5, 10])
def test_every_sample_comes_once_an_epoch(recipe: Recipe, size: int) -> None:
    drawn = draw(recipe, batch_size=size)
    assert sorted(drawn.samples.flatten().tolist()) == list(range(10))
    assert drawn.samples.shape == (10 // size, size) == (len(drawn), size)


@pytest.mark.parametrize(("size", "shape"), [(3, (3, 3)), (4, (2, 4)), (16, (1, 10))])
def test_batches_are_full_or_all_there_is(recipe: Recipe, size: int, shape: tuple[int, int]) -> None:
    samples = draw(recipe, batch_size=size).samples
    assert samples.shape == shape
    assert len(samples.unique()) == samples.numel()


def test_seed_stage_and_epoch_decide_everything_and_nothing_else_does(recipe: Recipe) -> None:
    recipe = replace(recipe, training=replace(recipe.training, erasing=0.5))
    first, again = draw(recipe, 1, 2, 3), draw(recipe, 1, 2, 3)
    others = draw(recipe, 2, 2, 3), draw(recipe, 1, 3, 3), draw(recipe, 1, 2, 4)
    for field in fields(Epoch):
        part = getattr(first, field.name)
        assert torch.equal(part, getattr(again, field.name))
        assert not any(torch.equal(part, getattr(other, field.name)) for other in others)


def test_what_the_recipe_turns_off_is_not_drawn(recipe: Recipe) -> None:
    off = replace(recipe, network=replace(recipe.network, dropout=0.0))
    drawn = draw(off, crop_scale=1.0, flip=False, colour_jitter=0.0)
    assert drawn.views(0) == [None, None, None, None]
    assert draw(off, crop_scale=1.0, flip=True).boxes is not None


def test_dropout_keeps_its_share(recipe: Recipe) -> None:
    wide = replace(recipe, network=replace(recipe.network, embedding=4000, dropout=0.3))
    kept = draw(wide, batch_size=5).kept
    assert kept.shape == (2, 5, 4000)
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.01)


def test_frames_lie_by_sample_in_time_order_and_within_it(recipe: Recipe) -> None:
    drawn = draw(recipe, batch_size=5, frames=4)
    frames = drawn.crops.view(-1, 4).numpy()
    for sample, crops in zip(drawn.samples.flatten().tolist(), frames, strict=True):
        assert (np.diff(crops) >= 0).all()
        assert STARTS[sample] <= crops[0]
        assert crops[-1] < STARTS[sample + 1]
        if LENGTHS[sample] >= 4:
            assert len(set(crops)) == 4


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_too_few_frames_are_repeated_and_all_frames_get_a_turn(frames: int) -> None:
    generator = np.random.default_rng(0)
    draws = [pick_frames(STARTS, frames, generator) for _ in range(100)]
    assert {tuple(draw[0]) for draw in draws} == {(0,) * frames}
    for sample, length in enumerate(LENGTHS):
        seen = [int(crop) - STARTS[sample] for draw in draws for crop in draw[sample]]
        assert set(seen) == set(range(length))
        assert max(np.bincount(seen)) < 2 * len(seen) / length


CLASSES = np.array([0] * 8 + [1] * 4 + [2] * 2 + [3] * 6 + [-1] * 5)
CAMERAS = np.array([*"aaaaaabc", *"aaab", *"cc", *"abcabc", *"abcab"])


def clusters_of(steps: int, clusters: int, each: int, seed: int = 0) -> NDArray[np.int64]:
    """(steps, clusters, each) samples."""
    drawn = draw_clusters(CLASSES, CAMERAS, steps, clusters, each, np.random.default_rng(seed))
    assert drawn.shape == (steps, clusters * each)
    return drawn.reshape(steps, clusters, each)


def test_every_cluster_comes_once_before_any_comes_twice() -> None:
    drawn = CLASSES[clusters_of(5, 3, 4)]  # 15 places for 4 clusters
    assert (drawn == drawn[:, :, :1]).all()  # a place is of one cluster
    order = drawn[:, :, 0].ravel()
    for first in range(0, 12, 4):
        assert sorted(order[first : first + 4]) == [0, 1, 2, 3]
    assert len(set(order[12:])) == 3
    orders = {tuple(CLASSES[clusters_of(1, 4, 1, seed).ravel()]) for seed in range(20)}
    assert len(orders) > 5


def test_samples_of_a_cluster_spread_evenly_over_its_cameras() -> None:
    for place in clusters_of(20, 4, 4, seed=1).reshape(-1, 4):
        cluster, counts = CLASSES[place[0]], sorted(Counter(CAMERAS[place]).values())
        assert counts == {0: [1, 1, 2], 1: [2, 2], 2: [4], 3: [1, 1, 2]}[cluster]
        if cluster == 3:
            assert len(set(place)) == 4  # none twice while its camera has others
        if cluster == 2:
            assert sorted(Counter(place).values()) == [2, 2]


def test_samples_that_are_left_out_are_never_drawn_and_all_others_are() -> None:
    assert set(clusters_of(100, 4, 4).ravel()) == set(np.flatnonzero(CLASSES >= 0))


def test_a_batch_takes_clusters_twice_where_there_are_too_few() -> None:
    (drawn,) = CLASSES[clusters_of(1, 8, 2)]
    assert sorted(drawn[:, 0]) == [0, 0, 1, 1, 2, 2, 3, 3]


class Seen(Lengths):
    """Of two cameras in turn."""

    tracklets = tuple(Tracklet(str(i), "ab"[i % 2], ()) for i in range(len(LENGTHS)))


@pytest.fixture
def anew(recipe: Recipe) -> Recipe:
    """Two rounds of five steps of two clusters with two samples."""
    rounds = RoundsRecipe(count=2, steps=5, per_cluster=2)
    training = replace(recipe.training, batch_size=4, padding=2, crop_scale=1.0, erasing=0.5, frames=3)
    return replace(recipe, training=training, rounds=rounds)


SOME = torch.tensor([0, 0, 1, 1, 1, -1, 1, 2, 2, -1])


def test_a_round_draws_clusters_and_frames_within_their_samples(anew: Recipe) -> None:
    drawn = draw_epoch(Seen(), anew, SOME, 0, 0)
    assert drawn.samples.shape == (5, 4)
    assert drawn.crops.shape == (5, 12)
    pairs = drawn.samples.view(5, 2, 2)
    assert torch.equal(SOME[pairs[..., 0]], SOME[pairs[..., 1]])
    assert bool((pairs[..., 0] % 2 != pairs[..., 1] % 2).all())  # one of each camera
    for sample, crops in zip(drawn.samples.flatten().tolist(), drawn.crops.view(-1, 3).numpy(), strict=True):
        assert (np.diff(crops) >= 0).all()
        assert STARTS[sample] <= crops[0]
        assert crops[-1] < STARTS[sample + 1]
        if LENGTHS[sample] >= 3:
            assert len(set(crops)) == 3
    at_random = replace(anew, rounds=replace(anew.rounds, spread_cameras=False))
    pairs = draw_epoch(Seen(), at_random, SOME, 0, 0).samples.view(5, 2, 2)
    assert bool((pairs[..., 0] % 2 == pairs[..., 1] % 2).any())


def test_seed_and_round_decide_what_a_round_draws(anew: Recipe) -> None:
    first, again = draw_epoch(Seen(), anew, SOME, 1, 0), draw_epoch(Seen(), anew, SOME, 1, 0)
    other_seed = replace(anew, seed=7)
    others = draw_epoch(Seen(), anew, SOME, 0, 0), draw_epoch(Seen(), other_seed, SOME, 1, 0)
    for name in ("samples", "crops", "boxes", "colours", "erased", "kept"):
        part = getattr(first, name)
        assert torch.equal(part, getattr(again, name))
        assert not any(torch.equal(part, getattr(other, name)) for other in others)
