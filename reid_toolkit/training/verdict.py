"""Did training help? Compares the network before and after training on tracklets, without a label.

The comparison uses cycle consistency. A network that knows people can find a tracklet's second half by way of another
camera: take the tracklet there that is nearest to the first half, and search from it for the second half among the
second halves of the first camera. The second half comes first if the tracklet in the other camera shows the same
person, or someone who resembles this person more than anybody else does. Searching for the second half directly says
little: two halves of one tracklet are nearly the same pictures, and a network that can no longer tell people apart
still matches them. With only one camera, the direct search is all there is.

Tracklets that training learned from favour the trained network, so some are held out. If too few are held out, training
is never said to have helped, and for small sets the network before training is kept: training on 50 tracklets of 25
people made the network worse for two of three sets, although the tracklets it had learned from made it look better.
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
from reid_toolkit.training.run_folder import RunFolder

LEAST = 16
"""Fewest tracklets to compare on. With fewer, a difference can hardly be told from chance."""

HELD_OUT_SHARE = 5
"""At most one tracklet in this many is held out."""

FEW = HELD_OUT_SHARE * LEAST
"""With fewer samples it cannot be known whether training helped, because too few can be held out."""

DRAWS = 20_000
"""Random sign patterns in the test."""

MOST_SIGNS = 1 << 22
"""Most random signs in memory at once, of 16 bytes each."""

SURE = 0.95
"""Confidence that a difference must reach."""


@dataclass(frozen=True)
class Verdict:
    """The result of the comparison."""

    word: Literal["better", "no different", "worse", "unknown"]
    stage: int
    """The stage that was compared with the network before training."""
    tracklets: int
    """Number of tracklets compared on."""
    held_out: bool
    """Whether these tracklets were held out of training."""
    before: float | None = None
    """Mean score, 0-1; None if unknown."""
    after: float | None = None
    chance: float | None = None
    """Probability, 0-1, that chance alone makes such a difference: two-sided, by a sign-flip test over tracklets."""
    start_kept: bool = False
    """Whether the network before training is kept instead of the stage."""

    def sentence(self) -> str:
        """Describe the result in one sentence for people."""
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


def read_verdict(folder: RunFolder) -> Verdict | None:
    """Return the result that model.json of a run has; None if it has none. Raises :class:`RunError` if it is
    damaged."""
    held = folder.model().get("verdict")
    if not held:
        return None
    try:
        verdict = Verdict(**held)
        verdict.sentence()  # fails if a figure is no number
    except (TypeError, ValueError):
        raise folder.damaged_model() from None
    return verdict


def hold_out(tracklets: Sequence[Tracklet], number: int) -> NDArray[np.bool_]:
    """Choose the tracklets to hold out of N: at most ``number``, and at most a fifth. Returns a mask (N,).

    Each camera gives its share: its latest tracklets of two crops or more.
    """
    held = np.zeros(len(tracklets), bool)
    if not len(tracklets):
        return held
    number = min(number, len(tracklets) // HELD_OUT_SHARE)
    cameras = np.array([tracklet.camera for tracklet in tracklets])
    names, sizes = np.unique(cameras, return_counts=True)
    shares = np.rint(number * sizes / len(tracklets)).astype(int)
    if not number / 2 <= shares.sum() <= number:
        # Of many cameras with few tracklets, rounding takes too many or none. Then the largest remainders count.
        shares, rest = np.divmod(number * sizes, len(tracklets))
        shares[np.argsort(-rest, kind="stable")[: number - shares.sum()]] += 1
    for camera, share in zip(names, shares.tolist(), strict=True):
        own = np.flatnonzero(cameras == camera)
        long = [place for place in own.tolist() if len(tracklets[place].crops) > 1]
        # Times are known for all crops of a camera or for none; without times, frame numbers decide.
        long.sort(key=lambda place: (tracklets[place].start or 0.0, tracklets[place].crops[0].frame, place))
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
    """Compare two networks' features of the same N samples, on the ``held`` (N,) out ones, or on all if those are few.

    All samples together favour the later network, so on them it can only be found worse; otherwise the result is
    unknown. The network before training is kept if the later one is worse, or if the result is unknown with fewer than
    :data:`FEW` samples; but never if it was random (``begun_from_weights`` is False). Both networks' features are freed
    of their cameras' bias, as in a search. The result is reproducible: the test draws its signs from a fixed seed.
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
    chance = chance_of(difference)
    word: Literal["better", "no different", "worse", "unknown"] = "no different" if unseen else "unknown"
    if chance < 1 - SURE:
        if difference.mean() < 0:
            word = "worse"
        elif unseen:
            word = "better"
    kept = word == "worse" or (word == "unknown" and few)
    about |= {"before": float(first.mean()), "after": float(last.mean()), "chance": chance}
    return Verdict(word, start_kept=kept, **about)


def chance_of(difference: NDArray[np.float64]) -> float:
    """Return the probability that chance alone makes a mean as far from 0 as that of ``difference`` (n,): by random
    signs."""
    generator, reached = np.random.default_rng(0), 0
    # All at once they would take 320 kB for each tracklet. The generator gives the same signs in parts.
    rows = max(1, MOST_SIGNS // len(difference))
    for first in range(0, DRAWS, rows):
        signs = generator.choice([-1.0, 1.0], size=(min(rows, DRAWS - first), len(difference)))
        reached += int((np.abs(signs @ difference) >= abs(difference.sum()) - 1e-9).sum())
    return (1 + reached) / (1 + DRAWS)


def tracklet_scores(features: Features, cameras: Sequence[str]) -> NDArray[np.float64]:
    """Score how early each sample's second half is found by way of each other camera, or directly with only one camera.

    The score is 1 - log(rank) / log(n) among the n second halves of its own camera: 1 for the first, 0 for the last. It
    is the mean over the other cameras, (N,). By the logarithm, a rank of 3 instead of 2 costs little, for example if a
    person was seen twice. NaN for samples of one frame, and if no other sample of the camera has two frames.
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
    """Return the rank (n,), from 1, of row i of ``gallery`` (n, D) for row i of ``queries`` (n, D). Ties get their
    mean."""
    similarity = queries @ gallery.T
    own = similarity.diagonal()[:, None]
    return ((similarity > own).sum(dim=1) + ((similarity == own).sum(dim=1) + 1) / 2).double()
