"""How well tracks agree with true tracks: HOTA, MOTA and IDF1, by the ``trackers`` package, which follows TrackEval."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.tracks import Tracks

LEAST_IOU = 0.5
"""Least IoU of a box and the true box that it may stand for, in MOTA and IDF1. HOTA is the mean over 0.05 to 0.95."""


@dataclass(frozen=True)
class TrackScores:
    """Fractions are 0-1; MOTA may be negative."""

    hota: float
    """Luiten et al. 2021: the geometric mean of ``detection`` and ``association``."""
    detection: float
    """DetA: are the boxes where people are?"""
    association: float
    """AssA: do boxes of one person have one number, and no other?"""
    mota: float
    """Bernardin and Stiefelhagen 2008: 1 - (misses + false boxes + switches) / true boxes."""
    idf1: float
    """Ristani et al. 2016: F1 of boxes, if each true track is matched to one track."""
    misses: int
    """True boxes without a box."""
    false_boxes: int
    switches: int
    """How often a person's number changes."""
    true_boxes: int
    boxes: int
    true_tracks: int
    tracks: int


def score_tracks(truth: Tracks, found: Tracks) -> TrackScores:
    """Compare tracks with the true tracks of the same recording.

    Raises :class:`InputError` if one of them has boxes as fractions and the size of frames is not known, and if the
    sizes of frames differ.
    """
    from trackers.eval import box_iou, compute_clear_metrics, compute_hota_metrics, compute_identity_metrics

    truth, found = in_one_unit(truth, found)
    parts = tuple(split_by_frame(tracks, union_of(truth, found)) for tracks in (truth, found))
    true_ids, ids = ([numbers for numbers, _ in part] for part in parts)
    overlaps = [box_iou(a, b, box_format="xywh") for (_, a), (_, b) in zip(*parts, strict=True)]
    clear = compute_clear_metrics(true_ids, ids, overlaps, threshold=LEAST_IOU)
    identity = compute_identity_metrics(true_ids, ids, overlaps, threshold=LEAST_IOU)
    hota = compute_hota_metrics(true_ids, ids, overlaps)
    return TrackScores(
        hota=float(hota["HOTA"]),
        detection=float(hota["DetA"]),
        association=float(hota["AssA"]),
        mota=float(clear["MOTA"]),
        idf1=float(identity["IDF1"]),
        misses=int(clear["CLR_FN"]),
        false_boxes=int(clear["CLR_FP"]),
        switches=int(clear["IDSW"]),
        true_boxes=len(truth.frames),
        boxes=len(found.frames),
        true_tracks=len(set(truth.numbers.tolist())),
        tracks=len(set(found.numbers.tolist())),
    )


def in_one_unit(truth: Tracks, found: Tracks) -> tuple[Tracks, Tracks]:
    """Both tracks in pixels, or both as fractions."""
    sizes = {tracks.size for tracks in (truth, found) if tracks.size is not None}
    if len(sizes) > 1:
        raise InputError(
            f"tracks for frames of {' and '.join(f'{w} x {h}' for w, h in sorted(sizes))}: expected one size"
        )
    if truth.relative == found.relative:
        return truth, found
    if not sizes:
        raise InputError(
            "one file has boxes in pixels, the other has fractions of the frame, and none says how large that is: "
            "expected two files in pixels, or a COCO or CVAT file with the size"
        )
    (size,) = sizes
    return truth.in_pixels(size), replace(found, size=None).in_pixels(size)


def union_of(truth: Tracks, found: Tracks) -> NDArray[np.int64]:
    """The frames that one of them has boxes in, sorted."""
    return np.union1d(truth.frames, found.frames)


def split_by_frame(tracks: Tracks, frames: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each frame the tracks, (n,) numbered from 0 without gaps, and boxes (n, 4)."""
    _, numbers = np.unique(tracks.numbers, return_inverse=True)
    firsts = np.searchsorted(tracks.frames, frames)
    ends = np.searchsorted(tracks.frames, frames + 1)
    return [(numbers[a:b], tracks.boxes[a:b]) for a, b in zip(firsts, ends, strict=True)]
