"""reid search --detect as a user runs it: somebody in a picture is the query."""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from crowd import write_crowd
from drawn_detectors import SQUARE, save, ssd_rows
from tiny_model import build_model

from reid_toolkit.cli import detecting
from reid_toolkit.datasets import open_dataset
from reid_toolkit.footage import detector as detectors
from reid_toolkit.images import read_image


class Boxes:
    """A detector that knows where people are."""

    name = "boxes"

    def __init__(self, *boxes: tuple[float, float, float, float, float]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 5)

    def start(self, frame_rate: float) -> None:
        """Nothing to forget."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.boxes[:, :4], self.boxes[:, 4]


RIGHT, LEFT = (200.0, 20.0, 248.0, 116.0, 0.9), (30.0, 20.0, 78.0, 116.0, 0.8)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, reid) -> Path:
    root = tmp_path_factory.mktemp("site")
    onnx.save(build_model(), str(root / "model.onnx"))
    write_crowd(root / "people")
    assert reid("enroll", root / "people", "--model", root / "model.onnx", "--gallery", root / "g").status == 0
    return root / "g"


@pytest.fixture
def picture(gallery: Path, tmp_path: Path) -> Path:
    """Two people of the gallery before a wall: the first of the list stands at the right."""
    frame = np.full((160, 320, 3), 128, np.uint8)
    for (x, y, right, bottom, _), tracklet in zip(
        (RIGHT, LEFT), open_dataset(gallery.parent / "people").tracklets[:2], strict=True
    ):
        crop = cv2.resize(
            read_image(tracklet.crops[0].path), (int(right - x), int(bottom - y)), interpolation=cv2.INTER_NEAREST
        )
        frame[int(y) : int(bottom), int(x) : int(right)] = crop
    cv2.imwrite(str(tmp_path / "street.png"), frame)
    return tmp_path / "street.png"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch):
    """``found(*boxes)``: what the detector will find."""

    def patch(*boxes: tuple[float, float, float, float, float]) -> None:
        monkeypatch.setattr(detectors, "load_detector", lambda *_, **__: Boxes(*boxes))
        monkeypatch.setattr(detecting, "MARGIN", 0.0)

    return patch


def test_the_person_that_is_asked_for_is_searched_for(
    gallery: Path, picture: Path, tmp_path: Path, reid, found
) -> None:
    found(RIGHT, LEFT, (120.0, 0.0, 160.0, 100.0, 0.3))  # the last is too unsure
    names = [one.name for one in open_dataset(gallery.parent / "people").tracklets[:2]]
    page = tmp_path / "page.html"
    asked = ("search", picture, "--detect", "--gallery", gallery, "--no-camera-statistics", "--html", page, "--json")
    for number, name in ((1, names[1]), (2, names[0])):
        answer = reid(*asked, "--person", number).json
        assert answer["matches"][0]["tracklet"].split("-")[-1] == name.split("-")[-1]
        assert answer["query"] == {
            "name": f"street, person {number}", "images": [str(picture)], "camera": None, "person": number
        }  # fmt: skip
        assert page.read_text().count('class="query"') == 1
    found(RIGHT)
    assert reid(*asked).json["query"]["person"] == 1  # the only one


def test_without_a_number_and_an_answer_it_says_who_there_is(gallery: Path, picture: Path, reid, found) -> None:
    found(RIGHT, LEFT)
    asked = ("search", picture, "--detect", "--gallery", gallery)
    said = reid(*asked).error
    assert "2 people were found: choose one with --person N" in said
    assert "; 1: 48 x 96 pixels at x 30, y 20 (score 0.80); 2: 48 x 96 pixels at x 200, y 20 (score 0.90)" in said
    assert "--person 3: only 2 people were found; 1: " in reid(*asked, "--person", 3).error
    found()
    assert "no person was found in it" in reid(*asked).error


def test_it_asks_where_somebody_is_there_to_answer(
    gallery: Path, picture: Path, found, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(RIGHT, LEFT)
    monkeypatch.setattr(detecting.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(detecting.click, "prompt", lambda *_, **__: 2)
    number, person = detecting.choose_person(picture, "boxes", None, None, None)
    assert (number, person.box) == (2, RIGHT[:4])
    assert "1: 48 x 96 pixels" in capsys.readouterr().err


def test_what_is_no_query(gallery: Path, picture: Path, tmp_path: Path, reid, found) -> None:
    found(RIGHT)
    there = ("--gallery", gallery)
    assert reid("search", picture, "--detect", "--tracklet", "a", *there).status == 2
    assert reid("search", picture, "--person", 1, *there).status == 2
    assert reid("search", picture, "--detector", "boxes", *there).status == 2
    assert reid("search", picture, "--person-label", 0, *there).status == 2
    assert "needs video" in reid("search", picture, "--detect", "--detector", "motion", *there).error
    assert "--detect expects a picture" in reid("search", gallery, "--detect", *there).error


def test_a_whole_frame_as_a_query_is_doubted(gallery: Path, picture: Path, reid) -> None:
    done = reid("search", picture, "--gallery", gallery)
    assert done.status == 0
    assert "320 x 160 pixels look like no crop of one person" in done.err
    crop = open_dataset(gallery.parent / "people").tracklets[0].crops[0].path
    assert "look like" not in reid("search", crop, "--gallery", gallery).err


def test_a_detectors_file_finds_the_query(gallery: Path, picture: Path, tmp_path: Path, reid) -> None:
    """Its label is said, and the extra that it needs is named where that is not installed."""
    path = save(tmp_path / "ssd.onnx", SQUARE, {"o": ssd_rows((0, 1, 0.9))})
    asked = ("search", picture, "--detect", "--gallery", gallery, "--no-camera-statistics", "--detector", path)
    assert "--person-label N" in reid(*asked).error
    assert reid(*asked, "--person-label", 1, "--json").json["query"]["person"] == 1


def test_the_extra_of_a_detectors_file_is_named(
    gallery: Path, picture: Path, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.xml").write_text('<net name="m" version="11"></net>')
    (tmp_path / "m.bin").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "openvino", None)
    said = reid("search", picture, "--detect", "--gallery", gallery, "--detector", tmp_path / "m.xml").error
    assert said.endswith("needs openvino, which is not installed: in reid's checkout, pip install '.[openvino]'")
