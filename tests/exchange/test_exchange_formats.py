"""What is written is read again as it was, and what cannot be is refused with its place."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.errors import InputError
from reid_toolkit.exchange.coco import coco_text
from reid_toolkit.exchange.cvat import cvat_text
from reid_toolkit.exchange.fiftyone import fiftyone_text
from reid_toolkit.exchange.mot import mot_text
from reid_toolkit.exchange.reading import read_tracks
from reid_toolkit.exchange.tracks import Row, Tracks, collect

SIZE = (1919, 1077)
HERE = Path("tracks")

TEXTS: dict[str, Callable[[Tracks], str]] = {
    "mot": mot_text,
    "coco": lambda tracks: coco_text(tracks, "yard"),
    "cvat": lambda tracks: cvat_text(tracks, "the <yard> & gate"),
    "fiftyone": fiftyone_text,
}

TENTHS = st.integers(-500, 25_000).map(lambda tenths: tenths / 10)
"""Manifests round boxes to tenths of a pixel."""
BOXES = st.tuples(TENTHS, TENTHS, TENTHS, TENTHS)
PLACES = st.dictionaries(
    st.tuples(st.integers(0, 99_999), st.integers(0, 999)),
    st.tuples(BOXES, st.integers(0, 1000).map(lambda score: score / 1000)),
    min_size=1,
    max_size=20,
)


@given(PLACES)
@pytest.mark.parametrize("form", TEXTS)
def test_what_is_written_is_read_again(
    form: str, places: dict[tuple[int, int], tuple[tuple[float, float, float, float], float]]
) -> None:
    tracks = collect("", [Row("", *place, *about) for place, about in places.items()], size=SIZE)
    found_form, found = read_tracks(HERE, TEXTS[form](tracks).encode())
    assert found_form == form
    found = found.in_pixels(SIZE)
    assert found.frames.tolist() == tracks.frames.tolist()
    assert found.numbers.tolist() == tracks.numbers.tolist()
    assert np.round(found.boxes, 1).tolist() == (np.round(tracks.boxes, 1) + 0.0).tolist()
    assert found.size == (None if form == "mot" else SIZE)
    if form != "cvat":  # which has no score
        assert found.scores.tolist() == tracks.scores.tolist()


def read(text: str | bytes, form: str | None = None, **about: object) -> Tracks:
    return read_tracks(HERE, text.encode() if isinstance(text, str) else text, form, **about)[1]  # type: ignore[arg-type]


def coco(**changes: object) -> str:
    """A COCO file of one box, with some annotation's fields changed, or left out if None."""
    annotation = {"id": 1, "image_id": 4, "category_id": 1, "track_id": 7, "bbox": [1, 2, 30, 60]} | changes
    held = {
        "images": [{"id": 4, "file_name": "yard/frame_000012.png", "width": 320, "height": 240}],
        "categories": [{"id": 1, "name": "Person"}, {"id": 2, "name": "car"}],
        "annotations": [{name: value for name, value in annotation.items() if value is not None}],
    }
    return json.dumps(held)


def fiftyone(**changes: object) -> str:
    corners = {"top_left": {"x": 0.1, "y": 0.2}, "bottom_right": {"x": 0.3, "y": 0.6}}
    one = {"label": "person", "index": 3, "bounding_box": corners} | changes
    return json.dumps({"frames": {"5": {"objects": {"objects": [one]}}}})


def cvat(box: str = "", track: str = 'id="3" label="person"', before: str = "") -> str:
    corners = box or 'frame="4" xtl="1" ytl="2" xbr="31" ybr="62"'
    return f"<?xml version='1.0'?>{before}<annotations><track {track}><box {corners}/></track></annotations>"


def in_encoding(name: str) -> str:
    """A CVAT file that says that it has this encoding."""
    return cvat().replace("version='1.0'", f"version='1.0' encoding='{name}'")


def test_mot_as_others_write_it() -> None:
    tracks = read(
        "1,3,10,20,30,60,1,1,0.9\n"  # ground truth
        "1,4,10,20,30,60,0,1,0.9\n"  # to be ignored
        "2,5,10,20,30,60,1,3,0.9\n"  # a car
        "2 3 11.5 20 30 60 0.5 -1 -1 -1\n"  # a tracker that separates by spaces
        "\n"
        "3, 3, 12, 20, 30, 60, 31.7\n"  # a score of another kind
        "4,3,12,20,30,60,-1,-1,-1,-1\n"  # no score
    )
    assert tracks.frames.tolist() == [0, 1, 2, 3]
    assert tracks.scores.tolist() == [1, 0.5, 1, 1]
    assert tracks.boxes[1].tolist() == [11.5, 20, 30, 60]
    assert tracks.others == 2


