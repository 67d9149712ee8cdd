"""Finds the preset that a network needs, on the user's own tracklets and without a label.

Every preset is tried. If the file still has its batch norms, the first one remembers the statistics of its training
pictures, and the preset that comes nearest to them is chosen (``norms.py``). Otherwise the preset that separates best
is chosen. A network with the right preset finds the second half of a tracklet among people whom the same camera saw at
the same time, who are certainly others. With a wrong preset it tells people apart less well. This evidence is weaker,
because many networks do as well with half the contrast. If two different presets come out alike, none is chosen.

Presets that are nearly the same to the network (their descriptors agree) count as one, with the name of the most common
of them: no footage can tell them apart, and the choice between them makes no difference.
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
"""With fewer tracklets nothing is tried, because the result would be chance."""
CROPS_OF_A_HALF = 3
ENOUGH_RIVALS = 5
"""If fewer people were seen at the same time as a tracklet, others of its camera count too; most are other people."""
SAME = 0.98
"""Mean cosine of two presets' descriptors from which the presets count as the same."""
RESAMPLES = 1000
FAR_LESS = 0.5
"""Fraction of the best separation. The batch norms' choice is rejected if it separates less than this."""
CONFIDENCE = 0.95

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Trial:
    """How well a network separates people with one preset."""

    preset: str
    recall: float
    """Share of tracklets, 0-1, whose second half is nearer to the first than any other person's in the same camera."""
    separation: float
    """By how much the halves of one tracklet are nearer to each other than to others', in standard deviations."""
    mismatch: float | None
    """Mismatch at the first batch norm; 0 for pictures like those it was trained on; None if the file has none."""
    same_as: str | None = None
    """A more common preset whose descriptors agree with this one's."""


@dataclass(frozen=True)
class Choice:
    """The chosen preset, and the results of all presets, best first."""

    preset: str
    by_norm: bool
    """Whether the first batch norm decided, and not separation."""
    tracklets: int
    trials: tuple[Trial, ...]


def choose(
    dataset: Dataset,
    embedders: Mapping[str, CropEmbedder],
    mismatches: Mapping[str, float | None],
    bad: list[str],
    on_progress: Progress | None = None,
) -> Choice:
    """Try the network under each preset. ``embedders`` are by name, the most common preset first; ``mismatches`` are
    those of the network's first batch norm.

    Messages of crops that cannot be read go to ``bad``. A tracklet is left out if no crop of one half can be read.
    Raises :class:`InputError` if the dataset has too few tracklets, or different presets come out so close that either
    may be right.
    """
    tracklets = usable(dataset.tracklets)
    halves = [half for tracklet in tracklets for half in split(tracklet)]
    by_name, kept = {}, np.ones(len(tracklets), bool)
    for number, (name, embedder) in enumerate(embedders.items()):
        by_name[name] = descriptors(embedder, halves, [] if number else bad)
        kept &= (np.linalg.norm(by_name[name], axis=2) > 0).all(axis=0)
        if on_progress:
            on_progress(number + 1, len(embedders))
    tracklets = [tracklet for tracklet, whole in zip(tracklets, kept, strict=True) if whole]
    by_name = {name: rows[:, kept] for name, rows in by_name.items()}
    if len(tracklets) < LEAST_TRACKLETS:
        raise InputError(
            f"{dataset.root}: has {len(tracklets)} tracklets of 2 crops or more that can be read: expected "
            f"{LEAST_TRACKLETS} to find out which preset the network needs; give --preset, or more footage"
        )
    rivals = rivals_of(tracklets)
    margins = {name: margins_of(rows, rivals) for name, rows in by_name.items()}
    names = sorted(by_name, key=lambda name: -separation(margins[name]))
    best = names[0]
    heard = {name: value for name in names if (value := mismatches[name]) is not None}
    if heard:
        told = min(heard, key=heard.__getitem__)
        close = [] if separation(margins[told]) > FAR_LESS * separation(margins[best]) else [best, told]
        best = told
    else:
        close = [name for name in names if not surely_less(margins[name], margins[best])]
    if not all(agree(by_name[name], by_name[best]) for name in close):
        words = [f"{name} ({separation(margins[name]):.2f})" for name in close]
        if heard:
            why = f"preset {words[0]} separates people best, but preset {words[1]} fits the network's first batch norm"
        else:
            why = f"presets {' and '.join(words)} separate people almost equally well, but give different descriptors"
        raise InputError(
            f"{why} (separation in standard deviations, on {len(tracklets)} tracklets): give the right one with "
            "--preset, or give more footage"
        )
    chosen = next(name for name in by_name if agree(by_name[name], by_name[best]))  # the most common of equals
    trials = []
    for name in names:
        same = next(one for one in by_name if agree(by_name[one], by_name[name]))
        recall = float(np.mean(margins[name][:, 0] > margins[name][:, 1]))
        trials.append(Trial(name, recall, separation(margins[name]), mismatches[name], None if same == name else same))
    return Choice(chosen, bool(heard), len(tracklets), tuple(trials))


