import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.calibration import evidence
from reid_toolkit.calibration.evidence import Evidence, collect, members, pool

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

    names = sorted(set(cameras))
    wanted: dict = {(a, b): ([], [], []) for a in names for b in names if a <= b}

    def note(kind: int, i: int, j: int, a: np.ndarray, b: np.ndarray) -> None:
        pair = tuple(sorted((cameras[i], cameras[j])))
        wanted[pair][kind].append(float(np.linalg.norm(a - b)))

    for i in set(range(count)) - single:
        note(0, i, i, *halves[i])
    for i, j in combinations(range(count), 2):
        note(2, i, j, rows[i], rows[j])
        if one_cluster(i, j):
            if (i, j) not in seen:
                note(0, i, j, rows[i], rows[j])
        elif any(
            (one_cluster(i, a) and one_cluster(j, b)) or (one_cluster(i, b) and one_cluster(j, a)) for a, b in seen
        ):
            note(1, i, j, rows[i], rows[j])
    found = collect(rows, halves, cameras, np.array(seen, np.int64).reshape(-1, 2), np.array(labels))
    assert set(found) == set(wanted)
    for pair, one in found.items():
        assert sorted(one.same) == pytest.approx(sorted(wanted[pair][0]))
        assert sorted(one.different) == pytest.approx(sorted(wanted[pair][1]))
        # Of two cameras each pair once, of one camera from either end.
        assert sorted(one.any) == pytest.approx(sorted(wanted[pair][2] * (2 if pair[0] == pair[1] else 1)))
        assert math.isnan(one.median) == (not wanted[pair][2])


def test_without_clusters_nothing_reaches_across_cameras() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(6, 4)))
    halves = np.stack([rows, rows], axis=1)
    found = collect(rows, halves, ["a", "a", "a", "b", "b", "b"], np.array([[0, 1], [3, 5]]))
    assert len(found["a", "b"].same) == len(found["a", "b"].different) == 0
    for pair, (i, j) in (("a", (0, 1)), ("b", (3, 5))):
        assert found[pair, pair].same.tolist() == [0, 0, 0]
        assert found[pair, pair].different.tolist() == [pytest.approx(np.linalg.norm(rows[i] - rows[j]))]
    assert len(pool(list(found.values())).different) == 2
    assert len(pool([]).same) == 0


def test_pooled_distances_are_moved_to_what_is_usual() -> None:
    near = Evidence(np.array([0.1]), np.array([0.4, 0.6]), np.array([0.5, 0.4, 0.9]))
    middle = Evidence(np.array([0.3]), np.array([0.7]), np.array([0.7]))
    far = Evidence(np.empty(0), np.array([1.0]), np.array([0.9, 0.9]))
    found = pool([near, middle, far])
    assert found.median == pytest.approx(0.7)
    assert found.any.tolist() == pytest.approx([0.7, 0.6, 1.1, 0.7, 0.7, 0.7])
    assert found.same.tolist() == pytest.approx([0.3, 0.3])
    assert found.different.tolist() == pytest.approx([0.6, 0.8, 0.7, 0.8])


def test_the_usual_distance_of_many_pairs_is_that_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(np.random.default_rng(0).normal(size=(200, 8)))
    a, b = np.arange(80), np.arange(80, 200)
    exact = evidence.any_distances(rows, a, b, np.random.default_rng(1))
    monkeypatch.setattr(evidence, "ANY_PAIRS", 2_000)
    some = evidence.any_distances(rows, a, b, np.random.default_rng(1))
    assert (len(exact), len(some)) == (9_600, 2_000)
    assert np.median(some) == pytest.approx(np.median(exact), rel=0.02)


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
