"""calibrate, and what search then says, as a user runs them."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from crowd import CAMERAS, PEOPLE, TRACKLETS, write_clusters, write_crowd
from tiny_model import METADATA, PROJECTION, build_model

from reid_toolkit.datasets import open_dataset
from reid_toolkit.records import Match, Record
from reid_toolkit.search import Confidence
from reid_toolkit.search.answers import Answer, is_out_of_order


class Site(NamedTuple):
    """A model, footage, a run's clusters and a gallery."""

    people: Path
    model: Path
    run: Path
    gallery: Path


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory, reid) -> Site:
    root = tmp_path_factory.mktemp("site")
    site = Site(root / "people", root / "model.onnx", root / "run", root / "gallery")
    onnx.save(build_model(), str(site.model))
    write_crowd(site.people)
    write_clusters(site.run)
    assert reid("enroll", site.people, "--model", site.model, "--gallery", site.gallery).status == 0
    return site


@pytest.fixture(scope="module")
def of_the_gallery(enrolled: Site, tmp_path_factory: pytest.TempPathFactory, reid) -> Path:
    """A calibration for the gallery, not to be changed."""
    out = tmp_path_factory.mktemp("calibrated") / "c.json"
    arguments = ("--model", enrolled.model, "--run", enrolled.run, "--gallery", enrolled.gallery, "--out", out)
    assert reid("calibrate", enrolled.people, *arguments).status == 0
    return out


@pytest.fixture
def calibration(of_the_gallery: Path, tmp_path: Path) -> Path:
    """In a place of its own, where search does not find it by itself."""
    return Path(shutil.copy(of_the_gallery, tmp_path))


@pytest.fixture
def query(enrolled: Site) -> tuple:
    """Somebody, and more matches than there are of them."""
    return ("search", enrolled.people, "--tracklet", "door-0-4", "--top-k", 30, "--gallery", enrolled.gallery)


def test_what_it_says(enrolled: Site, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ("calibrate", enrolled.people, "--model", enrolled.model, "--out", tmp_path / "c.json")
    result = reid(*arguments)
    assert result.status == 0
    assert re.search(r"one camera +\d+ +\d+ +0\.\d{3} +0\.\d{3} +0\.\d{3}\? +too few", result.out)
    assert re.search(r"^\?: uncertain: only \d+ pairs of people ", result.out, re.MULTILINE)
    assert re.search(r"two cameras +\d+ ", result.out)
    assert re.search(r"^ door +\d+ ", result.out, re.MULTILINE)
    assert "warning" not in result.err
    document = reid(*arguments, "--run", enrolled.run, "--json")
    assert "warning" not in document.err
    found = document.json
    assert (found["calibration"], found["tracklets"], found["per_person"]) == (
        str(tmp_path / "c.json"),
        TRACKLETS,
        TRACKLETS / PEOPLE,
    )
    assert [one["cameras"] for one in found["pairs"]] == [[a, b] for a in CAMERAS for b in CAMERAS if a <= b]
    assert found["across"]["thresholds"]["0.05"] < found["across"]["even"]
    assert found["within"]["thresholds"]["0.001"] is None


def test_search_finds_it_beside_the_model(enrolled: Site, query: tuple, tmp_path: Path, reid) -> None:
    before = reid(*query, "--json").json
    assert {(m["probability"], m["basis"], m["verdict"]) for m in before["matches"]} == {(None, None, None)}
    assert (before["base_rate"], before["verdict"]) == (None, None)
    model = tmp_path / "model.onnx"
    shutil.copy(enrolled.model, model)
    arguments = ("--model", model, "--run", enrolled.run, "--gallery", enrolled.gallery)
    assert reid("calibrate", enrolled.people, *arguments).status == 0
    assert (tmp_path / "model.calibration.json").is_file()
    after = reid(*query, "--model", model, "--json").json
    assert after["base_rate"] == pytest.approx(1 / PEOPLE)
    said = [m["probability"] for m in after["matches"]]
    right = [m["tracklet"].endswith("-4") for m in after["matches"]]
    assert right[0]
    assert said[0] > 0.6 > 0.2 > said[-1]
    assert {m["basis"] for m in after["matches"]} == {"camera pair"}
    for match in [*before["matches"], *after["matches"]]:
        for key in ("probability", "basis", "verdict"):
            del match[key]
    assert before["matches"] == after["matches"]  # what it means changes nothing of what is found
    shutil.copytree(enrolled.gallery, tmp_path / "moved")
    copied = reid("gallery", "copy", enrolled.gallery, tmp_path / "copy")
    assert copied.status == 0
    there = (*query[:-1], tmp_path / "copy", "--model", model, "--json")
    assert [m["probability"] for m in reid(*there).json["matches"]] == said


def test_people_sets_the_base_rate(query: tuple, calibration: Path, reid) -> None:
    few, many = (reid(*query, "--calibration", calibration, "--people", people, "--json").json for people in (2, 1000))
    assert (few["base_rate"], many["base_rate"]) == (0.5, 0.001)
    for a, b in zip(few["matches"], many["matches"], strict=True):
        odds = a["probability"] / (1 - a["probability"])
        assert b["probability"] == pytest.approx(odds / 999 / (1 + odds / 999), rel=1e-6)


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, ">99%"), (0.995, ">99%"), (0.99, "99%"), (0.5, "50%"), (0.01, "1%"), (0.0, "<1%")]
)
def test_nothing_is_said_to_be_certain(probability: float, text: str) -> None:
    assert Confidence(probability, "pooled").text == text


