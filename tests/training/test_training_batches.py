import numpy as np
import pytest
import torch

from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training.batches import Batch, epoch_batches, pick_frames, steps_per_epoch
from reid_toolkit.training.store import Samples

LENGTHS = (1, 3, 8, 2, 5, 4, 6, 2, 9, 3)


@pytest.fixture
def samples(tmp_path) -> Samples:
    crops = [[Crop(tmp_path, "c", str(i), frame) for frame in range(n)] for i, n in enumerate(LENGTHS)]
    tracklets = tuple(Tracklet(str(i), "c", tuple(part)) for i, part in enumerate(crops))
    starts = np.cumsum([0, *LENGTHS])
    return Samples(tracklets, tuple(crop for part in crops for crop in part), starts, 32, 32, None)


def epoch(samples: Samples, size: int, frames: int = 1, seed: int = 0) -> list[Batch]:
    return list(epoch_batches(samples, size, frames, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("size", [2, 5, 10])
def test_every_sample_comes_once_an_epoch(samples: Samples, size: int) -> None:
    batches = epoch(samples, size)
    assert sorted(np.concatenate([batch.samples for batch in batches])) == list(range(10))
    assert {len(batch.samples) for batch in batches} == {size}


@pytest.mark.parametrize(("size", "batches", "left_out"), [(3, 3, 1), (4, 2, 2), (16, 1, 0)])
def test_a_last_batch_that_is_not_full_is_left_out_unless_it_is_the_only_one(
    samples: Samples, size: int, batches: int, left_out: int
) -> None:
    found = epoch(samples, size)
    assert len(found) == batches == steps_per_epoch(10, size)
    assert 10 - len(np.concatenate([batch.samples for batch in found])) == left_out


def test_orders_differ_by_seed_and_by_epoch(samples: Samples) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (
        np.concatenate([b.samples for b in epoch_batches(samples, 5, 1, generator)]).tolist() for _ in range(2)
    )
    assert first == np.concatenate([b.samples for b in epoch(samples, 5)]).tolist()
    assert first != second


def test_frames_lie_by_sample_in_time_order_and_within_it(samples: Samples) -> None:
    for batch in epoch(samples, 5, frames=4):
        for sample, crops in zip(batch.samples, batch.crops.reshape(5, 4), strict=True):
            assert (np.diff(crops) >= 0).all()
            assert samples.starts[sample] <= crops[0]
            assert crops[-1] < samples.starts[sample + 1]
            if LENGTHS[sample] >= 4:
                assert len(set(crops)) == 4


def test_too_few_frames_are_repeated_and_all_frames_get_a_turn(samples: Samples) -> None:
    generator = torch.Generator().manual_seed(0)
    assert pick_frames(samples, 0, 3, generator).tolist() == [0, 0, 0]
    draws = {int(i) for _ in range(50) for i in pick_frames(samples, 8, 2, generator)}
    assert draws == set(range(int(samples.starts[8]), int(samples.starts[9])))
