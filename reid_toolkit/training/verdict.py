"""Did training help? The network before and after it, compared on tracklets without a label.

A network that knows people finds a tracklet's second half by way of another camera: take the first half's nearest
tracklet there, and search from it for the second half among those of the tracklet's own camera. It comes first where
the tracklet there shows the same person, or one who looks more like this person than anybody else does. (Cycle
consistency.) Finding the second half directly says little: two halves of one tracklet are nearly the same pictures, and
networks that have lost what tells people apart still match them. With one camera there is nothing else.

Tracklets that training learned from favour the network that learned from them. So some are held out. Where too few
are, training is never said to have helped, and of small sets the network before it is kept: training on 50 tracklets
of 25 people was worse for two sets of three, and better on the tracklets it had learned from for two of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.records import Tracklet
from reid_toolkit.training.features import Features, free_of_cameras

LEAST = 16
"""Tracklets to compare on. Among fewer, hardly a difference can be told from chance."""

HELD_OUT_SHARE = 5
"""One tracklet in so many is held out, at most."""

FEW = HELD_OUT_SHARE * LEAST
"""Under so many samples it cannot be told whether training helped, since too few can be held out."""

DRAWS = 20_000
"""Random signs of the test."""

SURE = 0.95
"""How sure a difference has to be."""


@dataclass(frozen=True)
class Verdict:
    """What the comparison says."""

    word: Literal["better", "no different", "worse", "unknown"]
    stage: int
    """The stage that was compared with the network before training."""
    tracklets: int
    """How many were compared on."""
    held_out: bool
    """Whether training did not see them."""
    before: float | None = None
    """Mean score, 0-1; None where it is unknown."""
    after: float | None = None
    chance: float | None = None
    """How often chance alone would make such a difference, 0-1: two-sided, by a sign-flip test over tracklets."""
    start_kept: bool = False
    """Whether the network before training is kept in place of the stage."""

    def sentence(self) -> str:
        """For people."""
        kept = "; the network before training is kept" if self.start_kept else ""
        if self.before is None or self.after is None or self.chance is None:
            return (
                f"better or worse than before training: unknown, since {LEAST} tracklets of two crops or more are "
                f"needed to compare on, and there are {self.tracklets}{kept}"
            )
        scores = f"score {self.before:.3f} before, {self.after:.3f} after"
        if self.word == "unknown":
            return (
                f"better or worse than before training: unknown, since fewer than {LEAST} tracklets were held out of "
                f"training; on {self.tracklets} that it learned from, which favours it: {scores}{kept}"
            )
        where = "tracklets held out of training" if self.held_out else "tracklets it learned from, which favours it"
        word = "no different from" if self.word == "no different" else f"{self.word} than"
        return (
            f"{word} before training on {self.tracklets} {where}: {scores}, {100 * (1 - self.chance):.0f}% sure{kept}"
        )


def hold_out(tracklets: Sequence[Tracklet], number: int) -> NDArray[np.bool_]:
    """Which of N tracklets are held out: at most ``number``, and at most a fifth; (N,).

    Of each camera its share, those that were seen last, and only tracklets of two crops or more.
    """
    held = np.zeros(len(tracklets), bool)
    number = min(number, len(tracklets) // HELD_OUT_SHARE)
    cameras = np.array([tracklet.camera for tracklet in tracklets])
    for camera in np.unique(cameras):
        own = np.flatnonzero(cameras == camera)
        long = [place for place in own.tolist() if len(tracklets[place].crops) > 1]
        # Times are either known for all of a camera's crops, or else frames count.
        long.sort(key=lambda place: (tracklets[place].start or 0.0, tracklets[place].crops[0].frame, place))
        share = round(number * len(own) / len(tracklets))
        held[long[len(long) - min(share, len(long)) :]] = True
    return held


def compare(
    before: Features,
    after: Features,
    cameras: Sequence[str],
    held: NDArray[np.bool_],
    stage: int,
    *,
    begun_from_weights: bool = True,
) -> Verdict:
    """Compare two networks' features of the same N samples: on those ``held`` (N,) out, or on all where those are few.

    All favour the later network, so there it can only be found worse, or else it is unknown. The network before is kept
    where the other is worse, and where that is unknown with fewer than :data:`FEW` samples, unless it was random
    (``begun_from_weights`` is False). Both are freed of their cameras' bias, as in a search. Nothing is random: the
    test draws its signs from one seed.
    """
    scores = [tracklet_scores(free_of_cameras(features, cameras), cameras) for features in (before, after)]
    counted = np.isfinite(scores[0]) & np.isfinite(scores[1])
    unseen = bool((counted & held).sum() >= LEAST)
    first, last = (score[counted & held if unseen else counted] for score in scores)
    about: dict[str, Any] = {"stage": stage, "tracklets": len(first), "held_out": unseen}
    few = begun_from_weights and len(held) < FEW
    if len(first) < LEAST:
        return Verdict("unknown", start_kept=few, **about)
    difference = last - first
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWS, len(difference)))
    reached = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9
    chance = float((1 + reached.sum()) / (1 + DRAWS))
    word: Literal["better", "no different", "worse", "unknown"] = "no different" if unseen else "unknown"
    if chance < 1 - SURE:
        if difference.mean() < 0:
            word = "worse"
        elif unseen:
            word = "better"
    kept = word == "worse" or (word == "unknown" and few)
    about |= {"before": float(first.mean()), "after": float(last.mean()), "chance": chance}
    return Verdict(word, start_kept=kept, **about)


def tracklet_scores(features: Features, cameras: Sequence[str]) -> NDArray[np.float64]:
    """How early each sample's second half comes by way of each other camera, or directly where there is one camera.

    1 - log(rank) / log(n) among the n second halves of its own camera: 1 for the first, 0 for the last; the mean over
    the other cameras; (N,). So that a rank of 3 in place of 2, where a person was there twice, costs little. NaN for
    samples of one frame, and where no other sample of its camera has two.
    """
    whole = features.halves.norm(dim=2).min(dim=0).values > 0.5
    groups = np.unique(np.asarray(cameras), return_inverse=True)[1]
    scores = np.full(len(groups), np.nan)
    for group in range(groups.max() + 1):
        own = torch.from_numpy(np.flatnonzero((groups == group) & whole.numpy()))
        if len(own) < 2:
            continue
        first, second = features.halves[0][own], features.halves[1][own]
        starts = [first]
        if groups.max() > 0:
            others = (
                features.descriptors[torch.from_numpy(groups == g)] for g in range(groups.max() + 1) if g != group
            )
            starts = [there[(first @ there.T).argmax(dim=1)] for there in others]
        ranks = torch.stack([ranks_of_own(start, second) for start in starts])
        scores[own] = (1 - ranks.log() / math.log(len(own))).mean(dim=0).numpy()
    return scores


def ranks_of_own(queries: Tensor, gallery: Tensor) -> Tensor:
    """The rank, from 1, of row i of ``gallery`` (n, D) for row i of ``queries`` (n, D), equals at their mean; (n,)."""
    similarity = queries @ gallery.T
    own = similarity.diagonal()[:, None]
    return ((similarity > own).sum(dim=1) + ((similarity == own).sum(dim=1) + 1) / 2).double()
