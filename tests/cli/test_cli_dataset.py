"""reid dataset as a user runs it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_yard import EMPTY, STEP, ScriptedDetector, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.footage.changes import SET_ASIDE
from reid_toolkit.footage.ingest import ingest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for shade, name in enumerate(("gate", "hall")):
        video = write_video(tmp_path / f"{name}.avi", shade=10 * shade)
        ingest([video], tmp_path / "set", camera=name, detector=ScriptedDetector())
    return tmp_path / "set"


def test_check_names_what_is_refused_and_sets_it_aside(reid, dataset: Path) -> None:
    done = reid("dataset", "check", dataset)
    crops = len(read_manifest(dataset).crops)
    assert (done.status, done.out) == (0, f"{dataset}: 2 tracklets, {crops} crops can be read\n")
    path = dataset / "manifest.csv"
    path.write_bytes(path.read_text().replace(",hall,", ",hall\r,").encode())
    refused = reid("dataset", "check", dataset)
    assert refused.status == 1
    assert "rows and 0 recordings cannot be read: give --repair to set them aside" in refused.err
    assert "manifest.csv, row " in refused.out
    mended = reid("dataset", "check", dataset, "--repair")
    assert mended.status == 0
    assert "1 tracklets" in mended.out
    assert f"set aside in {dataset / SET_ASIDE}" in mended.err
    assert reid("dataset", "check", dataset, "--json").json["sound"]
    assert "no such folder" in reid("dataset", "check", dataset / "gone").error


def test_show_lists_tracklets_and_writes_a_page(reid, dataset: Path, tmp_path: Path) -> None:
    done = reid("dataset", "show", dataset)
    crops = len(read_manifest(dataset).crops)
    assert done.out.splitlines()[-1] == f"{dataset}: 2 tracklets of 2 cameras, {crops} crops; 0 look wrong"
    assert "gate-00000" in done.out
    assert "hall-00000" in done.out
    page = tmp_path / "page.html"
    assert reid("dataset", "show", dataset, "--html", page).status == 0
    assert page.read_text().count("<img") == crops
    assert reid("dataset", "show", dataset, "--html", page, "--limit", "1").out.endswith("--limit 2 shows all\n")
    assert page.read_text().count("<img") < crops
    found = reid("dataset", "show", dataset, "--camera", "hall", "--json").json["tracklets"]
    assert [(one["tracklet"], one["camera"], one["looks_wrong"]) for one in found] == [("hall-00000", "hall", [])]
    assert len(reid("dataset", "show", dataset, "gate-00000", "--json").json["tracklets"]) == 1


def test_show_puts_first_what_looks_wrong(reid, dataset: Path, tmp_path: Path) -> None:
    """Other colours in the second half of a tracklet: the page marks where, and says how to split it."""
    halved = read_manifest(dataset).tracklets[1].crops
    for crop in halved[4:]:
        cv2.imwrite(str(crop.path), np.full((90, 34, 3), (200, 200, 20), np.uint8))
    first, _ = reid("dataset", "show", dataset, "--json").json["tracklets"]
    (wrong,) = first["looks_wrong"]
    assert (first["tracklet"], wrong["kind"], wrong["frame"]) == ("hall-00000", "two people", halved[4].frame)
    assert reid("dataset", "show", dataset).out.endswith("1 look wrong (two people: 1)\n")
    reid("dataset", "show", dataset, "--html", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<span>changes here") == 1
    done = reid("dataset", "split", dataset, "hall-00000", "--at", wrong["frame"])
    assert done.out == f"{dataset}: split hall-00000: its last {len(halved) - 4} crops are hall-00000-2\n"


def test_drop_split_and_undo(reid, dataset: Path) -> None:
    before = (dataset / "manifest.csv").read_bytes()
    frame = EMPTY + 3 * STEP
    assert (
        reid("dataset", "split", dataset, "gate-00000", "--at", frame, "--json").json["tracklets"][1] == "gate-00000-2"
    )
    dropped = reid("dataset", "drop", dataset, "gate-00000-2", "hall-00000")
    assert "dropped 2 tracklets" in dropped.out
    assert "undone: dropped 2 tracklets" in reid("dataset", "undo", dataset).out
    assert reid("dataset", "undo", dataset, "--json").json["undone"]
    assert (dataset / "manifest.csv").read_bytes() == before
    assert "nothing to undo" in reid("dataset", "undo", dataset).error


def test_wrong_names_are_refused_with_the_near_one(reid, dataset: Path) -> None:
    assert "did you mean 'gate'?" in reid("dataset", "show", dataset, "--camera", "gat").error
    assert "did you mean 'gate-00000'?" in reid("dataset", "show", dataset, "gate-0000").error
    assert "did you mean 'gate-00000'?" in reid("dataset", "drop", dataset, "gate-0000").error
    assert "missing option '--at'" in reid("dataset", "split", dataset, "gate-00000").err


def test_show_names_damaged_pictures_first_and_goes_on(reid, dataset: Path, tmp_path: Path) -> None:
    crop = read_manifest(dataset).tracklets[1].crops[0]
    crop.path.write_bytes(b"no picture")
    first, second = reid("dataset", "show", dataset, "--html", tmp_path / "a.html", "--json").json["tracklets"]
    assert (first["tracklet"], first["looks_wrong"][0]["kind"]) == ("hall-00000", "damaged")
    assert crop.path.name in first["looks_wrong"][0]["words"]
    assert second["looks_wrong"] == []
    assert "no picture" in (tmp_path / "a.html").read_text()


def test_a_page_replaces_no_other_file(reid, dataset: Path, tmp_path: Path) -> None:
    manifest = dataset / "manifest.csv"
    before = manifest.read_bytes()
    assert "exists and is not an HTML page" in reid("dataset", "show", dataset, "--html", manifest).error
    assert manifest.read_bytes() == before
    (tmp_path / "a.html").touch()
    for _ in range(2):  # an empty file, and a page of before
        assert reid("dataset", "show", dataset, "--html", tmp_path / "a.html").status == 0


def test_show_of_a_tracklet_in_another_camera(reid, dataset: Path) -> None:
    asked = ("dataset", "show", dataset, "gate-00000", "--camera", "hall")
    assert "none of these tracklets is of camera 'hall'" in reid(*asked).error


def test_a_plain_folder_is_shown_without_advice_that_it_cannot_follow(reid, dataset: Path, tmp_path: Path) -> None:
    crops = dataset / "crops" / "gate"
    assert reid("dataset", "show", crops, "--html", tmp_path / "a.html").status == 0
    assert "reid dataset drop" not in (tmp_path / "a.html").read_text()


def test_check_makes_nothing_in_a_folder_that_is_no_dataset(reid, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no such file: expected a dataset" in reid("dataset", "check", tmp_path / "empty", "--repair").error
    assert list((tmp_path / "empty").iterdir()) == []
