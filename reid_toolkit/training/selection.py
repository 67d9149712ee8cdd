"""Which stage's model to keep: rules that read metrics.jsonl alone, which holds no label.

A finished run can so be judged by another rule than its recipe's (``reid report`` does), and
``reid export --stage N`` takes any stage.
"""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
"""One stage's line of metrics.jsonl; runs of older versions have fewer figures."""


def last(row: Row, before: Row) -> float | None:
    """The last stage."""
    return float(row["stage"])


def self_retrieval(row: Row, before: Row) -> float | None:
    """The highest mAP of tracklets finding themselves, half by half."""
    return row.get("self_retrieval")


def violations(row: Row, before: Row) -> float | None:
    """The fewest of those seen at once whom the merges that made this stage's clusters would have joined."""
    if not before:  # nothing is merged yet
        return None if row.get("violations_without") is None else 0.0
    return negative(before.get("violations_without"))


def dispersion(row: Row, before: Row) -> float | None:
    """The smallest dispersion within clusters, as a share of that between them."""
    within, between = row.get("within"), row.get("between")
    return negative(within / between) if within is not None and between else None


def stability(row: Row, before: Row) -> float | None:
    """The largest share of merged samples whose nearest one stays in their cluster."""
    return row.get("stability")


def across_cameras(row: Row, before: Row) -> float | None:
    """The nearest matches in other cameras, against the average distance there."""
    return negative(row.get("across_cameras"))


RULES: dict[str, Callable[[Row, Row], float | None]] = {
    rule.__name__: rule for rule in (last, self_retrieval, violations, dispersion, stability, across_cameras)
}
"""Rule by its name in a recipe: how well a stage does, more is better, from its row and the row of the stage before
({} for the first); None where it has nothing to go by."""


def select(metrics: list[Row], rule: str) -> int:
    """The stage to keep, from the rows of metrics.jsonl; of equals the later, and "last" where the rule has nothing
    to go by."""
    scores = [RULES[rule](row, before) for row, before in zip(metrics, [{}, *metrics], strict=False)]
    scored = [(score, int(row["stage"])) for score, row in zip(scores, metrics, strict=True) if score is not None]
    return max(scored)[1] if scored else int(metrics[-1]["stage"])


def negative(value: float | None) -> float | None:
    return None if value is None else -value
