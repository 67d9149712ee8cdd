"""Whether training helped, judged without a label."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training import verdict as verdict_module
from reid_toolkit.training.features import Features
from reid_toolkit.training.verdict import Verdict, chance_of, compare, hold_out, ranks_of_own, tracklet_scores


def features(people: int, cameras: int, noise: float, seed: int = 0, bias: float = 0.5) -> tuple[Features, list[str]]:
    """Of a network that sees people with so much ``noise``: each was once in each camera."""
    rng = np.random.default_rng(seed)
    person, place = np.tile(rng.normal(size=(people, 16)), (cameras, 1)), np.repeat(np.arange(cameras), people)
    seen = person + bias * rng.normal(size=(cameras, 16))[place] + noise * rng.normal(size=(people * cameras, 16))
    halves = seen + 0.05 * rng.normal(size=(2, *seen.shape))

    def unit(rows: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32))

    whole = unit(halves.sum(axis=0))
    return Features(whole, whole, unit(halves)), [f"camera {c}" for c in place]


GOOD, POOR = 0.3, 2.0


def everybody(count: int) -> NDArray[np.bool_]:
    return np.ones(count, bool)


def test_a_network_that_tells_people_apart_better_is_better() -> None:
    (poor, cameras), (good, _) = features(40, 2, POOR), features(40, 2, GOOD)
    verdict = compare(poor, good, cameras, everybody(80), 7)
    assert verdict.word == "better"
    assert verdict.stage == 7
    assert (verdict.tracklets, verdict.held_out) == (80, True)
    assert verdict.before < verdict.after  # type: ignore[operator]
    assert verdict.chance < 0.01  # type: ignore[operator]
    assert verdict.sentence().startswith("better than before training on 80 tracklets held out of training: score 0.")


def test_one_that_lost_what_it_knew_is_worse() -> None:
    (poor, cameras), (good, _) = features(40, 2, POOR), features(40, 2, GOOD)
    verdict = compare(good, poor, cameras, everybody(80), 7)
    assert verdict.word == "worse"
    assert verdict.start_kept
    assert verdict.sentence().endswith("the network before training is kept")


@pytest.mark.parametrize("noise", [GOOD, POOR])
def test_two_that_see_equally_well_are_seldom_told_apart(noise: float) -> None:
    words = []
    for seed in range(20):
        first, cameras = features(30, 2, noise, seed)
        second, _ = features(30, 2, noise, seed + 100)
        words.append(compare(first, second, cameras, everybody(60), 0).word)
    assert words.count("no different") >= 17


def test_only_what_was_held_out_is_counted() -> None:
    (poor, cameras), (good, _) = features(40, 2, POOR), features(40, 2, GOOD)
    mixed = Features(*(torch.where(torch.arange(80)[:, None] < 60, a, b) for a, b in zip(
        (good.descriptors, good.embeddings, good.halves), (poor.descriptors, poor.embeddings, poor.halves), strict=True
    )))  # fmt: skip
    held = np.arange(80) >= 60
    assert compare(poor, mixed, cameras, held, 0).tracklets == 20
    assert compare(poor, poor, cameras, held, 0).word == "no different"


@pytest.mark.parametrize("held", [0, 15])
@pytest.mark.parametrize("people", [40, 39])
def test_where_few_were_held_out_training_is_never_said_to_have_helped(people: int, held: int) -> None:
    (poor, cameras), (good, _) = features(people, 2, POOR), features(people, 2, GOOD)
    count = 2 * people
    verdict = compare(poor, good, cameras, np.arange(count) < held, 0)
    assert (verdict.word, verdict.tracklets, verdict.held_out) == ("unknown", count, False)
    assert verdict.before < verdict.after  # type: ignore[operator]
    assert "fewer than 16 tracklets were held out" in verdict.sentence()
    assert "that it learned from, which favours it: score 0." in verdict.sentence()
    # Of a small set, what was there before is kept.
    assert verdict.start_kept == (count < 80)
    assert verdict.sentence().endswith("; the network before training is kept") == (count < 80)


def test_what_is_worse_even_on_what_it_learned_from_is_worse() -> None:
    (poor, cameras), (good, _) = features(20, 2, POOR), features(20, 2, GOOD)
    verdict = compare(good, poor, cameras, ~everybody(40), 0)
    assert (verdict.word, verdict.held_out, verdict.start_kept) == ("worse", False, True)
    assert "on 40 tracklets it learned from, which favours it" in verdict.sentence()


def test_random_weights_are_kept_only_where_training_did_harm() -> None:
    (poor, cameras), (good, _) = features(20, 2, POOR), features(20, 2, GOOD)
    grown = compare(poor, good, cameras, ~everybody(40), 0, begun_from_weights=False)
    assert (grown.word, grown.start_kept) == ("unknown", False)
    harmed = compare(good, poor, cameras, ~everybody(40), 0, begun_from_weights=False)
    assert (harmed.word, harmed.start_kept) == ("worse", True)


def test_signs_are_drawn_in_parts_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 7 rows of 77 signs, and a shorter last one."""
    monkeypatch.setattr(verdict_module, "MOST_SIGNS", 600)
    difference = np.random.default_rng(1).normal(0.15, 1.0, 77)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(verdict_module.DRAWS, 77))
    reached = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9
    expected = float((1 + reached.sum()) / (1 + verdict_module.DRAWS))
    assert 0.01 < expected < 0.99
    tracemalloc.start()
    try:
        assert chance_of(difference) == expected
        assert tracemalloc.get_traced_memory()[1] < signs.nbytes / 100
    finally:
        tracemalloc.stop()


