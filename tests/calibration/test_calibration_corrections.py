"""What users said about pairs of tracklets, as evidence of a calibration."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from crowd import write_clusters, write_crowd
from tiny_model import build_model

from reid_toolkit.calibration.calibration import load_calibration
from reid_toolkit.calibration.evidence import collect
from reid_toolkit.calibration.measure import measure, without_wrong
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.known_pairs import KnownPairs
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
    data, seen = open_dataset(alone), pairs_at_once(alone)
    before = measure(embedder, data)
    after = measure(embedder, data, known=KnownPairs(same=(("door-0-0", "door-1-0"),)))
    assert (after.within.same, after.within.different) == (before.within.same + 1, before.within.different)
    assert (before.corrections, after.corrections) == (0, 1)
    names = [one.name for one in data.tracklets]
    apart = tuple(
        (one, other)
        for one in names
        for other in names
        if one < other and one[-1] != other[-1] and (one, other) not in seen
    )
    told = measure(embedder, data, known=KnownPairs(different=apart))
    assert told.within.quantiles == before.within.quantiles, "a false-match rate is about all pairs"
    assert (told.within.same, told.within.different) == (before.within.same, before.within.different)
    assert told.within.slope != before.within.slope, "but the probabilities know of them"
    told.save(tmp_path / "c.json")
    assert load_calibration(tmp_path / "c.json", embedder.fingerprint) == told


def pairs_at_once(root: Path) -> list[tuple[str, str]]:
    one = open_dataset(root).tracklets
    return [(a.name, b.name) for a in one for b in one if a.name < b.name and a.start <= b.end and b.start <= a.end]


def test_a_users_word_counts_more_than_times(embedder: Embedder, alone: Path) -> None:
    data, pair = open_dataset(alone), pairs_at_once(alone)[0]
    before, after = (measure(embedder, data, known=known) for known in (KnownPairs(), KnownPairs(same=(pair,))))
    assert after.within.same == before.within.same + 1
    assert after.within.different == before.within.different - 1


def test_clusters_with_two_people_are_dropped(embedder: Embedder, tmp_path: Path) -> None:
    data, run = open_dataset(write_crowd(tmp_path / "people")), write_clusters(tmp_path / "run")
    before = measure(embedder, data, run)
    after = measure(embedder, data, run, known=KnownPairs(different=(("door-0-3", "hall-0-3"),)))
    one, other = (found.pairs["door", "hall"] for found in (before, after))
    assert other.same == one.same - 9, "3 tracklets in each of the cameras"
    assert after.per_person == before.per_person == 9, "tracklets without a cluster are not counted"
    assert without_wrong(np.array([0, 0, 1, 1, -1]), np.array([[2, 3], [0, 2]])).tolist() == [0, 0, -1, -1, -1]


def test_each_pair_counts_once_and_as_the_user_says() -> None:
    """Against a list of all pairs: two cameras, clusters, and people seen at once."""
    rows = np.eye(6, dtype=np.float32)
    halves = np.full((6, 2, 6), np.nan, np.float32)
    clusters, at_once = np.array([0, 0, 1, 1, -1, -1]), np.array([[0, 2]])

    def counts(*known: list[tuple[int, int]]) -> tuple[int, int, int]:
        pairs = [np.array(one, np.int64).reshape(-1, 2) for one in known]
        found = collect(rows, halves, ["a", "a", "a", "b", "b", "b"], at_once, clusters, *pairs).values()
        return tuple(sum(len(getattr(one, kind)) for one in found) for kind in ("same", "different", "told"))

    assert counts([], []) == (2, 4, 0)  # 0-1, 2-3; 0-2, 0-3, 1-2, 1-3
    assert counts([(0, 1), (4, 5)], []) == (3, 4, 0)
    assert counts([(1, 3)], []) == (3, 3, 0)
    assert counts([], [(0, 2), (4, 5)]) == (2, 3, 2)
    assert counts([], [(2, 3)]) == (1, 4, 1)
