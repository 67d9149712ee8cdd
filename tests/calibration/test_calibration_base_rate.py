import numpy as np
import pytest

from reid_toolkit.calibration.curve import share_of_same


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_is_found_from_ratios_alone(share: float) -> None:
    """Distances of two bells, whose ratio is known, mixed in a share that is not told."""
    rng = np.random.default_rng(0)
    same = rng.uniform(size=40_000) < share
    distances = rng.normal(np.where(same, 0.3, 0.7), 0.1)
    ratios = ((distances - 0.7) ** 2 - (distances - 0.3) ** 2) / 0.02
    assert share_of_same(ratios) == pytest.approx(share, rel=0.1)


def test_nobody_and_nothing() -> None:
    assert share_of_same(np.full(100, -200.0)) < 1e-6
    assert share_of_same(np.full(100, 200.0)) > 0.999
    assert share_of_same(np.empty(0)) == 0
