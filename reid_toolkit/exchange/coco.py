"""COCO JSON with tracks: ``images``, ``annotations`` and ``categories``, and ``videos`` if it holds several recordings.

A box is an annotation: ``bbox`` (x, y, width, height in pixels) of ``image_id``, with ``track_id`` or ``instance_id``
beside it or in ``attributes``, as CVAT writes it. An image's frame number, from 0, is the first of these that there is:
the place of the picture of that name, if the recording is a folder of pictures; ``frame_id``; the last number in the
image's name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.tracks import PEOPLE, PERSON, Row, Size, Tracks, as_number, as_score, as_whole, collect

TRACK_FIELDS = ("track_id", "instance_id")


def read_coco(path: Path, held: Mapping[str, Any], recording: str, pictures: Mapping[str, int]) -> Tracks:
    """Read the tracks of ``recording``. ``pictures`` are names and frame numbers of a folder's pictures; empty for a
    video.

    Raises :class:`InputError` if something is missing or wrong.
    """
    images = chosen_images(path, held, recording)
    people = {
        category_of(one, "id", f"{path}, category {place + 1}")
        for place, one in enumerate(listed(path, held, "categories"))
        if str(one.get("name")).lower() in PEOPLE
    }
    frames: dict[Any, int] = {}
    named: dict[int, object] = {}
    sizes: set[Size] = set()
    for place, image in enumerate(images):
        origin = f"{path}, image {place + 1}"
        number = frame_of(image, pictures, origin)
        if number in named:
            raise InputError(
                f"{origin}: {image.get('file_name')!r} and {named[number]!r} are both frame {number}: expected images "
                "of one recording, or a frame_id of their own"
            )
        named[number] = image.get("file_name")
        frames[key_of(image.get("id"), origin)] = number
        if "width" in image and "height" in image:
            sizes.add((as_whole(image["width"], "width", origin), as_whole(image["height"], "height", origin)))
    if len(sizes) > 1:
        raise InputError(f"{path}: its images have {len(sizes)} sizes: expected the frames of one recording")
    everything = {key_of(one.get("id"), f"{path}, image") for one in listed(path, held, "images")}
    rows, others = [], 0
    for place, one in enumerate(listed(path, held, "annotations")):
        origin = f"{path}, annotation {place + 1}"
        key = key_of(one.get("image_id"), origin)
        if key not in everything:
            raise InputError(f"{origin}: image_id is {key!r}, which no image has: expected the id of an image")
        if key not in frames:
            continue  # of another video in this file
        if category_of(one, "category_id", origin) not in people or one.get("iscrowd"):
            others += 1
            continue
        rows.append(Row(origin, frames[key], track_of(one, origin), box_of(one, origin), score_of(one, origin)))
    return collect(path, rows, size=next(iter(sizes), None), others=others)


def listed(path: Path, held: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects in the file."""
    found = held.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{path}: {name!r} is not a list of objects: expected COCO JSON")
    return found


def chosen_images(path: Path, held: Mapping[str, Any], recording: str) -> list[Mapping[str, Any]]:
    """The images of one recording: all of them, unless the file holds several videos."""
    images, videos = listed(path, held, "images"), listed(path, held, "videos")
    if len(videos) < 2:
        return images
    names = [PurePosixPath(str(video.get("name") or video.get("file_name"))) for video in videos]
    # The whole name counts most: what follows a dot need not be the suffix of a file.
    for part in (str, lambda name: name.name, lambda name: name.stem):
        same = [place for place, name in enumerate(names) if part(name) == recording]
        if len(same) > 1:
            both = " and ".join(str(names[place]) for place in same[:2])
            raise InputError(f"{path}: {both} may both be {recording!r}: expected one video of the recording's name")
        if same:
            chosen = videos[same[0]].get("id")
            return [image for image in images if image.get("video_id") == chosen]
    known = ", ".join(sorted(map(str, names))[:5])
    raise InputError(
        f"{path}: holds {len(videos)} videos ({known}), but not {recording!r}: expected one of the recording's name"
    )


