"""Camera statistics, as a user meets them on the command line."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from crowd import CAMERAS, TRACKLETS, write_crowd
from tiny_model import build_model

from reid_toolkit.gallery import Gallery


class Site(NamedTuple):
    """Footage of three cameras, a model, a gallery of it, and what `enroll` said."""

    people: Path
    model: Path
    gallery: Path
    said: dict
    truth: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, reid) -> Site:
    root = tmp_path_factory.mktemp("site")
    people, model, gallery = root / "people", root / "model.onnx", root / "gallery"
    onnx.save(build_model(), str(model))
    write_crowd(people)
    said = reid("enroll", people, "--model", model, "--gallery", gallery, "--json").json
    names = sorted({line.split(",")[2] for line in (people / "manifest.csv").read_text().splitlines()[1:]})
    truth = root / "truth.csv"
    truth.write_text("tracklet,identity\n" + "".join(f"{name},{name.rpartition('-')[2]}\n" for name in names))
    return Site(people, model, gallery, said, truth)


@pytest.fixture
def gallery(site: Site, tmp_path: Path) -> Path:
    """One that may be changed."""
    return shutil.copytree(site.gallery, tmp_path / "g")


def test_enroll_fits_them_when_a_camera_has_doubled(site: Site, gallery: Path, tmp_path: Path, reid) -> None:
    assert site.said["camera_statistics"] == 1
    again = reid("enroll", site.people, "--model", site.model, "--gallery", gallery)
    assert "camera statistics" not in again.out
    more = write_crowd(tmp_path / "more", seed=1)
    said = reid("enroll", more, "--model", site.model, "--gallery", gallery)
    assert f"camera statistics fitted, version 2: `reid gallery cameras {gallery}` shows them" in said.out
    assert reid("gallery", "cameras", gallery, "--json").json["statistics"]["version"] == 2


def test_copy_says_that_it_has_fitted_the_target(site: Site, tmp_path: Path, reid) -> None:
    copied = reid("gallery", "copy", site.gallery, tmp_path / "copy", "--json")
    assert json.loads(copied.out)["count"] == TRACKLETS
    assert f"camera statistics fitted, version 1: `reid gallery cameras {tmp_path / 'copy'}` shows them" in copied.err
    assert "camera statistics" not in reid("gallery", "copy", site.gallery, tmp_path / "copy").err
    synced = reid("gallery", "sync", shutil.copytree(site.gallery, tmp_path / "edge"), tmp_path / "centre")
    assert "camera statistics fitted, version 1" in synced.err


def test_they_are_shown(site: Site, reid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = reid("gallery", "cameras", site.gallery)
    assert (result.status, result.err) == (0, "")
    assert re.search(r"^ door +(\d+) +\1 +\1 +\d+ +\d+% +\d\.\d{3} *$", result.out, re.MULTILINE)
    assert re.search(r"camera statistics version 1 of 3 cameras, fitted \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", result.out)
    said = reid("gallery", "cameras", site.gallery, "--json").json
    assert [one["camera"] for one in said["cameras"]] == sorted(CAMERAS)
    assert sum(one["tracklets"] for one in said["cameras"]) == TRACKLETS
    assert said["cameras"][0].keys() == {"camera", "records", "tracklets", "people", "weight", "distance"}
    assert "bias     version 1 of 3 cameras" in reid("gallery", "info", site.gallery).out


def test_refresh_makes_another_version(gallery: Path, reid) -> None:
    for version, arguments in ((2, (gallery, "refresh")), (3, ("refresh", gallery))):
        said = reid("gallery", "cameras", *arguments, "--json").json
        assert said["statistics"]["version"] == version
    assert reid("gallery", "cameras", gallery, "renew").status == 2
    assert "no gallery there" in reid("gallery", "cameras", gallery / "no").error


def test_a_timer_refreshes_only_what_is_due(gallery: Path, reid) -> None:
    """Each fit costs a new calibration, so a timer must not fit every night."""
    timer = ("gallery", "cameras", gallery, "refresh", "--if-due")
    quiet = reid(*timer, "--json")
    assert (quiet.json["statistics"]["version"], quiet.err) == (1, "")
    with Gallery.open(gallery) as store:
        vectors, records = [], []
        for held, found in store.records():
            vectors.extend(found)
            records.extend(replace(record, tracklet=f"{record.tracklet}-again") for record in held)
        store.add(np.array(vectors), records)
    due = reid(*timer, "--json")
    assert due.json["statistics"]["version"] == 2
    assert "camera statistics fitted, version 2" in due.err
    assert "reid calibrate" in due.err
    assert reid("gallery", "cameras", gallery, "--if-due").status == 2


def test_too_few_records_are_said_to_be_that(site: Site, tmp_path: Path, reid) -> None:
    crop = next((site.people / "door").glob("*.png"))
    said = reid("enroll", crop, "--camera", "door", "--model", site.model, "--gallery", tmp_path / "g", "--json").json
    assert said["camera_statistics"] is None
    shown = reid("gallery", "cameras", tmp_path / "g", "refresh")
    assert shown.status == 0
    assert "no camera statistics: expected at least two cameras with 10 records each, got 0" in shown.out
    assert "no camera statistics" in reid("gallery", "info", tmp_path / "g").out


def test_searches_know_the_query_camera(site: Site, tmp_path: Path, reid) -> None:
    tracklet = ("search", site.people, "--tracklet", "door-0-4", "--gallery", site.gallery, "--json")
    known = reid(*tracklet)
    assert (known.json["query"]["camera"], known.json["camera_statistics"]) == ("door", 1)
    assert known.err == ""
    plain = reid(*tracklet, "--no-camera-statistics").json
    assert plain["camera_statistics"] is None
    assert plain["matches"] != known.json["matches"]
    crop = site.people / "door" / "door-0-4-0.png"
    assert reid("search", crop, "--gallery", site.gallery, "--json").json["query"]["camera"] == "door"
    picture = ("search", shutil.copy(crop, tmp_path / "somebody.png"), "--gallery", site.gallery, "--json")
    unknown = reid(*picture)
    assert unknown.json["query"]["camera"] is None
    assert "the query's camera is not known" in unknown.err
    assert "name it with --query-camera NAME" in unknown.err
    told = reid(*picture, "--query-camera", "door")
    assert told.err == ""
    assert told.json["matches"][0]["distance"] < unknown.json["matches"][0]["distance"]
    assert reid(*picture, "--query-camera", "dor").error == (
        f"error: {site.gallery}: no camera 'dor' in it (did you mean 'door'?): expected one of "
        f"{', '.join(sorted(CAMERAS))}"
    )
    assert reid(*picture, "--no-camera-statistics").err == ""


def test_a_tracklet_of_a_camera_that_the_gallery_lacks(site: Site, tmp_path: Path, reid) -> None:
    strange = write_crowd(tmp_path / "strange", cameras=("roof",))
    result = reid("search", strange, "--tracklet", "roof-0-4", "--gallery", site.gallery, "--json")
    assert result.status == 0
    assert "camera 'roof' had no records when the camera statistics were fitted: compared with the mean" in result.err


def test_forget_like_compares_in_the_same_way(site: Site, gallery: Path, reid) -> None:
    crop = site.people / "door" / "door-0-4-0.png"
    asked = ("gallery", "forget", gallery, "--like", crop, "--top-k", 3, "--json")
    searched = reid("search", crop, "--gallery", gallery, "--query-camera", "door", "--top-k", 3, "--json").json
    shown = reid(*asked, "--query-camera", "door", "--yes").json
    assert shown["camera_statistics"] == 1
    assert [m["tracklet"] for m in shown["matches"]] == [m["tracklet"] for m in searched["matches"]]
    assert [m["distance"] for m in shown["matches"]] == [m["distance"] for m in searched["matches"]]
    assert "'dor'" in reid(*asked, "--query-camera", "dor", "--yes").error
    without = reid("search", crop, "--gallery", gallery, "--no-camera-statistics", "--top-k", 3, "--json").json
    shown = reid(*asked, "--no-camera-statistics", "--yes").json
    assert [m["distance"] for m in shown["matches"]] == [m["distance"] for m in without["matches"]]
    assert reid("gallery", "forget", gallery, "--query-camera", "door", "--camera", "door", "--yes").status == 2


def test_a_fit_that_cannot_be_logged_leaves_what_was_enrolled(site: Site, gallery: Path, tmp_path: Path, reid) -> None:
    assert reid("gallery", "audit", gallery, "on").status == 0
    (gallery / "audit.jsonl").write_text("")
    more = write_crowd(tmp_path / "more", seed=1)
    result = reid("enroll", more, "--model", site.model, "--gallery", gallery, "--json")
    assert result.status == 0
    assert (result.json["enrolled"], result.json["camera_statistics"]) == (TRACKLETS, 1)
    assert "camera statistics were not fitted" in result.err


def test_damaged_statistics_are_one_line(site: Site, gallery: Path, reid) -> None:
    import sqlite3

    with sqlite3.connect(gallery / "gallery.sqlite") as file:
        file.execute("UPDATE camera_statistics SET content = x'00'")
    tracklet = ("search", site.people, "--tracklet", "door-0-4", "--gallery", gallery)
    assert f"`reid gallery cameras {gallery} refresh`" in reid(*tracklet).error
    assert reid(*tracklet, "--no-camera-statistics").status == 0
    checked = reid("gallery", "check", gallery)
    assert checked.status == 1
    assert "but its camera statistics are not: fit them again" in checked.err
    assert reid("gallery", "info", gallery).status == 0
    assert reid("gallery", "cameras", gallery, "refresh").status == 0
    assert reid("gallery", "check", gallery).status == 0
    assert reid(*tracklet).status == 0


def test_evaluate_shows_both(site: Site, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    asked = ("evaluate", site.model, site.people, "--identities", site.truth)
    said = reid(*asked, "--json", "--html", tmp_path / "page.html").json
    assert {name: one["camera_statistics"] for name, one in said.items()} == {
        "model.onnx": True,
        "model.onnx without camera statistics": False,
    }
    assert said["model.onnx"]["mAP"] != said["model.onnx without camera statistics"]["mAP"]
    assert "model.onnx without camera statistics" in (tmp_path / "page.html").read_text()
    assert "model.onnx without camera statistics" in reid(*asked).out
    plain = reid(*asked, "--no-camera-statistics", "--json").json
    assert plain == {"model.onnx": said["model.onnx without camera statistics"]}


def test_evaluate_says_where_there_is_too_little(site: Site, tmp_path: Path, reid) -> None:
    small = write_crowd(tmp_path / "small", cameras=("door", "hall"))
    rows = (small / "manifest.csv").read_text().splitlines()
    names = sorted({row.split(",")[2] for row in rows[1:]})
    kept = {name for camera in ("door", "hall") for name in [n for n in names if n.startswith(camera)][:9]}
    (small / "manifest.csv").write_text("\n".join([rows[0], *(r for r in rows[1:] if r.split(",")[2] in kept)]) + "\n")
    truth = tmp_path / "truth.csv"
    truth.write_text("tracklet,identity\n" + "".join(f"{name},{name.rpartition('-')[2]}\n" for name in sorted(kept)))
    result = reid("evaluate", site.model, small, "--identities", truth, "--json")
    assert "no camera statistics were used: expected 10 tracklets of different people in each of two" in result.err
    assert [one["camera_statistics"] for one in json.loads(result.out).values()] == [False]
