"""How often two tracklets are of one person at all, without a label."""

import numpy as np
from numpy.typing import NDArray

STEPS = 1000
"""Of expectation and maximisation at most; each is a pass over the ratios."""


def share_of_same(log_ratios: NDArray[np.float64]) -> float:
    """The share of pairs that are of one person, 0-1, by their log likelihood ratios (M,), one person to two.

    The share under which the ratios are likeliest, by expectation maximisation: Saerens, Latinne and Decaestecker,
    "Adjusting the outputs of a classifier to new a priori probabilities" (2002). 0 of no pairs.
    """
    ratios = np.exp(np.clip(log_ratios, -50, 50))
    share = 0.05
    for _ in range(STEPS if len(ratios) else 0):
        before, share = share, float((share * ratios / (share * ratios + 1 - share)).mean())
        if abs(share - before) < 1e-6 * share:
            break
    return share if len(ratios) else 0.0