def test_coco_as_others_write_it() -> None:
    tracks = read(coco())
    assert (tracks.frames.tolist(), tracks.numbers.tolist(), tracks.size) == ([12], [7], (320, 240))
    assert read(coco(track_id=None, attributes={"track_id": 8})).numbers.tolist() == [8]  # CVAT's
    assert read(coco(track_id=None, instance_id=9)).numbers.tolist() == [9]  # CocoVID's
    assert read(coco(), pictures={"a.png": 0, "frame_000012.png": 1}).frames.tolist() == [1]


def test_a_coco_file_of_several_videos_gives_those_of_the_recording() -> None:
    held = json.loads(coco(image_id=1))
    held["videos"] = [{"id": 1, "name": "yard.mp4"}, {"id": 2, "name": "gate"}]
    held["images"] = [{"id": i, "video_id": i, "frame_id": 10 * i, "file_name": "x"} for i in (1, 2)]
    held["annotations"].append(held["annotations"][0] | {"image_id": 2, "track_id": 8})
    assert read(json.dumps(held), recording="yard").frames.tolist() == [10]
    assert read(json.dumps(held), recording="gate").numbers.tolist() == [8]
    with pytest.raises(InputError, match=r"holds 2 videos \(gate, yard\.mp4\), but not 'hall'"):
        read(json.dumps(held), recording="hall")
    held["videos"] = [{"id": 1, "name": "cam.1"}, {"id": 2, "name": "cam.2"}]  # no suffixes
    assert read(json.dumps(held), recording="cam.2").numbers.tolist() == [8]
    held["videos"] = [{"id": 1, "name": "front/clip.mp4"}, {"id": 2, "name": "back/clip.mp4"}]
    with pytest.raises(InputError, match=r"front/clip\.mp4 and back/clip\.mp4 may both be 'clip'"):
        read(json.dumps(held), recording="clip")


@pytest.mark.parametrize("names", [("hall_000012.png", "door_000012.png"), ("hall/12.png", "door/12.png")])
def test_images_of_two_recordings_are_not_taken_for_one(names: tuple[str, str]) -> None:
    held = json.loads(coco(image_id=1))
    held["images"] = [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)]
    with pytest.raises(InputError, match="are both frame 12: expected images of one recording"):
        read(json.dumps(held))
    with pytest.raises(InputError, match="are both frame 0"):
        read(json.dumps(held), pictures={name.rpartition("/")[2]: 0 for name in names})


def test_cvat_as_it_writes() -> None:
    tracks = read(
        "<annotations><version>1.1</version><meta><task><original_size><width>320</width><height> 240 </height>"
        "</original_size></task></meta>"
        '<track id="0" label="person"><box frame="3" outside="0" xtl="1.5" ytl="2" xbr="31.5" ybr="62"></box>'
        '<box frame="4" outside="1" xtl="1.5" ytl="2" xbr="31.5" ybr="62"></box></track>'
        '<track id="1" label="car"><box frame="3" outside="0" xtl="1" ytl="2" xbr="3" ybr="6"></box></track>'
        "</annotations>"
    )
    assert (tracks.frames.tolist(), tracks.numbers.tolist(), tracks.size, tracks.others) == ([3], [0], (320, 240), 1)
    assert tracks.boxes.tolist() == [[1.5, 2, 30, 60]]
    latin = in_encoding("iso-8859-1").replace("<annotations>", "<annotations><name>caf\xe9</name>")
    assert read(latin.encode("latin-1")).numbers.tolist() == [3]


def test_fiftyone_counts_frames_from_1() -> None:
    tracks = read(fiftyone()).in_pixels((100, 200))
    assert tracks.frames.tolist() == [4]
    assert tracks.boxes.round(6).tolist() == [[10, 40, 20, 80]]


