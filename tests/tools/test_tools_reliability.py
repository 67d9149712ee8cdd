import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.errors import InputError

tools = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "reliability.py"))
Bin, reliability = tools["Bin"], tools["reliability"]
ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1)


def test_by_hand() -> None:
    """Four answers of about 0.1, one of them right, and one of 0.9, which is."""
    found = reliability([0.1, 0.1, 0.1, 0.1, 0.9], [False, True, False, False, True])
    assert found.bins == (Bin(4, pytest.approx(0.1), 0.25), Bin(1, 0.9, 1.0))
    assert found.error == pytest.approx((4 * 0.15 + 1 * 0.1) / 5)
    assert found.brier == pytest.approx((3 * 0.01 + 0.81 + 0.01) / 5)
    assert found.right == 0.4


@settings(max_examples=100)
@given(ANSWERS)
def test_against_bin_by_bin(answers: list[tuple[float, bool]]) -> None:
    said, right = zip(*answers, strict=True)
    error = 0.0
    for place in range(10):
        there = [(p, r) for p, r in answers if int(p * 10) == place or (place == 9 and p == 1)]
        error += abs(sum(p for p, _ in there) - sum(r for _, r in there)) / len(answers)
    assert reliability(said, right).error == pytest.approx(error, abs=1e-9)


def test_what_comes_true_has_no_error_and_what_is_boasted_has() -> None:
    said = np.random.default_rng(0).uniform(size=50_000)
    right = np.random.default_rng(1).uniform(size=50_000) < said
    assert reliability(said, right).error < 0.01
    assert reliability(np.sqrt(said), right).error > 0.1


@pytest.mark.parametrize("said", [[], [0.5, 0.5], [1.5], [float("nan")], [[0.5]]])
def test_what_cannot_be_compared(said: list) -> None:
    with pytest.raises(InputError, match="expected"):
        reliability(said, [True] if said else [])
