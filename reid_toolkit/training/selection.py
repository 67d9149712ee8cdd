"""Which stage's model to keep, without labels.

``self_retrieval`` asks each tracklet to find itself: the descriptor of its first half of frames is the query, the
second halves of all tracklets are the gallery. It needs no identity, and falls when clusters of different people
have been merged so far that the network stopped telling them apart. Ties go to the later stage.
"""

from typing import Any

import numpy as np
import torch

from reid_toolkit.evaluation.ranking import rank
from reid_toolkit.training.features import Features


def self_retrieval(features: Features) -> float | None:
    """mAP (0-1) of first halves finding their second halves; None when no tracklet has two frames."""
    whole = features.halves.norm(dim=2).min(dim=0).values > 0.5
    if int(whole.sum()) < 2:
        return None
    query, gallery = features.halves[0][whole], features.halves[1][whole]
    names = np.arange(1, len(query) + 1)
    # Different "cameras", since the protocol drops answers of the query's own.
    return rank(torch.cdist(query, gallery).numpy(), names, names, names * 0, names * 0 + 1).mean_ap


def select(metrics: list[dict[str, Any]], rule: str) -> int:
    """The stage to keep, from the rows of metrics.jsonl; "last" where the rule has nothing to go by."""
    scored = [row for row in metrics if row["self_retrieval"] is not None]
    if rule == "last" or not scored:
        return int(metrics[-1]["stage"])
    return int(max(scored, key=lambda row: (row["self_retrieval"], row["stage"]))["stage"])
