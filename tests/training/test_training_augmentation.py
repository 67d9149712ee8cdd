import numpy as np
import pytest
import torch
from torch import Tensor

from reid_toolkit.training.augmentation import (
    augment,
    crop_and_flip,
    draw_boxes,
    draw_colours,
    draw_erasures,
    draw_shifts,
    jitter_colour,
)
from reid_toolkit.training.network import MEAN, standardise


def boxes(count: int, smallest: float, flip: bool, seed: int = 0) -> Tensor:
    return draw_boxes(count, smallest, flip, np.random.default_rng(seed))


def colours(count: int, strength: float, seed: int = 0) -> Tensor:
    return draw_colours(count, strength, np.random.default_rng(seed))


def ramp(count: int = 64, height: int = 40, width: int = 20) -> torch.Tensor:
    """Channel 0 is the height in the picture, channel 1 the place from left to right, channel 2 flat."""
    y = torch.linspace(0, 1, height).view(1, 1, height, 1).expand(count, 1, height, width)
    x = torch.linspace(0, 1, width).view(1, 1, 1, width).expand(count, 1, height, width)
    return torch.cat([y, x, torch.full_like(y, 0.5)], dim=1)


def test_the_seed_decides_every_view() -> None:
    images = torch.rand(8, 3, 16, 8)
    for draw in (
        lambda seed: (boxes(8, 0.3, False, seed), None),
        lambda seed: (boxes(8, 1.0, True, seed), None),
        lambda seed: (None, colours(8, 0.5, seed)),
    ):
        first = augment(images, *draw(1))
        assert torch.equal(first, augment(images, *draw(1)))
        assert not torch.equal(first, augment(images, *draw(2)))
        assert first.shape == images.shape
        assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_a_view_is_each_pictures_own() -> None:
    """A part of a batch looks as it does in the whole: several processes may share one."""
    images, box, colour = torch.rand(8, 3, 16, 8), boxes(8, 0.3, True), colours(8, 0.5)
    whole = augment(images, box, colour)
    torch.testing.assert_close(augment(images[3:5], box[3:5], colour[3:5]), whole[3:5])


def test_all_off_is_the_picture_itself() -> None:
    images = torch.rand(4, 3, 16, 8)
    assert augment(images, None, None) is images


def test_a_crop_of_the_whole_area_is_the_picture() -> None:
    images = torch.rand(16, 3, 16, 8)
    torch.testing.assert_close(crop_and_flip(images, boxes(16, 1.0, False)), images, atol=1e-4, rtol=0)


def test_a_flip_only_mirrors() -> None:
    images = torch.rand(32, 3, 16, 8)
    views = crop_and_flip(images, boxes(32, 1.0, True))
    as_is = (views - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (views - images.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert torch.all(as_is ^ mirrored)
    assert 8 < int(mirrored.sum()) < 24


@pytest.mark.parametrize("smallest", [0.2, 0.64, 0.9])
def test_a_crop_stays_inside_and_keeps_its_share_and_shape(smallest: float) -> None:
    views = crop_and_flip(ramp(), boxes(64, smallest, False))
    # A ramp tells where its ends were cut from; sampling is at pixel centres, so ends are short by a part of a pixel.
    height = (views[:, 0, -1, 0] - views[:, 0, 0, 0]).clamp(max=1)
    width = (views[:, 1, 0, -1] - views[:, 1, 0, 0]).clamp(max=1)
    assert torch.all(height * width > smallest - 0.06)
    assert torch.all(height / width < 1.25 + 0.1)
    assert torch.all(width / height < 1.25 + 0.1)
    assert float(views[:, 0].min()) >= 0
    assert float(views[:, 1].max()) <= 1
    assert float((height * width).std()) > 0.01
    torch.testing.assert_close(views[:, 2], torch.full_like(views[:, 2], 0.5))


def test_jitter_of_nothing_changes_nothing() -> None:
    images = torch.rand(4, 3, 8, 8).clamp(0.01, 1)
    torch.testing.assert_close(jitter_colour(images, colours(4, 0.0)), images)


def test_jitter_is_one_change_of_colour_for_a_whole_picture() -> None:
    flat = torch.tensor([0.2, 0.4, 0.3]).view(1, 3, 1, 1).expand(16, 3, 8, 4)
    views = jitter_colour(flat, colours(16, 0.5))
    assert torch.equal(views, views[:, :, :1, :1].expand_as(views))
    assert len(torch.unique(views[:, 0, 0, 0])) == 16
    assert float(jitter_colour(torch.rand(64, 3, 8, 4), colours(64, 0.9)).max()) <= 1


def test_jitter_is_safe_at_black() -> None:
    black = torch.zeros(8, 3, 4, 4, requires_grad=True)
    jitter_colour(black, colours(8, 0.5)).sum().backward()
    assert torch.isfinite(black.grad).all()


@pytest.mark.parametrize("flip", [False, True])
def test_a_shift_moves_whole_pixels_and_repeats_the_edge(flip: bool) -> None:
    images = torch.rand(200, 3, 12, 8)
    theta = draw_shifts(200, 5, 12, 8, flip, np.random.default_rng(0))
    views = crop_and_flip(images, theta)
    down, right = (theta[:, 1, 2] * 12 / 2).round().long(), (theta[:, 0, 2] * 8 / 2).round().long()
    assert set(down.tolist()) == set(range(-5, 6))
    assert set(right.tolist()) == set(range(-2, 3))  # half as far across
    mirrored = theta[:, 0, 0] < 0
    assert int(mirrored.sum()) in (range(70, 131) if flip else [0])
    for image, view, y, x, turned in zip(images, views, down, right, mirrored, strict=True):
        rows, columns = (torch.arange(12) + y).clamp(0, 11), torch.arange(8)
        columns = ((columns.flip(0) if turned else columns) + x).clamp(0, 7)
        torch.testing.assert_close(view, image[:, rows][:, :, columns], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("share", "painted"), [(0.0, range(1)), (1.0, range(100, 101)), (0.5, range(30, 71))])
def test_a_share_of_crops_is_painted_over_in_the_mean_colour(share: float, painted: range) -> None:
    images = torch.rand(100, 3, 32, 16)
    boxes = draw_erasures(100, share, 32, 16, np.random.default_rng(0))
    views = augment(images, None, None, boxes)
    changed = (views != images).any(dim=1)  # (B, H, W)
    assert int(changed.flatten(1).any(dim=1).sum()) in painted
    for image, view, (top, left, bottom, right) in zip(images, views, boxes.tolist(), strict=True):
        expected = image.clone()
        expected[:, top:bottom, left:right] = torch.tensor(MEAN)[:, None, None]
        assert torch.equal(view, expected)
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 16
        area = (bottom - top) * (right - left)
        assert area == 0 or 0.005 * 512 < area <= 0.4 * 512
    if share == 1:
        assert float(standardise(views)[changed[:, None].expand_as(views)].abs().max()) < 1e-6  # the network sees 0


def test_erasing_comes_after_all_else() -> None:
    images, erased = torch.rand(4, 3, 16, 8), torch.tensor([[2, 1, 9, 6]]).expand(4, 4)
    views = augment(images, boxes(4, 0.3, True), colours(4, 0.5), erased)
    assert torch.equal(views[:, :, 2:9, 1:6], torch.tensor(MEAN).view(1, 3, 1, 1).expand(4, 3, 7, 5))
