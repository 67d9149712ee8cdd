"""Which preset a network wants, found out on the user's own tracklets without a label.

Every preset is tried. If the file still has its batch norms, the first one remembers what it was trained on, and the
preset is kept that comes nearest to that (``norms.py``). If not, the one that separates best: a network that is fed
rightly finds the second half of a tracklet among people that the same camera saw at the same time, who are others for
certain; fed wrongly it still sees something, but tells people apart less well. That is weaker, since many networks do
as well with half the contrast. Where two presets that differ come out alike, the choice is refused.

Presets that are nearly the same to the network (their descriptors agree) count as one, by the name of the commonest:
no footage tells them apart, and it does not matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.datasets.dataset import CropEmbedder, Dataset, embed_groups, times
from reid_toolkit.errors import InputError
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.records import Crop, Tracklet

MOST_TRACKLETS = 120
LEAST_TRACKLETS = 12
"""With fewer nothing is tried: who is right would be chance."""
CROPS_OF_A_HALF = 3
ENOUGH_RIVALS = 5
"""Where fewer were seen at once with a tracklet, others of its camera count too, most of whom are other people."""
SAME = 0.98
"""Mean cosine of two presets' descriptors from which on they are the same to the network."""
RESAMPLES = 1000
FAR_LESS = 0.5
"""Of the best separation. The norms are not believed where what they say separates so much less."""
CONFIDENCE = 0.95

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Trial:
    """How well a network separates with one preset."""

    preset: str
    recall: float
    """Of tracklets, whose second half is nearer to the first than that of anyone else of the same camera seen, 0-1."""
    separation: float
    """How far the halves of one tracklet are nearer to each other than to others', in standard deviations."""
    mismatch: float | None
    """Of the first batch norm, 0 for pictures like those it was trained on; None where the file has none."""
    same_as: str | None = None
    """A commoner preset, whose descriptors agree with these."""


@dataclass(frozen=True)
class Choice:
    """The preset that was kept, and what each came to, best first."""

    preset: str
    by_norm: bool
    """Whether the first batch norm told, and not separation."""
    tracklets: int
    trials: tuple[Trial, ...]


def choose(
    dataset: Dataset,
    embedders: Mapping[str, CropEmbedder],
    mismatches: Mapping[str, float | None],
    bad: list[str],
    on_progress: Progress | None = None,
) -> Choice:
    """Try the network under each preset, ``embedders`` by name, the commonest first; ``mismatches`` are those of its
    first batch norm. Messages of crops that cannot be read go to ``bad``; a tracklet with a half of such is left out.

    Raises :class:`InputError` where the dataset has too few tracklets to try on, and where presets that differ come out
    so close that either may be right.
    """
    tracklets = usable(dataset.tracklets)
    halves = [half for tracklet in tracklets for half in split(tracklet)]
    found, kept = {}, np.ones(len(tracklets), bool)
    for number, (name, embedder) in enumerate(embedders.items()):
        found[name] = descriptors(embedder, halves, [] if number else bad)
        kept &= (np.linalg.norm(found[name], axis=2) > 0).all(axis=0)
        if on_progress:
            on_progress(number + 1, len(embedders))
    tracklets = [tracklet for tracklet, whole in zip(tracklets, kept, strict=True) if whole]
    found = {name: rows[:, kept] for name, rows in found.items()}
    if len(tracklets) < LEAST_TRACKLETS:
        raise InputError(
            f"{dataset.root}: has {len(tracklets)} tracklets of 2 crops and more that can be read: expected "
            f"{LEAST_TRACKLETS} to find out what the network wants; say it with --preset, or give more footage"
        )
    rivals = rivals_of(tracklets)
    margins = {name: margins_of(rows, rivals) for name, rows in found.items()}
    names = sorted(found, key=lambda name: -separation(margins[name]))
    best = names[0]
    heard = {name: value for name in names if (value := mismatches[name]) is not None}
    if heard:
        told = min(heard, key=heard.__getitem__)
        close = [] if separation(margins[told]) > FAR_LESS * separation(margins[best]) else [best, told]
        best = told
    else:
        close = [name for name in names if not surely_less(margins[name], margins[best])]
    if not all(agree(found[name], found[best]) for name in close):
        words = " and ".join(f"{name} {separation(margins[name]):.2f}" for name in close)
        why = "separate people alike, and differ" if not heard else "are told by separation and by its batch norms"
        raise InputError(
            f"{words} (standard deviations, {len(tracklets)} tracklets) {why}: expected one that is better; say which "
            "with --preset, or give more footage"
        )
    chosen = next(name for name in found if agree(found[name], found[best]))  # the commonest first
    trials = []
    for name in names:
        same = next(one for one in found if agree(found[one], found[name]))
        recall = float(np.mean(margins[name][:, 0] > margins[name][:, 1]))
        trials.append(Trial(name, recall, separation(margins[name]), mismatches[name], None if same == name else same))
    return Choice(chosen, bool(heard), len(tracklets), tuple(trials))


