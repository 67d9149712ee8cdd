"""Numbers and names that last."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.people_table import Membership, People
from reid_toolkit.people.naming import carry_over, check_name, find_person, name_of

LISTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=30)


@given(LISTS)
def test_each_group_has_its_own_number_and_new_numbers_were_never_used(pairs: list[tuple[int, int]]) -> None:
    groups, before = (np.array(column) for column in zip(*pairs, strict=True))
    last = 7
    numbers = carry_over(groups, before, last)
    assert len(set(zip(groups.tolist(), numbers.tolist(), strict=True))) == len(set(groups.tolist()))
    assert len(set(numbers.tolist())) == len(set(groups.tolist()))
    for group in set(groups.tolist()):
        number = int(numbers[groups == group][0])
        held = set(before[groups == group].tolist()) - {0}
        assert number in held or number > last
        if number > last:  # every person whom it holds is in another group, with as many records or more
            for person in held:
                mine = ((groups == group) & (before == person)).sum()
                keeper = groups[numbers == person]
                assert len(keeper)
                assert mine <= ((groups == keeper[0]) & (before == person)).sum() or (numbers == person).any()


@given(LISTS)
def test_groups_that_did_not_change_keep_their_numbers(pairs: list[tuple[int, int]]) -> None:
    groups = np.array([group for group, _ in pairs])
    first = carry_over(groups, np.zeros(len(groups), int), 0)
    np.testing.assert_array_equal(carry_over(9 - groups, first, 100), first)


def test_the_larger_part_of_a_divided_person_keeps_the_number() -> None:
    assert carry_over(np.array([0, 1, 1]), np.array([5, 5, 5]), 9).tolist() == [10, 5, 5]


def test_a_group_does_not_keep_a_number_that_it_is_barred_from() -> None:
    assert carry_over(np.array([0, 1, 1]), np.array([5, 5, 5]), 9, {(1, 5)}).tolist() == [5, 10, 10]
    assert carry_over(np.array([1, 1]), np.array([5, 5]), 9, {(1, 5)}).tolist() == [10, 10]


def test_a_number_with_a_name_is_kept() -> None:
    assert carry_over(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6]), 9, named=[6]).tolist() == [6, 6, 6, 10]
    assert carry_over(np.array([0, 0, 0, 1, 1]), np.array([5, 5, 6, 6, 6]), 9, named=[6]).tolist() == [5, 5, 5, 6, 6]


def test_people_are_found_by_number_and_by_name() -> None:
    people = People({"a": Membership(3, 1, 1)}, {3: "Ana"})
    assert find_person("Ana", people) == find_person("person-000003", people) == find_person("person-3", people) == 3
    assert find_person("person-000004", people) is None
    assert name_of(3, people.names) == "Ana"
    assert name_of(4, people.names) == "person-000004"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "person-000009", "c-3", "Ana", "\x1b[1m"])
def test_names_that_cannot_be_used_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        check_name(name, 4, People({}, {3: "Ana"}))


def test_a_person_may_keep_the_own_name() -> None:
    assert check_name(" Ana ", 3, People({}, {3: "Ana"})) == "Ana"
