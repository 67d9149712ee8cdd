"""What users said about pairs of tracklets, as evidence of a calibration."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from crowd import write_clusters, write_crowd
from tiny_model import build_model

from reid_toolkit.calibration.calibration import load_calibration
from reid_toolkit.calibration.measure import corrected, measure
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.method.must_links import tied
from reid_toolkit.runtime import Embedder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(build_model(), str(path))
    return Embedder(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera in which nothing but times and halves is evidence, because there is no other camera."""
    return write_crowd(tmp_path_factory.mktemp("alone"), cameras=("door",))


def test_known_pairs_add_to_the_evidence(embedder: Embedder, alone: Path, tmp_path: Path) -> None:
    """In one camera, a pair of one person, and another of two who were never seen at once."""
    data = open_dataset(alone)
    before = measure(embedder, data)
    after = measure(embedder, data, known=KnownPairs(same=(("door-0-0", "door-1-0"),)))
    assert after.within.same == before.within.same + 1
    # Who was seen at once with one of the two was seen at once with that person, so it is not the other one either.
    assert after.within.different > before.within.different
    assert (before.corrections, after.corrections) == (0, 1)
    seen = {(one, other) for one, other in pairs_at_once(alone)}
    apart = next(
        (one.name, other.name)
        for one in data.tracklets
        for other in data.tracklets
        if one.name < other.name and (one.name, other.name) not in seen and one.name[-1] != other.name[-1]
    )
    told = measure(embedder, data, known=KnownPairs(different=(apart,)))
    assert told.within.different == before.within.different + 1
    assert told.within.same == before.within.same
    told.save(tmp_path / "c.json")
    assert load_calibration(tmp_path / "c.json", embedder.fingerprint) == told


def pairs_at_once(root: Path) -> list[tuple[str, str]]:
    one = open_dataset(root).tracklets
    return [(a.name, b.name) for a in one for b in one if a.name < b.name and a.start <= b.end and b.start <= a.end]


def test_a_users_word_counts_more_than_times(embedder: Embedder, alone: Path) -> None:
    data, pair = open_dataset(alone), pairs_at_once(alone)[0]
    before, after = (measure(embedder, data, known=known) for known in (KnownPairs(), KnownPairs(same=(pair,))))
    assert after.within.same == before.within.same + 1


def test_clusters_of_a_run_are_corrected(embedder: Embedder, tmp_path: Path) -> None:
    data, run = open_dataset(write_crowd(tmp_path / "people")), write_clusters(tmp_path / "run")
    before = measure(embedder, data, run)
    after = measure(embedder, data, run, known=KnownPairs(different=(("door-0-3", "hall-0-3"),)))
    one, other = (found.pairs["door", "hall"] for found in (before, after))
    assert other.same == one.same - 9, "the cluster that holds the pair is wrong: 3 tracklets in each of the cameras"
    assert after.per_person == before.per_person == 9, "tracklets without a cluster are not counted"


def test_corrected_clusters() -> None:
    clusters = np.array([0, 0, 1, 1, -1, -1])
    none = np.empty((0, 2), np.int64)
    ties = tied(6, [(0, 2), (4, 5)])
    assert corrected(clusters, ties, none).tolist() == [0, 0, 0, 0, 1, 1]
    assert corrected(clusters, tied(6, []), none).tolist() == [0, 0, 1, 1, -1, -1]
    assert corrected(clusters, ties, np.array([[1, 3]])).tolist() == [0, 1, 0, 2, 3, 3]
    assert corrected(clusters, tied(6, []), np.array([[2, 3]])).tolist() == [0, 0, -1, -1, -1, -1]
