import pytest
import torch
from torch.nn import functional as F

from reid_toolkit.training.features import Features
from reid_toolkit.training.selection import select, self_retrieval


def features(first: torch.Tensor, second: torch.Tensor) -> Features:
    halves = torch.stack([first, second])
    whole = F.normalize(halves.sum(0), dim=1)
    return Features(whole, whole, halves)


def test_halves_that_find_each_other_score_one() -> None:
    rows = torch.eye(6)
    assert self_retrieval(features(rows, rows)) == 1


def test_a_network_that_tells_nobody_apart_scores_as_by_chance() -> None:
    """All at one distance: the k-th sample's own half stands at rank k, by gallery order."""
    rows = F.normalize(torch.ones(4, 3), dim=1)
    assert self_retrieval(features(rows, rows)) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_one_pair_exchanged() -> None:
    rows = torch.eye(4)
    assert self_retrieval(features(rows, rows[[1, 0, 2, 3]])) == pytest.approx((0.5 * 2 + 2) / 4)


def test_tracklets_of_one_frame_do_not_count() -> None:
    rows = torch.eye(4)
    second = rows.clone()
    second[3] = 0
    assert self_retrieval(features(rows, second)) == 1
    second[1:] = 0
    assert self_retrieval(features(rows, second)) is None


def rows(*scores: float | None) -> list[dict]:
    return [{"stage": stage, "self_retrieval": score} for stage, score in enumerate(scores)]


def test_the_rule() -> None:
    assert select(rows(0.5, 0.9, 0.7), "self_retrieval") == 1
    assert select(rows(0.5, 0.9, 0.7), "last") == 2
    assert select(rows(0.9, 0.5, 0.9, 0.1), "self_retrieval") == 2  # ties go to the later stage
    assert select(rows(None, None), "self_retrieval") == 1
