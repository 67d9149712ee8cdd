from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import embed_groups, keep_crops, read_crops
from reid_toolkit.errors import DatasetError, ImageError


@pytest.fixture
def damaged(tmp_path: Path, make: Callable[..., None]) -> Path:
    """Four good pictures in two tracklets, then an empty one and a text."""
    make(*(tmp_path / name for name in ("p/a.png", "p/b.png", "q/a.png", "q/b.png")))
    (tmp_path / "q/empty.jpg").touch()
    (tmp_path / "q/text.jpg").write_text("this is no picture")
    return tmp_path


def test_crops_come_in_order_with_their_pictures(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    found = list(read_crops(dataset.crops))
    assert [crop for crop, _ in found] == list(dataset.crops)
    assert {image.shape for _, image in found} == {(64, 32, 3)}


class Sizes:
    """Describes a picture by its size, and keeps how many came at once."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.batches = batch_size, []

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.batches.append(len(images))
        return np.array([image.shape[:2] for image in images], np.float32)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_batches_run_across_groups(tiny_dataset: Path, batch_size: int) -> None:
    tracklets = open_dataset(tiny_dataset).tracklets
    embedder = Sizes(batch_size)
    found = list(embed_groups(embedder, [tracklet.crops for tracklet in tracklets]))
    assert [place for place, _ in found] == list(range(len(tracklets)))
    assert [len(rows) for _, rows in found] == [len(tracklet.crops) for tracklet in tracklets]
    assert set(embedder.batches[:-1]) <= {batch_size}
    assert sum(embedder.batches) == len(open_dataset(tiny_dataset).crops)


def test_a_group_of_which_nothing_can_be_read_is_left_out(damaged: Path) -> None:
    p, q = (tracklet.crops for tracklet in open_dataset(damaged).tracklets)
    bad: list[str] = []
    found = list(embed_groups(Sizes(3), [q[2:], p, q], bad))
    assert [(place, len(rows)) for place, rows in found] == [(1, 2), (2, 2)]
    assert len(bad) == 4


def test_a_bad_picture_is_refused_with_a_way_out(damaged: Path) -> None:
    crops = open_dataset(damaged).crops
    with pytest.raises(ImageError, match=r"empty\.jpg: .*an empty file; --skip-bad leaves such crops out"):
        list(read_crops(crops))


def test_the_manifests_row_is_in_the_message(tiny_dataset: Path) -> None:
    crop = open_dataset(tiny_dataset).crops[0]
    crop.path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"manifest\.csv, row \d+"):
        list(read_crops([crop]))
    crop.path.unlink()
    with pytest.raises(ImageError, match=r"no such image file; --skip-bad"):
        list(read_crops([crop]))


def test_bad_pictures_are_counted_and_left_out(damaged: Path) -> None:
    bad: list[str] = []
    dataset = open_dataset(damaged)
    found = [crop for crop, _ in read_crops(dataset.crops, bad)]
    assert [crop.path.name for crop in found] == ["a.png", "b.png"] * 2
    assert [("empty.jpg" in line, "text.jpg" in line) for line in bad] == [(True, False), (False, True)]
    kept = keep_crops(dataset, set(found))
    assert kept.crops == tuple(found)
    assert (kept.root, kept.layout) == (dataset.root, dataset.layout)
    assert (damaged / "q/empty.jpg").exists(), "what is refused is not deleted"


def test_a_dataset_of_nothing_but_bad_pictures_is_refused(damaged: Path) -> None:
    with pytest.raises(DatasetError, match="not one of its 6 crops can be read"):
        keep_crops(open_dataset(damaged), set())


def test_identities_given_apart_outlive_the_bad_crops(damaged: Path) -> None:
    dataset = open_dataset(damaged).with_identities({"p": "1", "q": "2"})
    found = {crop for crop, _ in read_crops(dataset.crops, [])}
    assert [t.identity for t in keep_crops(dataset, found).tracklets] == ["1", "2"]