def usable(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Choose some tracklets that have two halves, spread evenly over the cameras."""
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
    """Return a few crops of the first half and of the second half."""
    middle = len(tracklet.crops) // 2
    return some(tracklet.crops[:middle]), some(tracklet.crops[middle:])


def some(crops: Sequence[Crop]) -> list[Crop]:
    """Return at most :data:`CROPS_OF_A_HALF` crops at even intervals."""
    return [crops[place] for place in sorted({*np.linspace(0, len(crops) - 1, CROPS_OF_A_HALF).astype(int)})]


def some_crops(dataset: Dataset) -> list[Crop]:
    """Return the middle crop of each tracklet that is used."""
    return [tracklet.crops[len(tracklet.crops) // 2] for tracklet in usable(dataset.tracklets)]


def rivals_of(tracklets: Sequence[Tracklet]) -> NDArray[np.bool_]:
    """Mark the pairs (N, N) of tracklets that show different people."""
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
    """Return (2, N, D): descriptors of first and second halves, rows of length 1; zero if no crop of a half can be
    read. Messages of crops that cannot be read go to ``bad``."""
    rows = np.zeros((len(halves), 0), np.float32)
    for place, found in embed_groups(embedder, halves, bad):
        if not rows.shape[1]:
            rows = np.zeros((len(halves), found.shape[1]), np.float32)
        mean = found.mean(0)
        rows[place] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return np.stack([rows[::2], rows[1::2]])


def margins_of(rows: NDArray[np.float32], rivals: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (N, 4) for the tracklets that have rivals: the similarity of the halves, the greatest similarity to a
    rival's half, and mean and variance of all similarities to rivals."""
    similar = rows[0].astype(np.float64) @ rows[1].T.astype(np.float64)
    margins = []
    for place, against in enumerate(rivals):
        if against.any():
            others = np.concatenate([similar[place, against], similar[against, place]])
            margins.append((similar[place, place], others.max(), others.mean(), others.var()))
    return np.array(margins).reshape(-1, 4)


def separation(margins: NDArray[np.float64]) -> float:
    """Return the difference of the means of own and others' similarity, over their pooled deviation; 0 for no rows."""
    if not len(margins):
        return 0.0
    own, others = margins[:, 0], margins[:, 2]
    spread = np.sqrt((own.var() + others.var() + margins[:, 3].mean()) / 2)
    return float((own.mean() - others.mean()) / spread) if spread > 0 else 0.0


def surely_less(one: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether ``one`` separates less than ``best`` in nearly all bootstrap samples of the same tracklets."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(best), (RESAMPLES, len(best)))
    less = sum(separation(one[draw]) < separation(best[draw]) for draw in draws)
    return bool(less >= CONFIDENCE * RESAMPLES)


def agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two presets are the same to the network."""
    return bool((one * other).sum(2).mean() >= SAME)
