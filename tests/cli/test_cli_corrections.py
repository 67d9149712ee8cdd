"""`reid train` and `reid calibrate` with --corrections, as a user runs them."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
from crowd import write_crowd
from tiny_model import build_model

from reid_toolkit.training.run_folder import RunFolder


class Site(NamedTuple):
    people: Path
    model: Path
    gallery: Path


@pytest.fixture
def site(tiny_dataset: Path, tmp_path: Path, reid) -> Site:
    """A dataset, and a gallery that was enrolled from it."""
    made = Site(tiny_dataset, tmp_path / "model.onnx", tmp_path / "g")
    onnx.save(build_model(), str(made.model))
    assert reid("enroll", made.people, "--model", made.model, "--gallery", made.gallery).status == 0
    return made


@pytest.fixture
def train(reid, recipe: Path, site: Site, tmp_path: Path):
    def run(*arguments: object):
        return reid("train", site.people, "--recipe", recipe, "--out", tmp_path / "run", *arguments)

    return run


def test_training_obeys_and_goes_on_with_what_it_began_with(train, reid, site: Site, tmp_path: Path) -> None:
    assert reid("people", "same", site.gallery, "north-00", "south-10").status == 0
    assert reid("people", "not", site.gallery, "north-00", "north-01").status == 0
    result = train("--corrections", site.gallery)
    assert result.status == 0, result.err
    said = f"2 corrections about tracklets of {site.people}: 1 pair of one person, 1 of two"
    assert said in result.err
    assert "11 clusters merged into" in result.err
    assert "merges of people seen at once, or kept apart by corrections, were stopped" in result.err
    assert RunFolder(tmp_path / "run").model()["corrections"] == {"same": 1, "different": 1}
    assert train("--resume", "--corrections", site.gallery).status == 0
    assert reid("people", "same", site.gallery, "north-00", "south-00").status == 0
    assert "cannot resume with other corrections" in train("--resume", "--corrections", site.gallery).error
    assert train("--resume").status == 0


def test_corrections_about_other_records_are_said(train, reid, site: Site, tmp_path: Path) -> None:
    other = write_crowd(tmp_path / "crowd", cameras=("door",))
    assert reid("enroll", other, "--model", site.model, "--gallery", site.gallery).status == 0
    assert reid("people", "not", site.gallery, "door-0-0", "door-0-1").status == 0
    result = train("--corrections", site.gallery)
    assert result.status == 0
    assert f"none of its 1 correction is about tracklets of {site.people}, so none are used" in result.err
    assert not (tmp_path / "run" / "corrections.json").exists()
    shutil.rmtree(tmp_path / "run")
    assert reid("people", "same", site.gallery, "north-00", "north-01").status == 0
    result = train("--corrections", site.gallery)
    assert "1 pair of one person, 0 of two; 1 correction about other records left out" in result.err


def test_a_gallery_without_corrections_and_none_at_all(train, reid, site: Site, tmp_path: Path) -> None:
    assert f"{site.gallery}: has no corrections, so none are used" in train("--corrections", site.gallery).err
    calibrate = ("calibrate", site.people, "--model", site.model, "--out", tmp_path / "c.json")
    assert "no gallery there" in reid(*calibrate, "--corrections", tmp_path / "lost").error
    assert reid(*calibrate, "--corrections", "").status == 2


def test_calibration_counts_corrections(reid, tmp_path: Path) -> None:
    people, model, gallery = tmp_path / "people", tmp_path / "model.onnx", tmp_path / "g"
    onnx.save(build_model(), str(model))
    write_crowd(people)
    assert reid("enroll", people, "--model", model, "--gallery", gallery).status == 0
    assert reid("people", "same", gallery, "door-0-0", "door-1-0").status == 0
    calibrate = ("calibrate", people, "--model", model, "--out", tmp_path / "c.json", "--json")
    before, after = reid(*calibrate), reid(*calibrate, "--corrections", gallery)
    assert f"1 correction about tracklets of {people}: 1 pair of one person, 0 of two" in after.err
    assert (before.json["corrections"], after.json["corrections"]) == (0, 1)
    assert after.json["within"]["same"] > before.json["within"]["same"]
    assert json.loads((tmp_path / "c.json").read_text())["corrections"] == 1


def test_evaluation_does_not_see_them(reid, site: Site) -> None:
    """Neither the identities of the dataset nor its figures change, and `reid evaluate` has no such option."""
    evaluate = ("evaluate", site.model, site.people, "--identities", site.people / "identities.csv", "--json")
    before = reid(*evaluate).json
    assert reid("people", "same", site.gallery, "north-00", "south-10").status == 0
    assert reid(*evaluate).json == before
    refused = reid("evaluate", site.model, site.people, "--corrections", site.gallery)
    assert refused.status == 2
    assert "no such option '--corrections'" in refused.err
