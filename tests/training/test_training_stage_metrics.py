import pytest
import torch
from torch.nn import functional as F

from reid_toolkit.method.equations import between_dispersion, within_dispersion
from reid_toolkit.training import stage_metrics
from reid_toolkit.training.features import Features
from reid_toolkit.training.stage_metrics import StageFigures, self_retrieval, stage_figures


def features(first: torch.Tensor, second: torch.Tensor) -> Features:
    halves = torch.stack([first, second])
    whole = F.normalize(halves.sum(0), dim=1)
    return Features(whole, whole, halves)


def random_rows(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def by_loops(rows: torch.Tensor, labels: torch.Tensor, cameras: list[str]) -> StageFigures:
    """The four figures of distances as their definitions read."""
    groups = [rows[labels == c] for c in labels.unique()]
    within = [within_dispersion(group) for group in groups if len(group) > 1]
    between = [between_dispersion(a, b) for i, a in enumerate(groups) for b in groups[:i]]
    stays, ratios = [], []
    for i, row in enumerate(rows):
        distances = (rows - row).norm(dim=1)
        others = [j for j in range(len(rows)) if j != i]
        if (labels == labels[i]).sum() > 1:
            stays.append(labels[min(others, key=lambda j, d=distances: d[j])] == labels[i])
        away = [distances[j] for j in others if cameras[j] != cameras[i]]
        ratios.append(min(away) / (sum(away) / len(away)))
    means = [float(torch.tensor(values).float().mean()) for values in (within, between, stays, ratios)]
    return StageFigures(None, None, *means)


@pytest.mark.parametrize("block", [1, 40, 1 << 22])
def test_figures_are_what_they_say(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """However few rows are held at a time."""
    monkeypatch.setattr(stage_metrics, "BLOCK", block)
    rows = random_rows(13)
    rows[6] = F.normalize(rows[5] + 0.2 * rows[0], dim=0)
    labels = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7, 7, 8])
    cameras = list("aabcabcabcabc")
    found = stage_figures(features(rows, torch.zeros_like(rows)), labels, cameras)
    wanted = by_loops(rows, labels, cameras)
    assert (found.self_retrieval, found.self_retrieval_rank_1) == (None, None)
    for name in ("within", "between", "stability", "across_cameras"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=1e-5), name
    assert 0 < wanted.stability < 1


def test_what_cannot_be_known_is_none() -> None:
    rows = random_rows(4)
    alone = stage_figures(features(rows, rows), torch.arange(4), ["a"] * 4)
    assert (alone.within, alone.stability, alone.across_cameras) == (None, None, None)
    assert alone.between is not None
    assert stage_figures(features(rows, rows), torch.zeros(4, dtype=torch.int64), ["a"] * 4).between is None


def test_the_only_one_seen_by_one_camera_has_somebody_elsewhere_and_so_have_the_others() -> None:
    rows = torch.eye(3)
    assert stage_figures(features(rows, rows), torch.arange(3), ["a", "b", "b"]).across_cameras == pytest.approx(1)


def test_a_match_in_another_camera_lowers_the_figure() -> None:
    rows = F.normalize(torch.eye(4)[[0, 1, 2, 0, 1, 3]] + 0.01 * random_rows(6)[:, :4], dim=1)
    found = stage_figures(features(rows, rows), torch.arange(6), list("aaabbb")).across_cameras
    assert found is not None
    assert 0.3 < found < 0.5  # four of six are matched, and two are as far from all


def test_halves_that_find_each_other_score_one() -> None:
    rows = torch.eye(6)
    assert self_retrieval(features(rows, rows)) == (1, 1)


def test_a_network_that_tells_nobody_apart_scores_as_by_chance() -> None:
    """All at one distance: the k-th sample's own half stands at rank k, by gallery order."""
    rows = F.normalize(torch.ones(4, 3), dim=1)
    assert self_retrieval(features(rows, rows)) == pytest.approx(((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 1 / 4))


def test_one_pair_exchanged() -> None:
    rows = torch.eye(4)
    assert self_retrieval(features(rows, rows[[1, 0, 2, 3]])) == pytest.approx(((0.5 * 2 + 2) / 4, 1 / 2))


def test_tracklets_of_one_frame_do_not_count() -> None:
    rows = torch.eye(4)
    second = rows.clone()
    second[3] = 0
    assert self_retrieval(features(rows, second)) == (1, 1)
    second[1:] = 0
    assert self_retrieval(features(rows, second)) == (None, None)
