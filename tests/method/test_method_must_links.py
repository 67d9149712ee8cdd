"""Must-links against a slow definition, and clusters that obey them."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.method.must_links import between_groups, obey, tied

COUNT = 8
PAIRS = st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)), max_size=8)


def slowly(pairs: list[tuple[int, int]]) -> list[int]:
    """The smallest sample that each is tied to."""
    smallest = list(range(COUNT))
    for _ in range(COUNT):
        for a, b in pairs:
            smallest[a] = smallest[b] = min(smallest[a], smallest[b])
    return smallest


@given(PAIRS)
def test_samples_are_tied_through_others(pairs: list[tuple[int, int]]) -> None:
    found, expected = tied(COUNT, pairs), slowly(pairs)
    assert [(found[a] == found[b]) for a, b in combinations(range(COUNT), 2)] == [
        expected[a] == expected[b] for a, b in combinations(range(COUNT), 2)
    ]
    firsts = [found.tolist().index(group) for group in range(int(found.max()) + 1)]
    assert firsts == sorted(firsts), "numbered by their smallest member"


@given(PAIRS, PAIRS, st.lists(st.integers(0, 4), min_size=COUNT, max_size=COUNT))
def test_clusters_obey_both_kinds_of_pairs(
    same: list[tuple[int, int]], different: list[tuple[int, int]], drawn: list[int]
) -> None:
    ties = tied(COUNT, same)
    apart = between_groups(different, ties)
    labels = np.array(drawn)
    for a, b in apart:  # as a clustering that obeys cannot-links makes them
        if labels[a] == labels[b]:
            labels[b] = labels.max() + 1
    apart = apart[labels[apart[:, 0]] != labels[apart[:, 1]]]
    found = obey(labels, ties, apart)
    assert sorted(set(found.tolist())) == list(range(int(found.max()) + 1))
    assert all(found[a] == found[b] for a, b in same)
    assert all(found[a] != found[b] for a, b in apart)
    if not len(apart):
        assert all(found[a] == found[b] for a, b in combinations(range(COUNT), 2) if labels[a] == labels[b])


def test_whole_clusters_are_united() -> None:
    found = obey(np.array([0, 0, 1, 1, 2]), tied(5, [(0, 2)]), [])
    assert found.tolist() == [0, 0, 0, 0, 1]


def test_if_that_is_not_allowed_only_the_tied_samples_move() -> None:
    found = obey(np.array([0, 0, 1, 1, 2]), tied(5, [(0, 2)]), [(1, 3)])
    assert found.tolist() == [0, 1, 0, 2, 3]


def test_a_pair_that_is_tied_and_kept_apart_is_refused() -> None:
    with pytest.raises(InputError, match="tie samples 0 and 2 together"):
        obey(np.arange(3), tied(3, [(0, 1), (1, 2)]), [(0, 2)])


def test_nothing_is_known() -> None:
    assert tied(3, []).tolist() == [0, 1, 2]
    assert obey(np.array([4, 4, 1]), tied(3, []), []).tolist() == [0, 0, 1]
