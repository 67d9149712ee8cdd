from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.clustering import Agreement, agreement

SAMPLES = st.lists(st.tuples(st.integers(-3, 4), st.sampled_from([None, "", "0", "-1", "ann", "bob", "c"])), min_size=1)


def test_by_hand() -> None:
    """Clusters {a a b} {b b} {a}: 4 pairs are claimed, 2 of them right, of 6 there are."""
    assert agreement([7, 7, 7, 2, 2, 5], ["a", "a", "b", "b", "b", "a"]) == Agreement(5 / 6, 2 / 4, 2 / 6, 0.4, 6)


@settings(max_examples=200, deadline=None)
@given(SAMPLES)
def test_against_all_pairs_one_by_one(samples: list[tuple[int, str | None]]) -> None:
    labels, identities = zip(*samples, strict=True)
    known = [(label, who) for label, who in samples if who in ("ann", "bob", "c")]
    if not known:
        with pytest.raises(InputError, match="identities is known"):
            agreement(labels, identities)
        return
    pairs = list(combinations(known, 2))
    claimed = [(a, b) for a, b in pairs if a[0] == b[0]]
    wanted = [(a, b) for a, b in pairs if a[1] == b[1]]
    right = sum(a == b for a, b in pairs)
    found = agreement(labels, identities)
    assert found.samples == len(known)
    assert found.precision == (right / len(claimed) if claimed else 1)
    assert found.recall == (right / len(wanted) if wanted else 1)
    if right:
        assert found.f == pytest.approx(2 / (1 / found.precision + 1 / found.recall))
    else:
        assert found.f == (0 if claimed or wanted else 1)
    members = {label: [who for other, who in known if other == label] for label, _ in known}
    most = sum(max(map(own.count, own)) for own in members.values())
    assert found.purity == pytest.approx(most / len(known))


def test_every_sample_alone_and_all_in_one() -> None:
    people = ["a", "a", "b", "b"]
    assert agreement(range(4), people) == Agreement(1, 1, 0, 0, 4)
    assert agreement([0] * 4, people) == Agreement(1 / 2, 2 / 6, 1, 0.5, 4)
    assert agreement([3, 3, 9, 9], people) == Agreement(1, 1, 1, 1, 4)


def test_a_million_samples_in_one_cluster_do_not_overflow() -> None:
    assert agreement([0] * 1_000_000, ["a"] * 1_000_000).recall == 1


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="label for each of 2 identities, got shape \\(3,\\)"):
        agreement([0, 1, 2], ["a", "b"])
