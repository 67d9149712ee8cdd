import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.evaluation import ranking
from reid_toolkit.evaluation.ranking import Ranking, rank


def slow_rank(
    distances: NDArray, query_ids: list, gallery_ids: list, query_cameras: list, gallery_cameras: list
) -> tuple[list[float], float, list[float]]:
    """CMC, mAP and each query's AP, one query and one gallery entry at a time, as METHOD says it."""
    firsts, precisions = [], []
    for q, identity in enumerate(query_ids):
        order = sorted(range(len(gallery_ids)), key=lambda g: (distances[q][g], g))
        answers = []
        for g in order:
            if gallery_ids[g] == -1 or (gallery_ids[g] == identity and gallery_cameras[g] == query_cameras[q]):
                continue
            answers.append(gallery_ids[g] == identity and identity > 0)
        ranks = [place for place, right in enumerate(answers, start=1) if right]
        if not ranks:
            precisions.append(float("nan"))
            continue
        firsts.append(ranks[0])
        precisions.append(sum(found / place for found, place in enumerate(ranks, start=1)) / len(ranks))
    cmc = [sum(first <= k for first in firsts) / max(len(firsts), 1) for k in range(1, len(gallery_ids) + 1)]
    return cmc, float(np.nanmean(precisions)) if firsts else float("nan"), precisions


@st.composite
def problems(draw: st.DrawFn) -> tuple:
    """Few values, so that ties, junk, distractors and queries without an answer are common."""
    queries, size = draw(st.integers(1, 6)), draw(st.integers(1, 12))

    def column(count: int, values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=count, max_size=count))

    distances = np.array(column(queries * size, st.integers(0, 4)), np.float32).reshape(queries, size) / 2
    ids, cameras = st.integers(-1, 3), st.integers(1, 3)
    return distances, column(queries, ids), column(size, ids), column(queries, cameras), column(size, cameras)


@settings(max_examples=300, deadline=None)
@given(problem=problems(), block=st.integers(1, 100), text=st.booleans())
def test_it_is_the_slow_evaluation(problem: tuple, block: int, text: bool) -> None:
    cmc, mean_ap, precisions = slow_rank(*problem)
    arguments = [problem[0], *([f"{x}" for x in names] if text else names for names in problem[1:])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        if all(np.isnan(precisions)):
            with pytest.raises(InputError, match="no query has a right answer"):
                rank(*arguments)
            return
        result = rank(*arguments)
    np.testing.assert_allclose(result.cmc, cmc)
    np.testing.assert_allclose(result.mean_ap, mean_ap)
    np.testing.assert_allclose(result.average_precisions, precisions)
    assert result.queries == np.count_nonzero(~np.isnan(precisions))


def one_query(gallery: str, **changed: object) -> Ranking:
    """Person 1 of camera a against a ranked gallery, written "identity+camera identity+camera ..."."""
    entries = gallery.split()
    arguments = {
        "distances": np.arange(len(entries))[None], "query_ids": ["1"], "gallery_ids": [e[:-1] for e in entries],
        "query_cameras": ["a"], "gallery_cameras": [e[-1] for e in entries],
    }  # fmt: skip
    return rank(**(arguments | changed))


def test_average_precision_by_hand() -> None:
    result = one_query("2b 1b 3b 1c 1b")  # right answers at ranks 2, 4 and 5
    assert result.mean_ap == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert result.cmc.tolist() == [0, 1, 1, 1, 1]
    assert (result.rank(1), result.rank(2), result.rank(20)) == (0, 1, 1)
    assert result.queries == 1


def test_one_right_answer_at_rank_two_is_a_half_and_not_the_trapezoids_quarter() -> None:
    assert one_query("2b 1b").mean_ap == 0.5


def test_the_same_person_in_the_same_camera_is_passed_over() -> None:
    assert one_query("1a 1a 1b 2b").rank(1) == 1
    assert one_query("1a 1a 1b 2b").mean_ap == 1
    assert one_query("2a 1b").rank(1) == 0, "others in that camera are not"


def test_junk_is_dropped_and_distractors_are_wrong_answers() -> None:
    assert one_query("-1b -1a 1b").rank(1) == 1
    assert one_query("0b 0a 1b").cmc.tolist() == [0, 0, 1]
    assert one_query("0b 0a 1b").mean_ap == pytest.approx(1 / 3)


def test_ties_are_broken_by_gallery_order() -> None:
    assert one_query("1b 2b", distances=[[0.5, 0.5]]).rank(1) == 1
    assert one_query("2b 1b", distances=[[0.5, 0.5]]).rank(1) == 0


def test_queries_without_an_answer_do_not_count() -> None:
    result = rank(np.zeros((3, 2)), ["1", "2", "0"], ["1", "0"], ["a"] * 3, ["b", "b"])
    assert result.queries == 1
    assert result.rank(1) == result.mean_ap == 1
    np.testing.assert_array_equal(np.isnan(result.average_precisions), [False, True, True])


def test_numbers_from_matlab_mean_the_same() -> None:
    result = rank(np.array([[0.0, 1, 2]]), np.array([1.0]), np.array([-1.0, 0.0, 1.0]), [1.0], [2.0, 2.0, 2.0])
    assert result.cmc.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"distances": np.zeros((1, 3))}, r"shape \(1, 2\)"),
        ({"distances": np.zeros((2, 1))}, r"shape \(1, 2\)"),
        ({"distances": np.zeros(2)}, r"got \(2,\)"),
        ({"query_cameras": ["a", "b"]}, "2 query and 2 gallery cameras"),
        ({"gallery_cameras": ["a"]}, "1 query and 1 gallery cameras"),
        ({"gallery_ids": [["1", "2"]]}, r"shape \(N,\), got \(1, 2\)"),
        ({"distances": [[0, np.nan]]}, "distances hold NaN"),
        ({"gallery_ids": ["2", "0"]}, "no query has a right answer"),
        ({"gallery_ids": ["-1", "-1"], "query_ids": ["-1"]}, "no query has a right answer"),
        ({"gallery_cameras": ["a", "a"]}, "no query has a right answer"),
        ({"query_ids": [], "query_cameras": [], "distances": np.zeros((0, 2))}, "nothing to rank: 0 queries"),
        ({"gallery_ids": [], "gallery_cameras": [], "distances": np.zeros((1, 0))}, "0 gallery entries"),
    ],
)
def test_what_cannot_be_ranked_is_refused(changed: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        one_query("1b 2b", **changed)


def test_infinite_distances_are_the_farthest() -> None:
    assert one_query("2b 1b", distances=[[np.inf, 5.0]]).rank(1) == 1
