"""MOT Challenge text: a line for each box (https://motchallenge.net/instructions).

    frame,track,left,top,width,height,score,class,visibility

Frames count from 1. Trackers write -1 instead of class and visibility; ground truth has 0 instead of the score of boxes
that must be ignored. Some trackers separate by spaces. Pixels count from 0, as trackers and TrackEval do.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.tracks import Row, Tracks, as_number, as_score, as_whole, collect

PEDESTRIANS = frozenset({-1, 1, 2, 7})
"""Classes that are people: not said, pedestrian, person on a vehicle, static person."""


def read_mot(path: Path, text: str) -> Tracks:
    """Read tracks. Raises :class:`InputError` for a line that is not of this form."""
    others = 0

    def rows() -> Iterator[Row]:
        nonlocal others
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            row = parse_line(line, f"{path}, line {number}")
            if row is None:
                others += 1
            else:
                yield row

    kept = list(rows())
    return collect(path, kept, others=others)


def parse_line(line: str, origin: str) -> Row | None:
    """The box of one line; None if it is not of a person, or is to be ignored."""
    values = re.split(r"\s*,\s*|\s+", line.strip().rstrip(","))
    if len(values) < 6:
        raise InputError(f"{origin}: {len(values)} values: expected frame,track,left,top,width,height,score")
    frame, track = as_whole(values[0], "frame", origin), as_whole(values[1], "track", origin)
    if frame < 1:
        raise InputError(f"{origin}: frame is {frame}: expected a number from 1, as MOT counts")
    if track < 0:
        raise InputError(
            f"{origin}: track is {track}: these are detections without tracks: expected a tracker's output"
        )
    x, y, width, height = (as_number(value, "box", origin) for value in values[2:6])
    score = values[6] if len(values) > 6 else "1"
    kind = as_number(values[7], "class", origin) if len(values) > 7 else -1
    if kind not in PEDESTRIANS or (kind > 0 and as_number(score, "score", origin) == 0):
        return None
    return Row(origin, frame - 1, track, (x, y, width, height), as_score(score, origin))


def mot_text(tracks: Tracks) -> str:
    """Write tracks, one line for each box, as trackers do."""
    rows = zip(tracks.frames, tracks.numbers, tracks.boxes, tracks.scores, strict=True)
    return "".join(
        f"{frame + 1},{number},{','.join(f'{value:.10g}' for value in box)},{score:.6g},-1,-1,-1\n"
        for frame, number, box, score in rows
    )
