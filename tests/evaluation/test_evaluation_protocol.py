from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import DatasetError, ImageError, InputError
from reid_toolkit.evaluation.protocol import Embedded, embed_dataset, euclidean, evaluate
from reid_toolkit.records import Crop, Tracklet


def embedded(rows: str, angles: Sequence[float] | None = None) -> Embedded:
    """Tracklets written "identity+camera ...", "?" for nobody known, and unit descriptors at these angles."""
    names = rows.split()
    tracklets = tuple(
        Tracklet(f"t{i}", name[-1], (Crop(Path("/x"), name[-1], f"t{i}"),), None if name[0] == "?" else name[:-1])
        for i, name in enumerate(names)
    )
    turns = np.array(angles if angles is not None else range(len(names))) / 10
    return Embedded(tracklets, np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32))


class MeanColour:
    """A stand-in for the network: the mean colour, at unit length."""

    batch_size = 3

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        means = np.array([image.mean(axis=(0, 1)) - 110 for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def test_distances_are_euclidean() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 8)).astype(np.float32) for n in (5, 7))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    slow = np.linalg.norm(a[:, None] - b[None], axis=2)
    np.testing.assert_allclose(euclidean(a, b), slow, atol=1e-6)
    assert not np.isnan(euclidean(a, a)).any()
    assert euclidean(a, -a).max() == pytest.approx(2)


def test_each_pair_of_cameras_is_ranked_alone() -> None:
    query = embedded("1a 2a 1b", [0, 10, 0])
    gallery = embedded("1b 2b 1c 3a 1a", [6, 7, 1, 0.5, 2])
    result = evaluate(query, gallery)
    # b holds 1 and 2, both in order for the queries of a: each is nearest to its own.
    assert result.pairs["a", "b"].queries == 2
    assert result.pairs["a", "b"].rank(1) == 1
    assert result.pairs["a", "c"].queries == 1, "only person 1 is in c"
    assert result.pairs["b", "a"].cmc.tolist() == [0, 1], "person 3 of camera a stands before person 1"
    assert set(result.pairs) == {("a", "b"), ("a", "c"), ("b", "a"), ("b", "c")}, "never a camera with itself"
    # Query 1a: 3a is the nearest, then 1c (right) and 1b (right, third); its own camera's 1a is dropped.
    assert result.overall.average_precisions[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.distances.shape == (3, 5)


def test_a_pair_that_shares_nobody_is_none() -> None:
    result = evaluate(embedded("1a 2b"), embedded("1b 2c"))
    assert result.pairs["b", "c"] is not None
    assert result.pairs["a", "c"] is None


def test_one_set_is_ranked_against_itself_each_tracklet_left_out() -> None:
    everyone = embedded("1a 1b 2a 2b", [0, 1, 10, 11])
    result = evaluate(everyone, everyone)
    assert result.overall.queries == 4
    assert result.overall.rank(1) == result.overall.mean_ap == 1
    far = evaluate(*[embedded("1a 1b 2a 2b", [0, 12, 2, 11])] * 2)
    assert far.overall.rank(1) == 0, "the nearest is always the other person; no tracklet finds itself"


def test_unknown_junk_and_distractors_never_ask() -> None:
    everyone = embedded("1a -1a 0a ?a 1b -1b 0b ?b", [0, 1, 2, 3, 4, 5, 6, 7])
    result = evaluate(everyone, everyone)
    assert [t.identity for t in result.query.tracklets] == ["1", "1"]
    assert [t.name for t in result.gallery.tracklets] == ["t0", "t1", "t2", "t4", "t5", "t6"]
    # Junk is passed over; t2, a distractor, stands between t0 and t4, and t6 too as seen from t4.
    assert result.overall.cmc[:3].tolist() == [0, 0.5, 1]


def test_without_identities_it_says_where_to_give_them() -> None:
    with pytest.raises(InputError, match=r"no identities .* --identities"):
        evaluate(embedded("?a ?b"), embedded("1a 1b"))


def test_one_camera_alone_cannot_be_evaluated() -> None:
    with pytest.raises(InputError, match="more than one camera"):
        evaluate(*[embedded("1a 1a 2a")] * 2)


def test_a_dataset_is_embedded_tracklet_by_tracklet(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset).with_identities(read_identities(tiny_dataset / "identities.csv"))
    steps: list[tuple[int, int | None]] = []
    found = embed_dataset(MeanColour(), dataset, on_progress=lambda done, total: steps.append((done, total)))
    assert found.tracklets == dataset.tracklets
    assert found.descriptors.shape == (12, 3)
    assert steps == [(i, 12) for i in range(1, 13)]
    result = evaluate(found, found)
    assert result.overall.rank(1) == result.overall.mean_ap == 1, "three people in three colours"
    assert result.pairs.keys() == {("north", "south"), ("south", "north")}


def test_bad_crops_are_refused_or_left_out_of_the_mean(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    first, second = dataset.tracklets[:2]
    first.crops[2].path.write_bytes(b"")
    for crop in second.crops:
        crop.path.unlink()
    with pytest.raises(ImageError, match="--skip-bad"):
        embed_dataset(MeanColour(), dataset)
    bad: list[str] = []
    found = embed_dataset(MeanColour(), dataset, bad=bad)
    assert len(bad) == 5
    assert found.tracklets == (first, *dataset.tracklets[2:])
    assert len(found.descriptors) == 11
    kept = replace(dataset, tracklets=(second,))
    with pytest.raises(DatasetError, match="none of its crops can be read"):
        embed_dataset(MeanColour(), kept, bad=[])
