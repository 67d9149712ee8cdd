"""Chooses which stage's model to keep, by rules that read only metrics.jsonl, which contains no label.

So a finished run can also be judged by another rule than its recipe's, as ``reid report`` does.
``reid export --stage N`` exports any stage.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Row = dict[str, Any]
"""One stage's line of metrics.jsonl. Runs of older versions have fewer figures."""


START = -1
"""The stage number of the network before training, whose line comes first."""


class Rule(NamedTuple):
    """A figure by which stages are judged."""

    figure: str
    """Its name in model.json; the name in metrics.jsonl if it is there."""
    of: Callable[[Row, Row], float | None]
    """Computes the figure from a stage's row and the row of the stage before ({} for the first). None if the rows lack
    what it needs."""
    lowest: bool = False
    """Whether a lower figure is better."""


def violations(row: Row, before: Row) -> float | None:
    """The share, 0-1, of pairs seen at the same time that the merges which made this stage's clusters would have
    joined."""
    if not before:  # nothing has been merged yet
        return None if row.get("violations_without") is None else 0.0
    return before.get("violations_without")


def dispersion(row: Row, before: Row) -> float | None:
    """Dispersion within clusters, divided by that between clusters."""
    within, between = row.get("within"), row.get("between")
    return within / between if within is not None and between else None


RULES = {
    "last": Rule("stage", lambda row, before: row["stage"]),
    "self_retrieval": Rule("self_retrieval", lambda row, before: row.get("self_retrieval")),
    "violations": Rule("violations_without", violations, lowest=True),
    "dispersion": Rule("within_by_between", dispersion, lowest=True),
    "stability": Rule("stability", lambda row, before: row.get("stability")),
    "across_cameras": Rule("across_cameras", lambda row, before: row.get("across_cameras"), lowest=True),
}
"""Rules by their name in a recipe. ``StageFigures`` explains the figures."""


def figures(metrics: list[Row], rule: str) -> list[float | None]:
    """Return the rule's figure for each row of metrics.jsonl."""
    # The network before training merged nothing.
    before = [{} if row["stage"] == START else row for row in metrics]
    return [RULES[rule].of(row, last) for row, last in zip(metrics, [{}, *before], strict=False)]


def select(metrics: list[Row], rule: str) -> int:
    """Return the stage to keep, from the rows of metrics.jsonl. The later of equal stages wins; if the rule has no
    figure, the last stage is kept."""
    sign = -1 if RULES[rule].lowest else 1
    pairs = zip(figures(metrics, rule), metrics, strict=True)
    scored = [(sign * value, int(row["stage"])) for value, row in pairs if value is not None]
    return max(scored)[1] if scored else int(metrics[-1]["stage"])


def describe(metrics: list[Row], rule: str) -> dict[str, Any]:
    """Return the entries of model.json: the stage to keep, its clusters, the rule, and the rule's figure by its
    name."""
    stage = select(metrics, rule)
    place = next(i for i, row in enumerate(metrics) if row["stage"] == stage)
    entries = {"stage": stage, "clusters": metrics[place]["clusters"], "selection": rule}
    return entries | {RULES[rule].figure: figures(metrics, rule)[place]}