BOMB = '<!DOCTYPE lol [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tracks: the file is empty"),
        ("hello", "tracks: not of a known format"),
        (b"\xff\xfe\x00", "tracks: not text"),
        ("1,3,10,20,30\n", "tracks, line 1: 5 values"),
        ("1,3,10,20,30,x\n", "tracks, line 1: box is 'x': expected a number"),
        ("1,3,10,20,30,nan\n", r"tracks, line 1: a box of .*nan.*: expected finite numbers"),
        ("1,3,10,20,30,1e999\n", r"tracks, line 1: a box of .*inf.*: expected finite numbers"),
        ("1.5,3,10,20,30,60\n", "tracks, line 1: frame is '1.5': expected a whole number"),
        ("0,3,10,20,30,60\n", "tracks, line 1: frame is 0: expected a number from 1"),
        ("1,-1,10,20,30,60\n", "tracks, line 1: track is -1: these are detections without tracks"),
        ("1,3,10,20,30,60\n\n1,3,10,20,30,61\n", "tracks, line 3: a second box of track 3 .* is in tracks, line 1"),
        ("99999999999,3,10,20,30,60\n", "tracks, line 1: frame 99999999998 of track 3"),
        ("1,3,10,20,30,60,1,3,1\n", "tracks: has no box of a person: all of its 1 boxes are of other classes"),
        ("{", "tracks: not JSON"),
        ("[" * 100_000, "tracks: not JSON"),
        ("[1]", "tracks: JSON without annotations or frames"),
        ('{"images": []}', "tracks: JSON without annotations or frames"),
        ('{"annotations": {}}', "tracks: 'annotations' is not a list of objects"),
        ('{"annotations": [3]}', "tracks: 'annotations' is not a list of objects"),
        (coco(image_id=5), "tracks, annotation 1: image_id is 5, which no image has"),
        (coco(image_id=[]), "tracks, annotation 1: id is"),
        (coco(track_id=None), "tracks, annotation 1: has no track_id"),
        (coco(track_id="seven"), "tracks, annotation 1: track_id is 'seven': expected a number"),
        (coco(bbox=[1, 2, 3]), "tracks, annotation 1: bbox is"),
        (coco(bbox=[1, 2, 3, None]), "tracks, annotation 1: bbox is 'None': expected a number"),
        (coco(bbox=[1, 2, 3, float("nan")]), "tracks, annotation 1: a box of"),
        (coco(category_id=2), "tracks: has no box of a person"),
        (coco(iscrowd=1), "tracks: has no box of a person"),
        (coco(category_id=[1]), r"tracks, annotation 1: category_id is '\[1\]': expected a number or a text"),
        (coco(category_id={}), r"tracks, annotation 1: category_id is '{}': expected a number or a text"),
        (coco().replace('{"id": 1, "name": "Person"}', '{"id": [1], "name": "Person"}'), "tracks, category 1: id is"),
        (fiftyone(index=None), "tracks, frame 5, object 1: has no index"),
        (fiftyone(bounding_box={"top_left": 3}), "tracks, frame 5, object 1: bounding_box lacks"),
        (fiftyone(label="car"), "tracks: has no box of a person"),
        ('{"frames": {"x": {}}}', "tracks, frame x: frame_number is 'x': expected a number"),
        ('{"frames": {"0": {}}}', "tracks, frame 0: expected a number from 1"),
        ('{"frames": {"1": 3}}', "tracks, frame 1: not an object"),
        ('{"frames": {"1": {"objects": 3}}}', "tracks, frame 1: objects are not a list"),
        ("<annotations>", "tracks: not XML"),
        ("<html></html>", "tracks: its first element is 'html'"),
        (cvat(before=BOMB), "tracks: declares a document type"),
        (
            in_encoding("gb2312"),
            r"tracks: its encoding cannot be read \(multi-byte.*\): expected CVAT .*, saved as UTF-8",
        ),
        (in_encoding("shift_jis"), "tracks: its encoding cannot be read"),
        (in_encoding("nonsense"), r"tracks: its encoding cannot be read \(unknown encoding: nonsense\)"),
        (in_encoding("rot13"), "tracks: its encoding cannot be read"),
        (cvat(box='frame="4"'), "tracks, line 1: xtl is 'None': expected a number"),
        (cvat(track='label="person"'), "tracks, line 1: id is 'None'"),
        (cvat(box='frame="-1" xtl="1" ytl="2" xbr="31" ybr="62"'), "tracks, line 1: frame -1 of track 3"),
        ("<annotations><image id='0'/></annotations>", "tracks: CVAT for images has no tracks"),
    ],
)
def test_what_cannot_be_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("form", "text"), [("mot", cvat()), ("coco", fiftyone()), ("fiftyone", coco()), ("cvat", "1,3,10,20,30,60")]
)
def test_another_format_than_said_is_refused(form: str, text: str) -> None:
    with pytest.raises(InputError, match="tracks"):
        read(text, form)


def test_a_track_for_cvat_ends_unless_the_recording_ends() -> None:
    tracks = read("3,1,10,20,30,60\n4,2,10,20,30,60")
    assert cvat_text(tracks, "yard").count('outside="1"') == 1  # CVAT refuses frames after the last one
    assert cvat_text(replace(tracks, length=4), "yard").count('outside="1"') == 1
    assert cvat_text(replace(tracks, length=5), "yard").count('outside="1"') == 2


def test_fiftyone_needs_the_size_of_frames() -> None:
    with pytest.raises(InputError, match="the size of the frames is not known"):
        fiftyone_text(read("1,3,10,20,30,60"))