def test_unknown_beyond_a_false_match_rate(
    enrolled: Site, query: tuple, calibration: Path, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    asked = ("--calibration", calibration, "--false-match-rate", 0.003)
    document = reid(*query, *asked, "--json", "--html", tmp_path / "page.html").json
    verdicts = [m["verdict"] for m in document["matches"]]
    assert set(verdicts) == {"same", "unknown"}
    assert (verdicts[0], document["verdict"]) == ("same", "same")
    assert all(m["tracklet"].endswith("-4") for m in document["matches"] if m["verdict"] == "same")
    page = (tmp_path / "page.html").read_text()
    assert re.search(r"<span>1 · 0\.\d+</span><span>\d+%</span>", page)
    assert page.count("%, unknown</span>") == verdicts.count("unknown")
    table = reid(*query, *asked)
    assert re.search(r"^ *1 .* \d+% *$", table.out, re.MULTILINE)
    assert re.search(r"^ *30 .* <?\d+%, unknown *$", table.out, re.MULTILINE)
    assert "unknown: no match" not in table.out

    stranger = write_crowd(tmp_path / "others", seed=1) / "door" / "door-0-3-0.png"
    nobody = ("search", stranger, "--gallery", enrolled.gallery, *asked)
    assert reid(*nobody, "--json").json["verdict"] == "unknown"
    assert reid(*nobody).out.count("unknown: no match is near enough for the false-match rate that was given\n") == 1


def test_groups_are_told_what_they_mean(
    enrolled: Site, query: tuple, calibration: Path, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    crops = tmp_path / "crops"
    assert reid("enroll", enrolled.people, "--crops", "--model", enrolled.model, "--gallery", crops).status == 0
    arguments = ("--model", enrolled.model, "--run", enrolled.run, "--gallery", crops, "--out", calibration)
    assert reid("calibrate", enrolled.people, *arguments).status == 0
    page = tmp_path / "page.html"
    asked = (*query[:-1], crops, "--calibration", calibration, "--people", PEOPLE, "--html", page)
    table = reid(*asked, "--group", "tracklet").out
    assert re.search(r"^ *1 .* 4 +\d+% *$", table, re.MULTILINE)
    assert re.search(r"<h2>1 · \w+-\d-4 · \d+% · \w+</h2>", page.read_text())
    assert not re.search(r"<span>\d+%</span>", page.read_text())  # of the tracklet, and not of each crop
    found = reid(*asked, "--group", "camera", "--json").json["matches"]
    assert all(m["probability"] is not None for m in found)
    assert page.read_text().count("%</span>") == len(found)


def test_evidence_of_one_camera_is_said_to_be_that(
    enrolled: Site, query: tuple, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    out, alone = tmp_path / "c.json", write_crowd(tmp_path / "alone", cameras=("door",))
    there = ("--model", enrolled.model, "--gallery", enrolled.gallery, "--out", out)
    assert reid("calibrate", alone, *there).status == 0
    found = reid(*query, "--calibration", out, "--json").json
    assert {(m["camera"], m["basis"]) for m in found["matches"]} == {
        ("door", "camera pair"), ("hall", "one camera"), ("yard", "one camera"),
    }  # fmt: skip
    assert "same-camera evidence only" in reid(*query, "--calibration", out, "--camera", "hall").out
    assert "same-camera evidence only" not in reid(*query, "--calibration", out, "--camera", "door").out


def test_what_cannot_be_said_is_refused(enrolled: Site, query: tuple, calibration: Path, tmp_path: Path, reid) -> None:
    there = ("--calibration", calibration)
    assert "ask for" in reid(*query, *there, "--false-match-rate", 1e-6).error
    assert "make it with `reid calibrate`" in reid(*query, "--false-match-rate", 0.01).error
    assert "no.json" in reid(*query, "--calibration", tmp_path / "no.json").error
    for wrong in (
        ("--false-match-rate", 0),
        ("--false-match-rate", 0.6),
        ("--false-match-rate", "nan"),
        ("--people", 1),
        ("--people", 10**400),
    ):
        assert reid(*query, *there, *wrong).status == 2
    other = tmp_path / "other.onnx"
    onnx.save(build_model(-PROJECTION, metadata=METADATA.to_strings()), str(other))
    assert reid("calibrate", enrolled.people, "--model", other).status == 0
    assert "models cannot be compared" in reid(*query, "--calibration", other.with_suffix(".calibration.json")).error
    calibration.write_text("{")
    assert "make it again with `reid calibrate`" in reid(*query, *there).error


def test_a_calibration_of_other_distances_is_refused(
    enrolled: Site, query: tuple, calibration: Path, tmp_path: Path, reid
) -> None:
    plain = tmp_path / "plain.json"
    assert reid("calibrate", enrolled.people, "--model", enrolled.model, "--out", plain).status == 0
    assert (json.loads(plain.read_text())["format"], json.loads(calibration.read_text())["format"]) == (
        "reid-calibration-1",  # as older toolkits read it
        "reid-calibration-2",  # which they refuse
    )
    assert "made for distances without camera statistics" in reid(*query, "--calibration", plain).error
    without = (*query, "--no-camera-statistics")
    assert reid(*without, "--calibration", plain).status == 0
    assert "this search is without them" in reid(*without, "--calibration", calibration).error
    # The gallery's statistics become others, and so do its distances.
    moved = shutil.copytree(enrolled.gallery, tmp_path / "moved")
    assert reid("gallery", "forget", moved, "--tracklet", "door-0-4", "--yes").status == 0
    assert reid("gallery", "cameras", moved, "refresh").status == 0
    assert "other camera statistics" in reid(*query[:-1], moved, "--calibration", calibration).error
    # One that lies beside the model and does not fit is left out, since nobody asked for it.
    beside = tmp_path / "model.onnx"
    shutil.copy(enrolled.model, beside)
    shutil.copy(plain, tmp_path / "model.calibration.json")
    found = reid(*query, "--model", beside, "--json")
    assert found.status == 0
    assert {m["probability"] for m in found.json["matches"]} == {None}
    assert "no probabilities" in found.err
    assert "--gallery GALLERY" in found.err


def test_calibrating_for_a_gallery_of_another_model(enrolled: Site, tmp_path: Path, reid) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(build_model(-PROJECTION, metadata=METADATA.to_strings()), str(other))
    result = reid("calibrate", enrolled.people, "--model", other, "--gallery", enrolled.gallery)
    assert "calibrate with the model that the gallery was enrolled with" in result.error
    assert "no gallery there" in reid(
        "calibrate", enrolled.people, "--model", other, "--gallery", tmp_path / "no"
    ).error  # fmt: skip
    assert reid("calibrate", enrolled.people, "--model", other, "--gallery", "").status == 2
    strange = write_crowd(tmp_path / "strange", cameras=("roof",))
    result = reid(
        "calibrate", strange, "--model", enrolled.model, "--gallery", enrolled.gallery, "--out", tmp_path / "c.json"
    )
    assert result.status == 0
    assert "has no statistics of 'roof'" in result.err


def test_the_model_is_not_overwritten(enrolled: Site, reid) -> None:
    before = enrolled.model.read_bytes()
    there = enrolled.model.parent / "people" / ".." / enrolled.model.name
    result = reid("calibrate", enrolled.people, "--model", enrolled.model, "--out", there)
    assert "exists and is not a calibration" in result.error
    assert enrolled.model.read_bytes() == before


def test_what_cannot_be_calibrated(enrolled: Site, tmp_path: Path, reid) -> None:
    there = ("--model", enrolled.model, "--out", tmp_path / "c.json")
    assert "calibrate on more footage" in reid("calibrate", write_crowd(tmp_path / "t", times=False), *there).error
    assert "no such file" in reid("calibrate", enrolled.people, *there, "--run", tmp_path).error
    assert "no such folder" in reid("calibrate", tmp_path / "no", *there).error
    broken = write_crowd(tmp_path / "b")
    (broken / "hall" / "hall-1-1-1.png").write_bytes(b"")
    assert "hall-1-1-1.png" in reid("calibrate", broken, *there).error
    assert not (tmp_path / "c.json").exists()
    result = reid("calibrate", broken, *there, "--skip-bad", "--json")
    assert json.loads(result.out)["tracklets"] == TRACKLETS
    assert "1 unreadable images were left out" in result.err


def test_names_of_cameras_have_no_power_over_the_terminal(enrolled: Site, tmp_path: Path, reid) -> None:
    odd = write_crowd(tmp_path / "odd", cameras=("do\x1b[2Jor",))
    result = reid("calibrate", odd, "--model", enrolled.model, "--out", tmp_path / "c.json")
    assert result.status == 0
    assert r"do\x1b[2Jor" in result.out
    assert "\x1b" not in result.out


def test_footage_that_the_model_was_trained_on_is_refused(enrolled: Site, tmp_path: Path, reid) -> None:
    model, out = tmp_path / "own.onnx", tmp_path / "c.json"
    metadata = METADATA.to_strings() | {"dataset": open_dataset(enrolled.people).fingerprint}
    onnx.save(build_model(metadata=metadata), str(model))
    arguments = ("calibrate", enrolled.people, "--model", model, "--out", out)
    refused = reid(*arguments).error
    assert f"{model} was trained on it" in refused
    assert "give --anyway" in refused
    assert not out.exists()
    done = reid(*arguments, "--anyway")
    assert (done.status, "was trained on it" in done.err) == (0, True)
    assert out.exists()
    mended = shutil.copytree(enrolled.people, tmp_path / "mended")
    assert reid("dataset", "drop", mended, "door-0-4").status == 0
    assert "was trained on it" in reid("calibrate", mended, "--model", model, "--out", out).error


def test_a_rate_that_few_people_support_is_doubted(enrolled: Site, query: tuple, tmp_path: Path, reid) -> None:
    out = tmp_path / "c.json"
    there = ("--model", enrolled.model, "--run", enrolled.run, "--gallery", enrolled.gallery, "--out", out)
    document = reid("calibrate", enrolled.people, *there, "--json").json
    pairs = document["people_pairs"]
    assert document["across"]["different"] > 2 * pairs  # so the distances would allow a rarer rate
    asked = (*query, "--calibration", out, "--json", "--false-match-rate")
    rare, usual = reid(*asked, 0.9 / (pairs + 1)), reid(*asked, 1.1 / (pairs + 1))
    assert f"come from {pairs:,} pairs of people" in rare.err
    assert rare.json["doubt"] in rare.err.replace("\n", " ")
    assert (usual.err, usual.json["doubt"]) == ("", None)
    table = json.loads(out.read_text())
    out.write_text(json.dumps(table | {"people_pairs": None}))  # a file of an older toolkit
    assert (reid(*asked, 0.9 / (pairs + 1)).err, reid(*asked, 0.9 / (pairs + 1)).json["doubt"]) == ("", None)


def test_a_rate_across_cameras_wants_evidence_across(enrolled: Site, query: tuple, tmp_path: Path, reid) -> None:
    out, alone = tmp_path / "c.json", write_crowd(tmp_path / "alone", cameras=("door",))
    there = ("--model", enrolled.model, "--gallery", enrolled.gallery, "--out", out)
    assert reid("calibrate", alone, *there).status == 0
    asked = (*query, "--calibration", out, "--false-match-rate", 0.1)
    assert "only within single cameras, which is not enough" in reid(*asked).error
    assert reid(*asked, "--camera", "door").status == 0


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_same_picture_is_certain(
    enrolled: Site, calibration: Path, tmp_path: Path, reid, monkeypatch: pytest.MonkeyPatch, calibrated: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    crop, gallery = open_dataset(enrolled.people).tracklets[3].crops[0], tmp_path / "one"
    picture = shutil.copy(crop.path, tmp_path / "somebody.png")
    assert reid("enroll", picture, "--camera", "door", "--model", enrolled.model, "--gallery", gallery).status == 0
    plain = tmp_path / "plain.json"
    assert reid("calibrate", enrolled.people, "--model", enrolled.model, "--out", plain).status == 0
    asked = ("search", picture, "--gallery", gallery, *(("--calibration", plain) if calibrated else ()))
    (match,) = reid(*asked, "--json").json["matches"]
    said = (match["probability"], match["basis"], match["verdict"])
    assert said == ((1.0 if calibrated else None), "same picture", None)
    assert re.search(r"^ *1 .* same picture *$", reid(*asked).out, re.MULTILINE)
    if calibrated:
        assert reid(*asked, "--false-match-rate", 0.1, "--json").json["verdict"] == "same"


def test_the_crops_of_a_tracklet_are_that_tracklet(
    enrolled: Site, query: tuple, calibration: Path, tmp_path: Path, reid
) -> None:
    people = shutil.copytree(enrolled.people, tmp_path / "people")
    own = next(one for one in open_dataset(people).tracklets if one.name == "door-0-4")
    (people / "own").mkdir()
    manifest = (people / "manifest.csv").read_text()
    for crop in own.crops:
        manifest = manifest.replace(crop.path.relative_to(people).as_posix(), f"own/{crop.path.name}")
        crop.path.rename(people / "own" / crop.path.name)
    (people / "manifest.csv").write_text(manifest)
    asked = ("--gallery", enrolled.gallery, "--calibration", calibration, "--json")
    named = reid("search", people, "--tracklet", "door-0-4", *asked).json
    assert reid("search", people / "own", *asked).json == named
    one = reid("search", people / "own" / own.crops[0].path.name, *asked).json
    assert one["query"]["camera"] == "door"
    (people / "own" / own.crops[0].path.name).rename(tmp_path / own.crops[0].path.name)
    assert reid("search", people / "own", *asked).json["query"]["camera"] is None  # the manifest cannot be read now


def test_a_list_whose_order_is_not_that_of_its_probabilities_says_so() -> None:
    def answers(*probabilities: float | None, distances: Sequence[float] = range(100_000)) -> list[Answer]:
        record = Record("a", "door")
        return [
            Answer(Match(1, distance, record), None, None, Confidence(one))
            for one, distance in zip(probabilities, distances, strict=False)
        ]

    assert is_out_of_order(answers(0.36, 0.76, 0.41))
    assert is_out_of_order(answers(0.9, 0.5, None, 0.56))
    assert not is_out_of_order(answers(0.9, 0.5, 0.54, 0.2))  # too little to be noticed
    assert not is_out_of_order(answers(None, None))
    assert not is_out_of_order([])
    # With --group camera, one camera comes after the other.
    assert not is_out_of_order(answers(0.99, 0.01, 0.9, distances=(0.2, 1.3, 0.4)))
    assert is_out_of_order(answers(0.99, 0.9, 0.01, distances=(0.2, 1.3, 0.4)))
    assert not is_out_of_order(answers(0.1, 0.9, distances=(0.5, 0.5)))
    assert not is_out_of_order(answers(*np.linspace(1, 0, 100_000)))  # all pairs of them would take minutes
