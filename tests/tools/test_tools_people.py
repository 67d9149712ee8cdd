"""The bench of `reid people`, in miniature, and the score that it shares with the study."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
TOOLS = Path(__file__).parents[2] / "tools"


def test_it_groups_a_gallery_and_then_its_new_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import bench_people

    assert bench_people.fill(tmp_path / "g", 200) == {}
    whole, new = (step(tmp_path / "g", 200) for step in (bench_people.whole, bench_people.new))
    for found in (whole, new):
        assert found["drawn"] == 10
        assert 0.5 < found["F"] <= 1
        assert found["MB"] >= 0


def test_b_cubed_is_the_mean_over_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of four records of one person and one of another, who has a second group alone."""
    monkeypatch.syspath_prepend(TOOLS)
    from study import b_cubed

    precision, recall = b_cubed([0, 0, 0, 0, 0, 1], ["a", "a", "a", "a", "b", "b"])
    assert precision == pytest.approx((4 * 4 / 5 + 1 / 5 + 1) / 6)
    assert recall == pytest.approx((4 + 1 / 2 + 1 / 2) / 6)
