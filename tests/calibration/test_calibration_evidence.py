from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.calibration import evidence
from reid_toolkit.calibration.evidence import collect, members, pool

CROWD = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-1, 3)), min_size=1, max_size=12)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=100)
@given(CROWD, st.data())
def test_against_all_pairs_one_by_one(crowd: list[tuple[str, int]], data: st.DataObject) -> None:
    cameras, labels = [camera for camera, _ in crowd], [label for _, label in crowd]
    count = len(crowd)
    rng = np.random.default_rng(0)
    rows, halves = unit(rng.normal(size=(count, 4))), unit(rng.normal(size=(count, 2, 4)))
    single = data.draw(st.sets(st.integers(0, count - 1)))
    halves[sorted(single)] = np.nan
    possible = [(i, j) for i, j in combinations(range(count), 2) if cameras[i] == cameras[j]]
    seen = sorted(data.draw(st.sets(st.sampled_from(possible)))) if possible else []

    def one_cluster(i: int, j: int) -> bool:
        return i == j or labels[i] == labels[j] != -1

    wanted: dict[tuple[str, str], tuple[list[float], list[float]]] = {}

    def note(kind: int, i: int, j: int, a: np.ndarray, b: np.ndarray) -> None:
        pair = tuple(sorted((cameras[i], cameras[j])))
        wanted.setdefault(pair, ([], []))[kind].append(float(np.linalg.norm(a - b)))

    for i in set(range(count)) - single:
        note(0, i, i, *halves[i])
    for i, j in combinations(range(count), 2):
        if one_cluster(i, j):
            if (i, j) not in seen:
                note(0, i, j, rows[i], rows[j])
        elif any(
            (one_cluster(i, a) and one_cluster(j, b)) or (one_cluster(i, b) and one_cluster(j, a)) for a, b in seen
        ):
            note(1, i, j, rows[i], rows[j])
    found = collect(rows, halves, cameras, np.array(seen, np.int64).reshape(-1, 2), np.array(labels))
    assert {pair: (sorted(one.same), sorted(one.different)) for pair, one in found.items()} == {
        pair: (pytest.approx(sorted(a)), pytest.approx(sorted(b))) for pair, (a, b) in wanted.items()
    }


def test_without_clusters_nothing_reaches_across_cameras() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(6, 4)))
    halves = np.stack([rows, rows], axis=1)
    found = collect(rows, halves, ["a", "a", "a", "b", "b", "b"], np.array([[0, 1], [3, 5]]))
    assert set(found) == {("a", "a"), ("b", "b")}
    for pair, (i, j) in (("a", (0, 1)), ("b", (3, 5))):
        assert found[pair, pair].same.tolist() == [0, 0, 0]
        assert found[pair, pair].different.tolist() == [pytest.approx(np.linalg.norm(rows[i] - rows[j]))]
    assert len(pool(list(found.values())).different) == 2
    assert len(pool([]).same) == 0


def test_of_too_many_pairs_some_are_drawn_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1, 1, 2, 0, 2, 2])
    blocks = np.array([[0, 2], [1, 2], [1, 1]])
    everyone = [np.flatnonzero(labels == label).tolist() for label in range(3)]
    wanted = [pair for a, b in blocks for pair in product(everyone[a], everyone[b])]
    assert members(blocks, labels, np.random.default_rng(0)).tolist() == [list(pair) for pair in wanted]
    monkeypatch.setattr(evidence, "MOST_PAIRS", 9)
    drawn = [members(blocks, labels, np.random.default_rng(0)).tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 1 < len(drawn[0]) <= 9
    assert {tuple(pair) for pair in drawn[0]} < set(wanted)
