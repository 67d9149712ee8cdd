"""reid gallery as a user runs it."""

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from three_people import (
    CAMERAS,
    COLOURS,
    EPOCH,
    Run,
    assert_fails,
    picture,
)

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.database import NAME


def test_info_of_many_sources_lists_some(run: Run, model: Path, tmp_path: Path) -> None:
    crops = [tmp_path / f"{number}.png" for number in range(23)]
    for number, path in enumerate(crops):
        cv2.imwrite(str(path), picture("red", 1 - 0.01 * number))
    assert run("enroll", *crops, "--camera", "c", "--model", model, "--gallery", tmp_path / "g")[0] == 0
    told = run("gallery", "info", tmp_path / "g")[1]
    assert sum(".png" in line for line in told.splitlines()) == 20
    assert "and 3 more; --json lists all" in told
    assert len(json.loads(run("gallery", "info", tmp_path / "g", "--json")[1])["sources"]) == 23


def test_info_says_when_an_index_is_not_used(run: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_toolkit.gallery.local import gallery as module

    info_of = module.info_of
    for recall, words in ((0.67, "not used, because it finds less than 99% of the ten nearest"), (0.995, "rows 6")):
        index = {"rows": 6, "recall_at_10": recall}
        monkeypatch.setattr(module, "info_of", lambda *given, held=index: replace(info_of(*given), index=held))
        assert f"index    {words}" in run("gallery", "info", gallery)[1]


def test_info(run: Run, gallery: Path, dataset: Path, model: Path) -> None:
    held = json.loads(run("gallery", "info", gallery, "--json")[1])
    assert (held["count"], held["dimension"], held["model_file"]) == (6, 96, str(model))
    assert (held["cameras"], held["sources"]) == ({"door": 3, "hall": 3}, {str(dataset): 6})
    assert (held["first"], held["last"]) == (EPOCH, EPOCH + 122)
    out = run("gallery", "info", gallery)[1]
    assert "records  6 of width 96" in out
    assert "2026-09-21 14:13:20–14:15:22" in out


def test_forget(run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_fails(run("gallery", "forget", gallery), "no records were chosen")
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    status, out, err = run("gallery", "forget", gallery, "--camera", "door")
    assert (status, out) == (0, "")
    assert "nothing was deleted" in err
    forget = ("gallery", "forget", gallery, "--yes", "--json")
    assert_fails(
        run(*forget, "--tracklet", "door-red", "--camera", "hall"),
        "nothing in it is of tracklet 'door-red' and camera 'hall': nothing to delete",
    )
    assert_fails(run(*forget, "--camera", "hal"), "nothing in it is of camera 'hal' (did you mean 'hall'?)")
    assert json.loads(run(*forget, "--tracklet", "door-red")[1]) == {
        "gallery": str(gallery), "forgotten": 1, "count": 5,
    }  # fmt: skip
    assert json.loads(run(*forget, "--camera", "hall")[1])["count"] == 2
    monkeypatch.chdir(dataset.parent)
    assert json.loads(run(*forget, "--source", dataset.name)[1])["count"] == 0
    assert_fails(run("search", dataset / "door" / "red-0.png", "--gallery", gallery), "the gallery is empty")


def test_who_was_forgotten_stays_forgotten(run: Run, gallery: Path, dataset: Path, model: Path, tmp_path: Path) -> None:
    enroll = ("enroll", dataset, "--model", model, "--gallery", gallery)
    run("gallery", "forget", gallery, "--tracklet", "door-red", "--yes")
    status, out, err = run(*enroll, "--json")
    assert (status, json.loads(out)["enrolled"], json.loads(out)["blocked"]) == (0, 0, 1)
    assert "left out 1 forgotten record: --allow enrolls them again" in err
    run("gallery", "forget", gallery, "--like", dataset / "hall" / "red-0.png", "--top-k", 1, "--yes")
    assert json.loads(run(*enroll, "--json")[1])["blocked"] == 2
    copied = run("gallery", "copy", gallery, tmp_path / "copy")[0]
    assert copied == 0
    again = run("enroll", dataset, "--model", model, "--gallery", tmp_path / "copy", "--json")[1]
    assert json.loads(again)["blocked"] == 2  # the list went along
    run("gallery", "forget", gallery, "--source", dataset, "--yes")
    assert json.loads(run(*enroll, "--json")[1])["blocked"] == 6
    assert json.loads(run(*enroll, "--crops", "--json")[1])["blocked"] == 18  # of that source, in whatever form
    one = ("enroll", dataset / "door" / "red-0.png", "--camera", "door", "--model", model, "--gallery", gallery)
    assert json.loads(run(*one, "--allow", "--json")[1])["enrolled"] == 1
    assert json.loads(run(*enroll, "--json")[1])["blocked"] == 6  # allowing one picture allows no other
    run("gallery", "forget", gallery, "--source", dataset / "door" / "red-0.png", "--yes")
    assert json.loads(run(*enroll, "--allow", "--json")[1])["enrolled"] == 6
    assert json.loads(run(*enroll, "--json")[1]) == json.loads(run(*enroll, "--allow", "--json")[1])


def test_a_source_can_be_forgotten_again(run: Run, gallery: Path, dataset: Path, model: Path) -> None:
    enroll = ("enroll", dataset, "--model", model, "--gallery", gallery, "--json")
    forget = ("gallery", "forget", gallery, "--yes", "--source")
    run(*forget, dataset)
    assert json.loads(run(*enroll, "--allow")[1])["enrolled"] == 6
    with Gallery.open(gallery) as held:
        held.delete(source=str(dataset))  # as by purge
    # A mistyped source is an error, and is not put on the list.
    assert_fails(run(*forget, f"{dataset}x"), "nothing in it is of source", "nothing to delete")
    assert_fails(run(*forget, f"{dataset}x"), "nothing in it is of source", "nothing to delete")
    status, out, _ = run(*forget, dataset)
    assert (status, out) == (0, f"{gallery}: 0 records forgotten, 0 left\n")
    assert json.loads(run(*enroll)[1])["blocked"] == 6


def test_forget_can_be_run_on_a_missing_gallery_without_making_one(run: Run, tmp_path: Path) -> None:
    assert_fails(run("gallery", "forget", tmp_path / "no", "--camera", "a", "--yes"), "no gallery there")
    assert_fails(run("gallery", "info", tmp_path / "no"), "no gallery there")
    assert not (tmp_path / "no").exists()


def test_compact_and_check(run: Run, gallery: Path) -> None:
    report = json.loads(run("gallery", "compact", gallery, "--json")[1])
    assert (report["count"], report["gallery"]) == (6, str(gallery))
    assert "6 records" in run("gallery", "compact", gallery)[1]
    status, out, _ = run("gallery", "check", gallery)
    assert (status, out) == (0, f"{gallery}: 6 of 6 records whole; index: none\n")
    (gallery / "index.json").write_text("{")
    status, out, _ = run("gallery", "check", gallery)
    assert status == 0
    assert "index: damaged, searches do not use it until `reid enroll` or `reid gallery compact` builds it again" in out
    for verb in ("compact", "check", "info"):
        assert_fails(run("gallery", verb, gallery / "no"), "no gallery there")


def test_a_damaged_record_is_named_left_out_and_stored_anew(
    run: Run, gallery: Path, dataset: Path, model: Path
) -> None:
    with sqlite3.connect(gallery / NAME) as db:
        db.execute("UPDATE record SET vector = zeroblob(192) WHERE tracklet = 'door-green'")
    db.close()
    status, out, err = run("gallery", "check", gallery)
    assert status == 1
    assert re.search(r"record \d: does not fit its checksum: .*set, tracklet door-green, camera door", out)
    assert "1 damaged and 0 missing records" in err
    document = json.loads(run("gallery", "check", gallery, "--json")[1])
    assert (document["sound"], document["whole"], document["damaged"][0]["tracklet"]) == (False, 5, "door-green")
    status, out, err = run("search", dataset / "door" / "green-1.png", "--gallery", gallery, "--json")
    assert status == 0
    assert {m["tracklet"] for m in json.loads(out)["matches"]} == {
        f"{camera}-{colour}" for camera in CAMERAS for colour in COLOURS
    } - {"door-green"}
    assert "1 damaged records were left out" in err
    again = json.loads(run("enroll", dataset, "--model", model, "--gallery", gallery, "--json")[1])
    assert (again["enrolled"], again["already"], again["count"]) == (1, 5, 6)
    assert run("gallery", "check", gallery)[0] == 0
