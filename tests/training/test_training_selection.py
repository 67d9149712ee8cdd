from typing import Any, get_args, get_type_hints

import pytest

from reid_toolkit.config import Recipe
from reid_toolkit.training.selection import RULES, describe, select

FIGURES = ("self_retrieval", "violations_without", "within", "between", "stability", "across_cameras")


def rows(**figures: list[float | None]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl, a column each."""
    columns = [[(name, value) for value in values] for name, values in figures.items()]
    return [{"stage": stage, **dict(row)} for stage, row in enumerate(zip(*columns, strict=True))]


def test_a_recipe_may_ask_for_any_rule() -> None:
    assert get_args(get_type_hints(Recipe)["selection"]) == tuple(RULES)


@pytest.mark.parametrize(
    ("rule", "figures", "stage"),
    [
        ("last", {"loss": [1.0, 2.0, 3.0]}, 2),
        ("self_retrieval", {"self_retrieval": [0.5, 0.9, 0.7]}, 1),
        ("stability", {"stability": [None, 0.9, 0.99, 0.8]}, 2),
        ("dispersion", {"within": [None, 0.1, 0.1, 0.3], "between": [0.8, 0.8, 0.9, 0.9]}, 2),
        ("across_cameras", {"across_cameras": [0.6, 0.4, 0.5]}, 1),
        # A row's merges make the clusters of the next stage: those of stage 2 were still clean.
        ("violations", {"violations_without": [0.0, 0.0, 0.1, None]}, 2),
        ("violations", {"violations_without": [0.0, 0.0, 0.0, None]}, 3),
        ("violations", {"violations_without": [0.1, 0.05, 0.2, None]}, 0),
    ],
)
def test_each_rule(rule: str, figures: dict[str, list[float | None]], stage: int) -> None:
    assert select(rows(**figures), rule) == stage


def test_of_equals_the_later() -> None:
    assert select(rows(self_retrieval=[0.9, 0.5, 0.9, 0.1]), "self_retrieval") == 2
    assert select(rows(across_cameras=[0.5, 0.5, 0.6]), "across_cameras") == 1


@pytest.mark.parametrize("rule", RULES)
def test_the_last_stage_where_a_rule_has_nothing_to_go_by(rule: str) -> None:
    """One camera, one crop a tracklet, nobody seen at once; and the rows of a run older than the figures."""
    assert select(rows(**{name: [None, None] for name in FIGURES}), rule) == 1
    assert select(rows(clusters=[12, 9, 6]), rule) == 2


@pytest.mark.parametrize("rule", RULES)
def test_what_a_run_is_worth_is_not_looked_at(rule: str) -> None:
    """Figures that need identities change no choice, even if somebody put them into the rows."""
    blind = rows(**{name: [0.3, 0.9, 0.5, 0.4] for name in FIGURES})
    chosen = select(blind, rule)
    for best in range(4):
        truth = {"mAP": float(best), "rank-1": float(best), "purity": float(best), "f": float(best)}
        assert select([{**row, **(truth if row["stage"] == best else {})} for row in blind], rule) == chosen


def test_a_model_names_its_rule_and_that_rules_own_figure() -> None:
    metrics = rows(
        self_retrieval=[0.5, 0.9, 0.7], violations_without=[0.0, 0.25, None], within=[None, 0.2, 0.3],
        between=[0.8, 0.8, 0.8], stability=[None, 0.8, 0.9], across_cameras=[None, None, None], clusters=[12, 9, 6],
    )  # fmt: skip
    second, third = {"stage": 1, "clusters": 9}, {"stage": 2, "clusters": 6}
    assert {rule: describe(metrics, rule) for rule in RULES} == {
        "last": third | {"selection": "last"},
        "self_retrieval": second | {"selection": "self_retrieval", "self_retrieval": 0.9},
        # Of the merges before: those that made the clusters of stage 1 would have joined nobody.
        "violations": second | {"selection": "violations", "violations_without": 0.0},
        "dispersion": second | {"selection": "dispersion", "within_by_between": 0.25},
        "stability": third | {"selection": "stability", "stability": 0.9},
        "across_cameras": third | {"selection": "across_cameras", "across_cameras": None},
    }
