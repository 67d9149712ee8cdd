"""FiftyOne's video labels, in ETA's VideoLabels JSON: one file for each video of a ``FiftyOneVideoLabelsDataset``.

    {"frames": {"1": {"objects": {"objects": [{"label": "person", "index": 7, "bounding_box": ...}]}}}}

Frames count from 1, corners are fractions of the frame, and ``index`` is the track.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.tracks import PEOPLE, PERSON, Row, Tracks, as_number, as_score, as_whole, collect


def read_fiftyone(path: Path, held: Mapping[str, Any]) -> Tracks:
    """Read tracks, with boxes as fractions of the frame. Raises :class:`InputError` if something is wrong."""
    rows, others = [], 0
    for key, frame in held["frames"].items():
        origin = f"{path}, frame {key}"
        number = as_whole(frame.get("frame_number", key) if isinstance(frame, dict) else key, "frame_number", origin)
        if number < 1:
            raise InputError(f"{origin}: expected a number from 1, as FiftyOne counts")
        for place, one in enumerate(objects_of(frame, origin), start=1):
            where = f"{origin}, object {place}"
            if str(one.get("label")).lower() not in PEOPLE:
                others += 1
                continue
            if one.get("index") is None:
                raise InputError(f"{where}: has no index: expected objects that belong to tracks")
            score = as_score(1.0 if one.get("confidence") is None else one["confidence"], where)
            rows.append(Row(where, number - 1, as_whole(one["index"], "index", where), box_of(one, where), score))
    return collect(path, rows, relative=True, others=others)


def objects_of(frame: object, origin: str) -> list[Mapping[str, Any]]:
    """The objects of a frame, directly or in the field of that name of its container."""
    if not isinstance(frame, dict):
        raise InputError(f"{origin}: not an object: expected FiftyOne's video labels")
    found = frame.get("objects", {})
    found = found.get("objects", []) if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{origin}: objects are not a list of objects: expected FiftyOne's video labels")
    return found


def box_of(one: Mapping[str, Any], origin: str) -> tuple[float, float, float, float]:
    """The box of an object, as fractions of the frame."""
    try:
        corners = [one["bounding_box"][corner][axis] for corner in ("top_left", "bottom_right") for axis in ("x", "y")]
    except (KeyError, TypeError):
        raise InputError(
            f"{origin}: bounding_box lacks top_left or bottom_right: expected both, with x and y"
        ) from None
    left, top, right, bottom = (as_number(value, "bounding_box", origin) for value in corners)
    return left, top, right - left, bottom - top


def fiftyone_text(tracks: Tracks) -> str:
    """Write the tracks of one recording. Raises :class:`InputError` if the size of its frames is not known."""
    if tracks.size is None:
        raise InputError("the size of the frames is not known, and FiftyOne's boxes are fractions of it")
    width, height = tracks.size
    frames: dict[str, Any] = {}
    rows = zip(tracks.frames.tolist(), tracks.numbers.tolist(), tracks.boxes.tolist(), tracks.scores, strict=True)
    for frame, number, (x, y, wide, high), score in rows:
        held = frames.setdefault(str(frame + 1), {"frame_number": frame + 1, "objects": {"objects": []}})
        about = {"tracklet": tracks.names.get(number), "identity": tracks.identities.get(number)}
        attributes = [
            {"type": "eta.core.data.CategoricalAttribute", "name": name, "value": value}
            for name, value in about.items()
            if value is not None
        ]
        held["objects"]["objects"].append({
            "label": PERSON, "index": number, "confidence": float(score), "frame_number": frame + 1,
            "bounding_box": {
                "top_left": {"x": x / width, "y": y / height},
                "bottom_right": {"x": (x + wide) / width, "y": (y + high) / height},
            },
            "attrs": {"attrs": attributes},
        })  # fmt: skip
    return json.dumps({"frames": frames}) + "\n"
