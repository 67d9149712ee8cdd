"""Contradictions among corrections, against a slow definition."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.people_table import Correction
from reid_toolkit.people.corrections import Links, new_correction

CALLED = {name: name.upper() for name in "abcdefgh"}


def correction(number: int, kind: str, first: str, second: str) -> Correction:
    return Correction(number, kind, first, second, "ana", 1_790_000_000.0)


def is_consistent(links: list[tuple[str, str, str]]) -> bool:
    """Whether some assignment of people to records obeys all links: by closing the must-links."""
    person = {name: name for name in CALLED}
    for _ in CALLED:
        for kind, first, second in links:
            if kind == "same":
                one, other = person[first], person[second]
                person = {name: one if held == other else held for name, held in person.items()}
    return all(person[first] != person[second] for kind, first, second in links if kind == "different")


@given(
    st.lists(
        st.tuples(st.sampled_from(["same", "different"]), st.sampled_from("abcdef"), st.sampled_from("abcdef")),
        max_size=14,
    )
)
def test_exactly_what_contradicts_earlier_corrections_is_refused(said: list[tuple[str, str, str]]) -> None:
    kept: list[Correction] = []
    for kind, first, second in said:
        if first == second:
            continue
        links = [(one.kind, one.first, one.second) for one in kept]
        fits = is_consistent([*links, (kind, first, second)])
        if fits:
            kept.append(new_correction(kind, first, second, kept, len(kept), "ana", CALLED))
            continue
        with pytest.raises(InputError) as refusal:
            new_correction(kind, first, second, kept, len(kept), "ana", CALLED)
        chain = Links.of(kept).against(kind, first, second)
        assert chain is not None
        assert all(one.name in str(refusal.value) for one in chain), "the message shows the chain"
        assert not is_consistent([*((one.kind, one.first, one.second) for one in chain), (kind, first, second)])


def test_the_chain_is_the_shortest_and_in_order() -> None:
    links = Links.of([correction(n, "same", *pair) for n, pair in enumerate(["ab", "bc", "cd", "ad"], start=1)])
    assert [one.number for one in links.chain("a", "c") or ()] == [1, 2]
    assert [one.number for one in links.chain("a", "d") or ()] == [4]
    assert links.chain("a", "h") is None
    assert links.chain("a", "a") == []
    for a, b in product("abcd", repeat=2):
        assert links.group(a) == links.group(b) == set("abcd")


def test_a_record_is_itself() -> None:
    with pytest.raises(InputError, match="A and A cannot be different people"):
        new_correction("different", "a", "a", [], 0, "ana", CALLED)
    with pytest.raises(InputError, match="the same record twice"):
        new_correction("same", "a", "a", [], 0, "ana", CALLED)
