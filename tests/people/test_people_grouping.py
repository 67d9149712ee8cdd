"""Groups of drawn descriptors: what is merged, what is kept apart, and the three levels."""

import numpy as np
import pytest
from drawn_site import Site

from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.neighbours import camera_aware_similarity
from reid_toolkit.people.grouping import LOOSE, STRICT, SURE_OTHER, SURE_OWN, TRADE_OFF, USUAL, Merge, after, group
from reid_toolkit.people.reach import Reach, estimate_reach, place_within, surroundings


def drawn(people: int, noise: float = 0.4, seed: int = 0):
    site = Site(people, noise=noise, seed=seed)
    return np.stack(site.rows), [one.camera for one in site.records], np.array(list(site.truth.values()))


def test_each_person_is_a_group() -> None:
    vectors, cameras, truth = drawn(12)
    labels = group(vectors, cameras).labels
    assert len(set(labels)) == 12
    assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 12


@pytest.mark.parametrize(("level", "limit"), [("strict", STRICT), ("labels", USUAL), ("loose", LOOSE)])
def test_each_level_is_what_merging_to_its_limit_gives(level: str, limit: float) -> None:
    vectors, cameras, _ = drawn(20, noise=0.9, seed=3)
    few = estimate_reach(vectors, cameras)._replace(own=SURE_OWN, other=SURE_OTHER)
    first = group(vectors, cameras, reach=few).strict
    reach = estimate_reach(vectors, cameras, groups=first)
    similarity = camera_aware_similarity(
        vectors, cameras, within=reach.own, across=reach.other, farthest=reach.farthest, surely=reach.surely
    )
    expected = merge_neighbours(similarity, np.arange(len(vectors)), until=limit, trade_off=TRADE_OFF).labels
    np.testing.assert_array_equal(getattr(group(vectors, cameras), level), expected)


def test_in_a_large_gallery_a_part_of_it_tells_what_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, cameras, truth = drawn(60, noise=0.7)
    apart = np.array([[0, 1], [5, 200], [len(truth) - 1, 0]])
    whole = group(vectors, cameras, cannot_link=apart)
    monkeypatch.setattr("reid_toolkit.people.reach.SAMPLED_FROM", len(truth))
    monkeypatch.setattr("reid_toolkit.people.reach.SEEDS", 10)
    farthest = estimate_reach(vectors, cameras).farthest
    rows, middle = surroundings(vectors, cameras, farthest)
    assert len(middle) == 10
    assert len(rows) < 0.5 * len(truth)
    near = np.linalg.norm(vectors[middle][:, None] - vectors, axis=2) < min(farthest("a", "a"), farthest("a", "b"))
    assert set(np.flatnonzero(near.any(axis=0)).tolist()) <= set(rows.tolist())
    some = group(vectors, cameras, cannot_link=apart)
    for level in ("strict", "labels"):
        np.testing.assert_array_equal(getattr(some, level), getattr(whole, level))


def test_each_row_has_a_place_in_its_group() -> None:
    groups = np.array([3, 0, 3, 3, 1, 0])
    places = place_within(groups)
    for group_ in set(groups.tolist()):
        assert sorted(places[groups == group_].tolist()) == list(range((groups == group_).sum()))


def test_of_the_records_near_to_one_the_nearest_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, cameras, _ = drawn(3)
    monkeypatch.setattr("reid_toolkit.people.reach.SAMPLED_FROM", 1)
    monkeypatch.setattr("reid_toolkit.people.reach.SEEDS", 1)
    monkeypatch.setattr("reid_toolkit.people.reach.AROUND", (2, 3))
    rows, (middle,) = surroundings(vectors, cameras, lambda a, b: 9.0)
    apart = np.linalg.norm(vectors - vectors[middle], axis=1)
    own = np.array(cameras) == cameras[middle]
    expected = [
        at for kind, most in ((own, 2), (~own, 3)) for at in sorted(np.flatnonzero(kind), key=apart.take)[:most]
    ]
    assert rows.tolist() == sorted({*expected, middle})


def test_cannot_links_hold_and_records_that_belong_together_stay() -> None:
    vectors, cameras, truth = drawn(6)
    one = np.flatnonzero(truth == 0)
    two = np.flatnonzero(truth == 1)
    start = np.arange(len(truth))
    start[two[0]] = start[one[0]]  # against all looks
    labels = group(vectors, cameras, start=start, cannot_link=np.array([[one[1], one[2]]])).labels
    assert labels[one[0]] == labels[two[0]]
    assert labels[one[1]] != labels[one[2]]


def test_nothing_is_merged_if_nothing_may_be() -> None:
    vectors, cameras, _ = drawn(1)
    pairs = np.stack(np.triu_indices(len(vectors), 1), axis=1)
    assert len(set(group(vectors, cameras, cannot_link=pairs).labels)) == len(vectors)
    assert group(vectors[:1], cameras[:1]).labels.tolist() == [0]


def test_records_farther_than_the_calibration_allows_are_no_neighbours() -> None:
    vectors, cameras, truth = drawn(6)
    assert len(set(group(vectors, cameras, reach=Reach(lambda a, b: 0.0, 3, 8)).labels)) == len(vectors)
    apart = group(vectors, cameras, reach=estimate_reach(vectors, cameras, lambda a, b: 2.0 if a == b else 0.0)).labels
    shown = {(int(label), camera) for label, camera in zip(apart, cameras, strict=True)}
    assert len(shown) == len(set(apart.tolist())), "no group holds records of two cameras"
    labels = group(vectors, cameras, reach=estimate_reach(vectors, cameras, lambda a, b: 1.0)).labels
    assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 6


@pytest.mark.parametrize(("people", "visits"), [(2, 1), (3, 1), (8, 2), (4, 40), (20, 1)])
def test_few_and_many_people_with_few_and_many_records_are_found(people: int, visits: int) -> None:
    site = Site(people, visits=visits, noise=0.5)
    labels = group(np.stack(site.rows), [one.camera for one in site.records]).labels
    assert len(set(labels)) == people
    assert len(set(zip(labels.tolist(), site.truth.values(), strict=True))) == people


def test_groups_after_merges_are_numbered_by_their_first_record() -> None:
    start = np.array([0, 0, 1, 1, 2])
    assert after(start, ()).tolist() == [0, 0, 1, 1, 2]
    assert after(start, (Merge(2, 4, 0.1),)).tolist() == [0, 0, 1, 1, 1]
    assert after(start, (Merge(2, 4, 0.1), Merge(0, 2, 0.2))).tolist() == [0] * 5


def test_the_limit_is_between_one_person_and_two() -> None:
    vectors, cameras, truth = drawn(20)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    same = truth[:, None] == truth
    reach = estimate_reach(vectors, cameras, groups=np.where(np.arange(len(truth)) % 7, truth, -1))
    for a, b in (("camera-0", "camera-0"), ("camera-0", "camera-1")):
        kind = (np.array(cameras)[:, None] == cameras) == (a == b)
        np.fill_diagonal(kind, False)
        assert np.quantile(apart[kind & same], 0.9) < reach.farthest(a, b) < np.quantile(apart[kind & ~same], 0.01)
    assert reach.own >= 1
    assert reach.other >= 4