def key_of(value: object, origin: str) -> object:
    """An id, which may be a number or a text."""
    if isinstance(value, str | int):
        return value
    raise InputError(f"{origin}: id is {str(value)[:50]!r}: expected the id of an image")


def category_of(one: Mapping[str, Any], field: str, origin: str) -> object:
    """The id of a category, as a field of ``one`` has it."""
    value = one.get(field)
    if isinstance(value, list | dict):
        raise InputError(f"{origin}: {field} is {str(value)[:50]!r}: expected a number or a text")
    return value


def frame_of(image: Mapping[str, Any], pictures: Mapping[str, int], origin: str) -> int:
    """The frame number of an image, from 0."""
    name = str(image.get("file_name", ""))
    base = name.replace("\\", "/").rpartition("/")[2]
    if pictures and base in pictures:
        return pictures[base]
    if "frame_id" in image:
        return as_whole(image["frame_id"], "frame_id", origin)
    if pictures:
        raise InputError(f"{origin}: the recording has no picture {base!r}: expected names of its pictures")
    numbers = re.findall(r"\d+", base.rpartition(".")[0] or base)
    if not numbers:
        raise InputError(f"{origin}: has no frame_id, and {name!r} no number: expected one of the two")
    return int(numbers[-1])


def track_of(one: Mapping[str, Any], origin: str) -> int:
    """The number of an annotation's track."""
    attributes = one.get("attributes")
    for place in (one, attributes if isinstance(attributes, dict) else {}):
        for name in TRACK_FIELDS:
            if place.get(name) is not None:
                return as_whole(place[name], name, origin)
    raise InputError(f"{origin}: has no track_id: expected boxes that belong to tracks, not detections alone")


def box_of(one: Mapping[str, Any], origin: str) -> tuple[float, float, float, float]:
    """The box of an annotation."""
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{origin}: bbox is {str(box)[:50]!r}: expected [x, y, width, height]")
    x, y, width, height = (as_number(value, "bbox", origin) for value in box)
    return x, y, width, height


def score_of(one: Mapping[str, Any], origin: str) -> float:
    """The score of an annotation; 1 if it has none."""
    return as_score(one.get("score", 1.0), origin)


def coco_text(tracks: Tracks, recording: str) -> str:
    """Write the tracks of one recording. An image is named ``RECORDING@0000012.jpg`` after its frame's number, which is
    unlike the names of pictures, so that :func:`frame_of` does not take it for one."""
    numbers = sorted(set(tracks.frames.tolist()))
    ids = {frame: place for place, frame in enumerate(numbers, start=1)}
    size = dict(zip(("width", "height"), tracks.size, strict=True)) if tracks.size else {}
    images = [
        {"id": ids[frame], "video_id": 1, "frame_id": frame, "file_name": f"{recording}@{frame:07d}.jpg", **size}
        for frame in numbers
    ]
    rows = zip(tracks.frames.tolist(), tracks.numbers.tolist(), tracks.boxes.tolist(), tracks.scores, strict=True)
    annotations = []
    for place, (frame, number, box, score) in enumerate(rows, start=1):
        about = {"tracklet": tracks.names.get(number), "identity": tracks.identities.get(number)}
        annotations.append({
            "id": place, "image_id": ids[frame], "video_id": 1, "category_id": 1, "track_id": number, "bbox": box,
            "area": box[2] * box[3], "iscrowd": 0, "score": float(score),
            "attributes": {name: value for name, value in about.items() if value is not None},
        })  # fmt: skip
    videos = [{"id": 1, "name": recording, **size}]
    categories = [{"id": 1, "name": PERSON}]
    return json.dumps({"videos": videos, "categories": categories, "images": images, "annotations": annotations}) + "\n"
