"""A file of boxes and tracks takes the place of detector and tracker."""

import json
from pathlib import Path

import cv2
import pytest
from drawn_yard import EMPTY, RATE, SIZE, ScriptedDetector, draw_frame, walker_box, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.footage.dataset_writer import read_journal
from reid_toolkit.footage.ingest import IngestReport, ingest

FRAMES = 50


def walk(track: int = 7, frames: range = range(EMPTY, FRAMES)) -> str:
    """The walker in MOT's form."""
    boxes = ((number, walker_box(number) or (0, 0, 0, 0)) for number in frames)
    return "".join(f"{number + 1},{track},{x},{y},{w},{h},0.9,-1,-1,-1\n" for number, (x, y, w, h) in boxes)


def run(video: Path, text: str, out: Path, **settings: object) -> IngestReport:
    path = video.with_name("tracks.txt")
    path.write_text(text)
    return ingest([video], out, **{"tracks": path, "every": 2, **settings})  # type: ignore[arg-type]


def rows(out: Path) -> list[tuple[object, ...]]:
    return [(c.frame, c.time, c.x, c.y, c.width, c.height, c.score) for c in read_manifest(out).crops]


def test_given_tracks_become_tracklets_as_detected_ones_do(video: Path, tmp_path: Path) -> None:
    report = run(video, walk(), tmp_path / "given", camera="north", every=1)
    (tracklet,) = read_manifest(tmp_path / "given").tracklets
    assert (report.tracklets, report.crops, report.warnings) == (1, FRAMES - EMPTY, [])
    assert (tracklet.name, tracklet.camera) == ("north-yard-00007", "north")
    ingest([video], tmp_path / "found", camera="north", every=1, detector=ScriptedDetector())
    found = rows(tmp_path / "found")
    assert found
    assert set(found) <= set(rows(tmp_path / "given"))
    for crop in tracklet.crops:
        assert crop.time == pytest.approx(crop.frame / RATE)
    # 90 x 34 pixels and the margin of a twentieth on each side
    assert cv2.imread(str(tracklet.crops[0].path)).shape[:2] == (98, 38)


def test_every_and_min_crops_apply(video: Path, tmp_path: Path) -> None:
    report = run(video, walk() + walk(8, range(20, 25)), tmp_path / "set", every=2, min_crops=4)
    assert (report.tracklets, report.dropped, report.crops) == (1, 1, (FRAMES - EMPTY) // 2)


def test_a_file_of_tracks_is_part_of_the_settings(video: Path, tmp_path: Path) -> None:
    run(video, walk(), tmp_path / "set")
    (entry,) = read_journal(tmp_path / "set" / "ingest.json")
    assert entry["settings"]["detector"].startswith("tracks-mot-")
    assert run(video, walk(), tmp_path / "set").skipped == 1
    with pytest.raises(InputError, match=r"already in .* with other settings"):
        run(video, walk(8), tmp_path / "set")


def test_boxes_that_cannot_be_used_are_counted(video: Path, tmp_path: Path) -> None:
    odd = (
        "20,8,-60,80,34,90,0.9\n"  # outside on the left
        "21,8,310,80,34,90,0.9\n"  # mostly outside
        "22,8,100,80,3,9,0.9\n"  # tiny
        "23,9,100,80,-34,90,0.9\n"  # turned inside out
        f"{FRAMES + 1},7,100,80,34,90,0.9\n"  # after the end
        "24,10,100,80,34,90,1,3,1\n"  # a car
    )
    report = run(video, walk() + odd, tmp_path / "set")
    (tracklet,) = read_manifest(tmp_path / "set").tracklets
    assert tracklet.crops[-1].frame < FRAMES
    assert [warning.partition(": ")[2] for warning in report.warnings] == [
        f"of {FRAMES - EMPTY + 5} boxes, 1 are in frames that the recording does not have (its last is {FRAMES - 1}, "
        "from 0) and 4 are tiny or mostly outside the 320 x 240 pixels of a frame; they are left out",
        "2 of 3 tracks have no usable box",
        "1 boxes of other classes, or marked to be ignored, are left out",
    ]


def test_a_box_that_leads_out_of_the_picture_is_cut_at_its_edge(video: Path, tmp_path: Path) -> None:
    run(video, "".join(f"{number},1,-10,80,34,90,0.9\n" for number in range(20, 24)), tmp_path / "set", every=1)
    crop = read_manifest(tmp_path / "set").crops[0]
    assert (crop.x, crop.width) == (-10, 34)
    assert cv2.imread(str(crop.path)).shape[1] == 26  # 24 inside and a margin of 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (walk(frames=range(60, 90)), "30 are in frames that the recording does not have.*of another recording"),
        (walk().replace(",80,34,90,", ",800,34,90,"), "38 are tiny or mostly outside.*of another recording"),
    ],
)
def test_tracks_of_another_recording_are_refused(text: str, said: str, video: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=said):
        run(video, text, tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.csv").exists()
    assert not list((tmp_path / "set" / "crops").glob("*"))


def test_tracks_for_frames_of_another_size_are_refused(video: Path, tmp_path: Path) -> None:
    held = {
        "images": [{"id": 1, "frame_id": 20, "width": 640, "height": 480}],
        "annotations": [{"image_id": 1, "category_id": 1, "track_id": 1, "bbox": [1, 2, 30, 60]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    with pytest.raises(VideoError, match="for frames of 640 x 480 pixels, the recording has 320 x 240"):
        run(video, json.dumps(held), tmp_path / "set")


def test_tracks_are_for_one_recorded_file(video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.avi", frames=5)
    tracks = tmp_path / "tracks.txt"
    tracks.write_text(walk())
    with pytest.raises(InputError, match="tracks given with 2 recordings"):
        ingest([video, other], tmp_path / "set", tracks=tracks)
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        ingest([video], tmp_path / "set", tracks=tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        ingest([video], tmp_path / "set", tracks=tmp_path)


def test_coco_names_the_pictures_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(EMPTY, EMPTY + 6):
        cv2.imwrite(str(folder / f"picture{number}.png"), draw_frame(number))
    shown = range(EMPTY + 1, EMPTY + 6)
    held = {
        "images": [{"id": n, "file_name": f"x/picture{n}.png", "width": SIZE[0], "height": SIZE[1]} for n in shown],
        "annotations": [{"image_id": n, "category_id": 1, "track_id": 1, "bbox": walker_box(n)} for n in shown],
        "categories": [{"id": 1, "name": "pedestrian"}],
    }
    run(folder, json.dumps(held), tmp_path / "set", every=1)
    assert [crop.frame for crop in read_manifest(tmp_path / "set").crops] == [1, 2, 3, 4, 5]


def test_tracks_without_a_tracklet_say_which_options_help(video: Path, tmp_path: Path) -> None:
    (warning,) = run(video, walk(frames=range(20, 23)), tmp_path / "set").warnings
    assert warning.endswith(
        "no tracklets in 50 frames (1 too short): --every 1 stores all boxes, and --min-crops 1 keeps short tracks"
    )
