"""Which stage's model to keep: rules that read metrics.jsonl alone, which holds no label.

A finished run can so be judged by another rule than its recipe's (``reid report`` does), and
``reid export --stage N`` takes any stage.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Row = dict[str, Any]
"""One stage's line of metrics.jsonl; runs of older versions have fewer figures."""


START = -1
"""The stage of the network before training, whose line comes first."""


class Rule(NamedTuple):
    """What a stage is judged by."""

    figure: str
    """Its name in model.json; that of metrics.jsonl where it stands there."""
    of: Callable[[Row, Row], float | None]
    """The figure, from a stage's row and the row of the stage before ({} for the first); None where it has nothing to
    go by."""
    lowest: bool = False
    """Whether less is better."""


def violations(row: Row, before: Row) -> float | None:
    """Of those seen at once, the share whom the merges that made this stage's clusters would have joined, 0-1."""
    if not before:  # nothing is merged yet
        return None if row.get("violations_without") is None else 0.0
    return before.get("violations_without")


def dispersion(row: Row, before: Row) -> float | None:
    """Dispersion within clusters, as a share of that between them."""
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
"""By the name in a recipe. ``StageFigures`` says what the figures are."""


def figures(metrics: list[Row], rule: str) -> list[float | None]:
    """The rule's figure of each row of metrics.jsonl."""
    # The network before training merged nothing.
    before = [{} if row["stage"] == START else row for row in metrics]
    return [RULES[rule].of(row, last) for row, last in zip(metrics, [{}, *before], strict=False)]


def select(metrics: list[Row], rule: str) -> int:
    """The stage to keep, from the rows of metrics.jsonl; of equals the later, and the last where the rule has nothing
    to go by."""
    sign = -1 if RULES[rule].lowest else 1
    pairs = zip(figures(metrics, rule), metrics, strict=True)
    scored = [(sign * value, int(row["stage"])) for value, row in pairs if value is not None]
    return max(scored)[1] if scored else int(metrics[-1]["stage"])


def describe(metrics: list[Row], rule: str) -> dict[str, Any]:
    """For model.json: the stage to keep, its clusters, the rule, and the rule's figure of that stage by its name."""
    stage = select(metrics, rule)
    place = next(i for i, row in enumerate(metrics) if row["stage"] == stage)
    found = {"stage": stage, "clusters": metrics[place]["clusters"], "selection": rule}
    return found | {RULES[rule].figure: figures(metrics, rule)[place]}