def test_too_few_tracklets_say_nothing() -> None:
    (poor, cameras), (good, _) = features(3, 2, POOR), features(3, 2, GOOD)
    verdict = compare(poor, good, cameras, everybody(6), 0)
    assert verdict == Verdict("unknown", 0, 6, False, start_kept=True)
    expected = "unknown, since 16 tracklets of two crops or more are needed to compare on, and there are 6; the network"
    assert expected in verdict.sentence()


def test_many_single_pictures_keep_what_was_trained() -> None:
    found, cameras = features(40, 2, GOOD)
    found.halves[1] = 0
    assert compare(found, found, cameras, ~everybody(80), 0) == Verdict("unknown", 0, 0, False)


def test_tracklets_of_one_crop_have_no_score() -> None:
    found, cameras = features(10, 2, GOOD)
    found.halves[1, :4] = 0
    scores = tracklet_scores(found, cameras)
    assert np.isnan(scores[:4]).all()
    assert np.isfinite(scores[4:]).all()


def test_scores_are_one_minus_the_share_of_the_logarithm_of_the_rank() -> None:
    eye = torch.eye(4)
    second = eye[[0, 1, 3, 2]]
    one_camera = Features(eye, eye, torch.stack([eye, second]))
    # Camera 0: the first half of sample 2 finds sample 3's second half first, and the other three at rank 3 together.
    expected = 1 - math.log(3) / math.log(4)
    np.testing.assert_allclose(tracklet_scores(one_camera, ["a"] * 4), [1, 1, expected, expected])


def test_with_another_camera_the_way_leads_through_it() -> None:
    own = torch.eye(3)
    there = own[[0, 0, 2]]  # camera b never saw person 1
    both = torch.cat([own, there])
    found = Features(both, both, torch.stack([both, both]))
    scores = tracklet_scores(found, ["a"] * 3 + ["b"] * 3)
    assert scores[0] == scores[2] == 1
    assert scores[1] < 1


def test_equal_similarities_share_their_mean_rank() -> None:
    same = torch.ones(4, 1)
    assert ranks_of_own(same, same).tolist() == [2.5] * 4


def tracklet(name: str, camera: str, time: float | None, crops: int = 2) -> Tracklet:
    return Tracklet(name, camera, tuple(Crop(Path(f"{name}-{i}.png"), camera, name, i, time) for i in range(crops)))


def test_the_last_of_each_camera_are_held_out_and_at_most_a_fifth() -> None:
    tracklets = [tracklet(f"a{i}", "a", 100.0 - i) for i in range(20)] + [tracklet(f"b{i}", "b", i) for i in range(10)]
    held = hold_out(tracklets, 1000)
    assert [one.name for one, out in zip(tracklets, held, strict=True) if out] == ["a0", "a1", "a2", "a3", "b8", "b9"]
    assert hold_out(tracklets, 3).sum() == 3
    for count, each, expected in ((100, 4, 80), (40, 2, 16), (40, 20, 150), (2, 35, 14)):  # rounded: 100, 0, 160, 14
        many = [tracklet(f"{c}-{i}", f"cam{c}", float(i)) for c in range(count) for i in range(each)]
        assert hold_out(many, 150).sum() == expected
    assert not hold_out(tracklets, 0).any()


def test_tracklets_of_one_crop_are_not_held_out() -> None:
    assert not hold_out([tracklet(f"a{i}", "a", float(i), crops=1) for i in range(20)], 100).any()


def test_without_times_frames_count() -> None:
    crops = [Crop(Path(f"{i}.png"), "a", str(i), frame) for i in range(10) for frame in (90 - 9 * i, 95 - 9 * i)]
    tracklets = [Tracklet(str(i), "a", tuple(crops[2 * i : 2 * i + 2])) for i in range(10)]
    assert np.flatnonzero(hold_out(tracklets, 2)).tolist() == [0, 1]
