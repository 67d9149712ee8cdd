from collections import defaultdict

import cv2
import numpy as np
import pytest

from reid_toolkit.demo import footage as footage_module
from reid_toolkit.demo.footage import draw_footage
from reid_toolkit.demo.truth import read_truth
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.parallel.processes import Processes

TINY = {"people": 3, "visits": 1, "cameras": ("north", "gate"), "size": (256, 144)}


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    return draw_footage(tmp_path_factory.mktemp("footage"), **TINY)


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def boxes_of(footage, camera):
    boxes = defaultdict(list)
    for box in read_truth(footage.truth):
        if box.camera == camera:
            boxes[box.frame].append(box)
    return boxes


def test_each_camera_gets_a_video_named_after_it_of_the_size_and_rate_asked_for(footage):
    assert {name: path.name for name, path in footage.videos.items()} == {
        "north": "north.avi",
        "gate": "gate.avi",
    }
    total = 0
    for path in footage.videos.values():
        capture = cv2.VideoCapture(str(path))
        assert capture.get(cv2.CAP_PROP_FPS) == footage.fps == 12
        capture.release()
        frames = frames_of(path)
        assert frames[0].shape == (144, 256, 3)
        total += len(frames)
    assert footage.frames == total


def test_the_truth_names_everyone_in_every_camera_within_the_picture(footage):
    boxes = read_truth(footage.truth)
    assert {(box.camera, box.person) for box in boxes} == {(c, p) for c in footage.videos for p in "123"}
    for box in boxes:
        assert 0 <= box.x < box.x + box.width <= 256
        assert 0 <= box.y < box.y + box.height <= 144
        assert 0 <= box.visible <= 1


@pytest.mark.parametrize("camera", ["north", "gate"])
def test_the_picture_changes_where_the_truth_says_and_nowhere_else(footage, camera):
    frames = frames_of(footage.videos[camera])
    empty = np.median(frames[:15], axis=0)
    boxes = boxes_of(footage, camera)
    for number in range(0, len(frames), 5):
        changed = np.abs(cv2.blur(frames[number], (3, 3)) - cv2.blur(empty, (3, 3))).max(-1) > 40
        for box in boxes[number]:
            inside = changed[box.y : box.y + box.height, box.x : box.x + box.width]
            assert inside.any() or box.visible < 0.9
        for box in boxes[number]:  # the last grey pixels of the edges and the shadow lie just outside
            changed[max(box.y - 2, 0) : box.y + box.height + 4, max(box.x - 3, 0) : box.x + box.width + 3] = False
        assert np.count_nonzero(changed) < 6


def test_the_same_arguments_draw_the_same_footage_and_a_camera_does_not_depend_on_the_others(footage, tmp_path):
    again = draw_footage(tmp_path, **TINY | {"cameras": ("gate",)})
    pairs = zip(frames_of(footage.videos["gate"]), frames_of(again.videos["gate"]), strict=True)
    assert all((a == b).all() for a, b in pairs)
    assert read_truth(again.truth) == [box for box in read_truth(footage.truth) if box.camera == "gate"]


def test_progress_counts_the_frames_of_all_cameras(tmp_path):
    seen = []
    made = draw_footage(tmp_path, **TINY | {"people": 1}, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(i + 1, made.frames) for i in range(made.frames)]


def test_several_processes_draw_the_same_files(footage, tmp_path):
    seen = []
    made = draw_footage(tmp_path, **TINY, pool=Processes(2, 2), on_progress=lambda *counts: seen.append(counts))
    assert made.truth.read_bytes() == footage.truth.read_bytes()
    assert made.frames == footage.frames
    assert list(made.videos) == list(footage.videos)
    assert all(made.videos[name].read_bytes() == path.read_bytes() for name, path in footage.videos.items())
    assert [done for done, _ in seen] == [len(frames_of(made.videos["north"])), made.frames]


def test_interrupted_footage_has_no_truth_and_no_half_video_and_is_drawn_anew(tmp_path):
    def interrupt(done, total):
        if done > total * 0.8:
            raise KeyboardInterrupt

    settings = TINY | {"people": 1}
    draw_footage(tmp_path, **settings)
    with pytest.raises(KeyboardInterrupt):
        draw_footage(tmp_path, **settings, on_progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.avi", "north.avi"]
    made = draw_footage(tmp_path, **settings)
    assert sum(len(frames_of(path)) for path in made.videos.values()) == made.frames
    assert made.truth.exists()


def test_a_video_that_did_not_get_all_its_frames_is_an_error_and_not_a_file(tmp_path, monkeypatch):
    class FullDisk:
        def __init__(self, path, *_):
            self.path = path

        def write(self, image):
            pass

        def release(self):
            open(self.path, "wb").close()

        fourcc = staticmethod(cv2.VideoWriter.fourcc)

    monkeypatch.setattr(footage_module.cv2, "VideoWriter", FullDisk)
    with pytest.raises(VideoError, match=r"north\.avi: holds 0 of \d+ frames: is the disk full"):
        draw_footage(tmp_path, **TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": ("attic",)}, "expected some of north, hall, gate"),
        ({"cameras": ("north", "north")}, "each once"),
        ({"cameras": ()}, "expected some of"),
        ({"people": 0}, "people is 0"),
        ({"visits": 0}, "visits is 0"),
        ({"fps": 0}, "fps 0"),
        ({"seed": -1}, "seed -1"),
        ({"size": (120, 60)}, "size is 120x60"),
        ({"size": (255, 144)}, "expected even sides"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        draw_footage(tmp_path / "new", **TINY | settings)
    assert not (tmp_path / "new").exists()