def usable(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Some of those that have two halves, spread evenly over the cameras."""
    by_camera: dict[str, list[Tracklet]] = {}
    for tracklet in tracklets:
        if len(tracklet.crops) >= 2:
            by_camera.setdefault(tracklet.camera, []).append(tracklet)
    generator = np.random.default_rng(0)
    chosen: list[Tracklet] = []
    for members in by_camera.values():
        order = generator.permutation(len(members))[: -(-MOST_TRACKLETS // len(by_camera))]
        chosen += [members[place] for place in sorted(order)]
    return chosen


def split(tracklet: Tracklet) -> tuple[list[Crop], list[Crop]]:
    """A few crops of its first half, and of its second."""
    middle = len(tracklet.crops) // 2
    return some(tracklet.crops[:middle]), some(tracklet.crops[middle:])


def some(crops: Sequence[Crop]) -> list[Crop]:
    """At most :data:`CROPS_OF_A_HALF` of them, evenly over all."""
    return [crops[place] for place in sorted({*np.linspace(0, len(crops) - 1, CROPS_OF_A_HALF).astype(int)})]


def some_crops(dataset: Dataset) -> list[Crop]:
    """Of the tracklets that are looked at, the crop in the middle of each."""
    return [tracklet.crops[len(tracklet.crops) // 2] for tracklet in usable(dataset.tracklets)]


def rivals_of(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """(N, N): who is not who."""
    clocks, starts, ends = times(tracklets)
    pairs = cannot_link_pairs(clocks, starts, ends)
    at_once = np.zeros((len(tracklets), len(tracklets)), bool)
    at_once[pairs[:, 0], pairs[:, 1]] = at_once[pairs[:, 1], pairs[:, 0]] = True
    cameras = np.array([tracklet.camera for tracklet in tracklets])
    beside = (cameras[:, None] == cameras) & ~np.eye(len(tracklets), dtype=bool)
    few = at_once.sum(1) < ENOUGH_RIVALS
    at_once[few] |= beside[few]
    return at_once


def descriptors(embedder: CropEmbedder, halves: Sequence[Sequence[Crop]], bad: list[str]) -> NDArray[np.float32]:
    """(2, N, D) of first and second halves, rows of length 1; zero where no crop of a half can be read. Messages of
    crops that cannot be read go to ``bad``."""
    rows = np.zeros((len(halves), 0), np.float32)
    for place, found in embed_groups(embedder, halves, bad):
        if not rows.shape[1]:
            rows = np.zeros((len(halves), found.shape[1]), np.float32)
        mean = found.mean(0)
        rows[place] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return np.stack([rows[::2], rows[1::2]])


def margins_of(rows: NDArray[np.float32], rivals: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 4) of each tracklet that has rivals: similarity of its halves, the greatest to a rival's, and mean and
    variance of all of these."""
    similar = rows[0].astype(np.float64) @ rows[1].T.astype(np.float64)
    found = []
    for place, against in enumerate(rivals):
        if against.any():
            others = np.concatenate([similar[place, against], similar[against, place]])
            found.append((similar[place, place], others.max(), others.mean(), others.var()))
    return np.array(found).reshape(-1, 4)


def separation(margins: NDArray[np.float64]) -> float:
    """Difference of the means of own and of others', over their common standard deviation; 0 of nothing."""
    if not len(margins):
        return 0.0
    own, others = margins[:, 0], margins[:, 2]
    spread = np.sqrt((own.var() + others.var() + margins[:, 3].mean()) / 2)
    return float((own.mean() - others.mean()) / spread) if spread > 0 else 0.0


def surely_less(one: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether ``one`` separates less than ``best`` in nearly all samples of the same tracklets, drawn with repeats."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(best), (RESAMPLES, len(best)))
    less = sum(separation(one[draw]) < separation(best[draw]) for draw in draws)
    return bool(less >= CONFIDENCE * RESAMPLES)


def agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two presets are the same to the network."""
    return bool((one * other).sum(2).mean() >= SAME)
