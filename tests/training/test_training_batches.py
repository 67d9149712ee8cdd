from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from reid_toolkit.config import Recipe
from reid_toolkit.training.batches import Epoch, draw_epoch, pick_frames

LENGTHS = (1, 3, 8, 2, 5, 4, 6, 2, 9, 3)
STARTS = np.cumsum([0, *LENGTHS])


class Lengths(SimpleNamespace):
    """As much of Samples as an epoch is drawn from."""

    starts = STARTS

    def __len__(self) -> int:
        return len(LENGTHS)


def draw(recipe: Recipe, stage: int = 0, epoch: int = 0, seed: int = 0, **training: Any) -> Epoch:
    changed = replace(recipe, seed=seed, training=replace(recipe.training, **training))
    return draw_epoch(Lengths(), changed, torch.arange(len(LENGTHS)), stage, epoch)


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
