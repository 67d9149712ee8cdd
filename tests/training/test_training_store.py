import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import ImageError, RunError
from reid_toolkit.images import read_image, resize
from reid_toolkit.records import Crop
from reid_toolkit.training.store import Samples, load_samples


def load(root: Path, **options: object) -> Samples:
    return load_samples(open_dataset(root), 32, 16, **options)


def shuffled(root: Path, out: Path) -> Path:
    """The same pictures under other names, in other files, listed in another order."""
    rng = random.Random(0)
    names: dict[str, str] = {}
    crops = []
    for crop in open_dataset(root).crops:
        name = names.setdefault(crop.tracklet, f"{rng.random():.9f}")
        path = out / "pictures" / f"{rng.random():.9f}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(crop.path.read_bytes())
        crops.append(Crop(path, crop.camera, name, crop.frame, crop.time))
    rng.shuffle(crops)
    write_manifest(out, crops)
    return out


def test_samples_are_tracklets_with_their_crops_in_time_order(tiny_dataset: Path) -> None:
    samples = load(tiny_dataset)
    assert len(samples) == 12
    assert samples.starts.tolist() == list(range(0, 49, 4))
    assert samples.read([0, 5]).shape == (2, 32, 16, 3)
    for i, tracklet in enumerate(samples.tracklets):
        pixels = samples.read(np.arange(samples.starts[i], samples.starts[i + 1]))
        for image, crop in zip(pixels, tracklet.crops, strict=True):
            assert np.array_equal(image.numpy(), resize(read_image(crop.path), 32, 16))


def test_the_order_is_the_pictures_own(tiny_dataset: Path, tmp_path: Path) -> None:
    first, second = load(tiny_dataset), load(shuffled(tiny_dataset, tmp_path / "other"))
    assert torch.equal(first.pixels, second.pixels)
    assert first.starts.tolist() == second.starts.tolist()
    assert [t.name for t in first.tracklets] != sorted(t.name for t in first.tracklets)


def test_without_memory_the_same_pixels_are_read_again(tiny_dataset: Path) -> None:
    kept, read = load(tiny_dataset), load(tiny_dataset, memory_limit=0)
    assert kept.pixels is not None
    assert read.pixels is None
    assert [t.name for t in kept.tracklets] == [t.name for t in read.tracklets]
    chosen = np.array([3, 0, 47, 3])
    assert torch.equal(kept.read(chosen), read.read(chosen))


def test_images_are_samples_of_their_own(tiny_dataset: Path) -> None:
    samples = load(tiny_dataset, images=True)
    assert len(samples) == 48
    assert samples.starts.tolist() == list(range(49))
    assert {t.camera for t in samples.tracklets} == {"north", "south"}
    assert samples.tracklets[0].name == samples.crops[0].path.relative_to(tiny_dataset.resolve()).as_posix()


def test_unreadable_crops_are_named_or_left_out(tiny_dataset: Path) -> None:
    for step in range(4):
        (tiny_dataset / "crops" / f"north-00-{step}.png").write_bytes(b"")
    (tiny_dataset / "crops" / "north-01-2.png").write_text("not a picture")
    with pytest.raises(ImageError, match="--skip-bad"):
        load(tiny_dataset)
    bad: list[str] = []
    samples = load(tiny_dataset, bad=bad)
    assert len(bad) == 5
    assert len(samples) == 11
    assert len(samples.crops) == 43


def test_one_sample_is_too_few(tmp_path: Path, picture) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0, 0))
    with pytest.raises(RunError, match="expected at least 2"):
        load(tmp_path)


def test_progress_counts_crops(tiny_dataset: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    load(tiny_dataset, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 48) for i in range(1, 49)]
