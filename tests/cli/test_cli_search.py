"""search as a user runs it."""

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from three_people import (
    CAMERAS,
    COLOURS,
    EPOCH,
    Run,
    assert_fails,
    json_of,
    picture,
    search,
    write_model,
)

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.records import Record


def test_the_same_person_is_found_in_the_other_camera(run: Run, gallery: Path, dataset: Path) -> None:
    for colour in COLOURS:
        found = search(run, dataset, "--tracklet", f"door-{colour}", "--gallery", gallery)
        assert found[0]["tracklet"] == f"hall-{colour}"
        assert len(found) == 5
        assert f"door-{colour}" not in {match["tracklet"] for match in found}


def test_json_is_stable(run: Run, gallery: Path, dataset: Path) -> None:
    query = dataset / "door" / "green-1.png"
    document = json_of(run, query, "--gallery", gallery, "--top-k", 1)
    distance = document["matches"][0].pop("distance")
    assert 0 <= distance < 0.1
    assert re.fullmatch(r"WzIs[\w-]{60,300}", document.pop("after"))
    assert document == {
        "schema": 1,
        "query": {"name": "green-1", "images": [str(query)], "camera": "door", "person": None},
        "camera_statistics": None,
        "group": None,
        "matches": [
            {
                "rank": 1,
                "tracklet": "door-green",
                "camera": "door",
                "start": EPOCH + 10,
                "end": EPOCH + 12,
                "source": str(dataset),
                "image": str(query),
                "tags": [],
                "crops": None,
                "right": None,
                "probability": None,
                "basis": "same picture",  # its crops are alike to the bit
                "verdict": None,
            }
        ],
        "base_rate": None,
        "verdict": None,
        "out_of_order": False,
        "doubt": None,
    }
    whole = json_of(run, query, "--gallery", gallery)
    assert (len(whole["matches"]), whole["after"]) == (6, None)


def test_json_of_groups_is_stable_and_pages_end_where_the_next_begin(
    run: Run, dataset: Path, model: Path, tmp_path: Path
) -> None:
    run("enroll", dataset, "--crops", "--model", model, "--gallery", tmp_path / "g")
    asked = (dataset, "--tracklet", "door-red", "--gallery", tmp_path / "g", "--group", "tracklet", "--top-k", 2)
    first = json_of(run, *asked)
    assert first["group"] == "tracklet"
    assert [(m["rank"], m["tracklet"], m["crops"]) for m in first["matches"]] == [
        (1, "hall-red", 3), (2, "hall-green", 3)
    ]  # fmt: skip
    assert first["matches"][0].keys() == {
        "rank", "distance", "tracklet", "camera", "start", "end", "source", "image", "tags", "crops", "right",
        "probability", "basis", "verdict",
    }  # fmt: skip
    seen = list(first["matches"])
    page = first
    while page["after"] is not None:
        page = json_of(run, *asked, "--after", page["after"])
        seen += page["matches"]
    assert page.keys() == first.keys() == {
        "schema", "query", "group", "base_rate", "camera_statistics", "verdict", "doubt", "out_of_order", "matches",
        "after",
    }  # fmt: skip
    assert [m["rank"] for m in seen] == [1, 2, 3, 4, 5]
    assert len({m["tracklet"] for m in seen}) == 5
    assert [m["distance"] for m in seen] == sorted(m["distance"] for m in seen)
    # The cameras of a gallery, each with its best, and the same again.
    asked = (*asked[:-4], "--group", "camera", "--top-k", 4)
    first = json_of(run, *asked)
    second = json_of(run, *asked, "--after", first["after"])
    assert [(m["camera"], m["rank"]) for m in first["matches"]] == [
        (camera, rank) for camera in ("hall", "door") for rank in (1, 2, 3, 4)
    ]
    assert [(m["camera"], m["rank"]) for m in second["matches"] if m["camera"] == "door"] == [("door", 5), ("door", 6)]
    assert [(m["camera"], m["rank"]) for m in second["matches"] if m["camera"] == "hall"] == [
        ("hall", rank) for rank in (5, 6, 7, 8)
    ]


def test_a_cursor_that_does_not_fit_is_one_line(run: Run, gallery: Path, dataset: Path, tmp_path: Path) -> None:
    query = (dataset / "door" / "red-0.png", "--gallery", gallery, "--top-k", 1)
    cursor = json_of(run, *query)["after"]
    other = (dataset / "door" / "blue-0.png", *query[1:])
    shutil.copytree(gallery, tmp_path / "moved")
    assert json_of(run, query[0], "--gallery", tmp_path / "moved", "--after", cursor)["matches"][0]["rank"] == 2
    run("gallery", "forget", tmp_path / "moved", "--camera", "hall", "--yes")
    run("gallery", "forget", tmp_path / "moved", "--camera", "door", "--tracklet", "door-blue", "--yes")
    run("gallery", "forget", tmp_path / "moved", "--camera", "door", "--tracklet", "door-green", "--yes")
    out = run("search", query[0], "--gallery", tmp_path / "moved", "--after", cursor)[1]
    assert out == "no further record passes the filters\n"
    assert_fails(run("search", *query, "--after", cursor[:-3]), "incomplete", "begins again")
    assert_fails(run("search", *query, "--after", "1"), "incomplete")
    assert_fails(run("search", *other, "--after", cursor), "another query")
    assert_fails(run("search", *query, "--camera", "hall", "--after", cursor), "another filter")
    assert_fails(run("search", *query, "--group", "camera", "--after", cursor), "another grouping")
    assert run("search", *query, "--group", "person")[0] == 2


def test_a_query_whose_name_is_no_unicode(run: Run, gallery: Path, dataset: Path, tmp_path: Path) -> None:
    query = tmp_path / os.fsdecode(b"q \xff.png")
    try:
        shutil.copy(dataset / "door" / "red-0.png", query)
    except OSError:
        pytest.skip("this file system has Unicode names only")
    page = tmp_path / "x.html"
    assert run("search", query, "--gallery", gallery, "--html", page)[0] == 0
    assert "Search for q ?" in page.read_text()


def test_a_folder_of_crops_is_a_tracklet(run: Run, gallery: Path, dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "query"
    folder.mkdir()
    for frame in range(3):
        shutil.copy(dataset / "hall" / f"blue-{frame}.png", folder)
    found = search(run, folder, "--gallery", gallery)
    assert found[0]["tracklet"] == "hall-blue"
    assert found[0]["distance"] < 5e-4


def test_filters(run: Run, gallery: Path, dataset: Path) -> None:
    query = (dataset / "door" / "red-0.png", "--gallery", gallery)
    assert {m["camera"] for m in search(run, *query, "--camera", "hall")} == {"hall"}
    assert len(search(run, *query, "--camera", "hall", "--camera", "door")) == 6
    assert {m["tracklet"] for m in search(run, *query, "--since", EPOCH + 112)} == {"hall-green", "hall-blue"}
    # 1,790,000,000 is 2026-09-21T14:13:20Z.
    assert [m["tracklet"] for m in search(run, *query, "--until", "2026-09-21T16:13:25+02:00")] == ["door-red"]
    assert len(search(run, *query, "--until", "2026-09-21T14:13:30")) == 2
    status, out, _ = run("search", *query, "--until", 5)
    assert (status, out) == (0, "no record passes the filters\n")
    assert run("search", *query, "--since", "yesterday")[0] == 2


def test_the_table(run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = run("search", dataset, "--tracklet", "door-red", "--gallery", gallery)[1]
    assert re.search(r"1 +0\.\d{3} +hall +2026-09-21 14:15:00–14:15:02 UTC +hall-red", out)
    assert "truth" not in out


def test_a_narrow_terminal_cuts_no_name(
    run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_toolkit.cli.tables.PIPED_WIDTH", 44)
    out = run("search", dataset, "--tracklet", "door-red", "--gallery", gallery)[1]
    assert "…" not in out
    assert "hall-red" in out.replace("\n", " ")


def test_the_table_of_groups(
    run: Run, dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run("enroll", dataset, "--crops", "--model", model, "--gallery", tmp_path / "g")
    asked = (dataset, "--tracklet", "door-red", "--gallery", tmp_path / "g")
    out = run("search", *asked, "--group", "tracklet", "--top-k", 1)[1]
    assert re.search(r"tracklet +crops *\n", out)
    assert re.search(r" 1 +0\.\d{3} +hall +\S+ \S+ UTC +hall-red +3 *\n", out)
    assert out.endswith("\nmore: --top-k 2; or page by page, with --after and the cursor of --json\n")
    cursor = json_of(run, *asked, "--group", "tracklet", "--top-k", 1)["after"]
    out = run("search", *asked, "--group", "tracklet", "--top-k", 1, "--after", cursor)[1]
    assert re.search(r"^more: --after \S+$", out, re.MULTILINE)  # who goes on by a cursor is given the next
    out = run("search", *asked, "--group", "tracklet", "--top-k", 9, "--after", cursor)[1]
    assert re.findall(r"(hall|door)-(\w+) +3 *$", out, re.MULTILINE) == [
        (camera, colour) for colour in ("green", "blue") for camera in ("hall", "door")
    ]
    assert "more:" not in out
    out = run("search", *asked, "--group", "camera", "--top-k", 1)[1]
    rows = out.partition("more:")[0].splitlines()
    assert [row.split()[2] if row.strip() else "" for row in rows[1:]] == ["hall", "", "door"]


def test_the_sheet_of_groups(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    run("enroll", dataset, "--crops", "--model", model, "--gallery", tmp_path / "g")
    page = tmp_path / "x.html"
    asked = (dataset, "--tracklet", "door-red", "--gallery", tmp_path / "g", "--html", page)

    def headings(*arguments: object) -> list[tuple[str, int]]:
        """Of each section, and how many pictures it shows."""
        assert run("search", *asked, *arguments)[0] == 0
        sections = re.findall(r"<section>\n<h2>(.*?)</h2>(.*?)</section>", page.read_text(), re.DOTALL)
        return [(heading, body.count("<img")) for heading, body in sections]

    assert headings("--group", "tracklet", "--top-k", 2) == [
        ("Query", 3), ("Matches by tracklet", 0), ("1 · hall-red · hall", 3), ("2 · hall-green · hall", 3),
    ]  # fmt: skip
    assert headings("--group", "camera", "--top-k", 4) == [
        ("Query", 3), ("Matches by camera", 0), ("hall", 4), ("door", 4),
    ]  # fmt: skip
    assert headings("--top-k", 4) == [("Query", 3), ("Matches", 4)]
    run("gallery", "forget", tmp_path / "g", "--source", dataset / "hall", "--yes")
    run("enroll", dataset / "door" / "green-0.png", "--camera", "x", "--model", model, "--gallery", tmp_path / "w")
    assert run("search", dataset / "door", "--gallery", tmp_path / "w", "--html", page, "--group", "tracklet")[0] == 0
    assert "Matches by tracklet" not in page.read_text()  # rows of one picture each say less than one row


def test_marks_and_the_sheet(run: Run, gallery: Path, dataset: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    rows = [f"{camera}-{colour},{colour}" for camera in CAMERAS for colour in COLOURS if colour != "blue"]
    truth.write_text("\n".join(["tracklet,identity", *rows]) + "\n")
    os.unlink(dataset / "hall" / "green-1.png")
    query = (dataset / "door", "--gallery", gallery, "--identities", truth, "--html", tmp_path / "x.html")
    status, out, err = run("search", *query, "--json")
    assert status == 0
    assert "has no row for the query 'door'" in err
    os.replace(tmp_path / "x.html", tmp_path / "unmarked.html")
    cv2.imwrite(str(dataset / "hall" / "green-1.png"), picture("green", 1.0))
    query = (dataset, "--tracklet", "door-red", *query[1:])
    status, out, err = run("search", *query, "--json")
    right = {m["tracklet"]: m["right"] for m in json.loads(out)["matches"]}
    assert right == {
        "hall-red": True, "door-green": False, "hall-green": False, "door-blue": None, "hall-blue": None,
    }  # fmt: skip
    assert "wrote" in err
    marked = (tmp_path / "x.html").read_text()
    assert (marked.count("✓ right"), marked.count("✗ wrong"), marked.count(">query<")) == (1, 2, 3)
    assert marked.count("<img") == 8
    unmarked = (tmp_path / "unmarked.html").read_text()
    assert "✓ right" not in unmarked
    assert unmarked.count("no picture") == 1
    assert run("search", *query)[1].count("wrong") == 2


def test_bad_queries(run: Run, gallery: Path, dataset: Path, model: Path, tmp_path: Path) -> None:
    there = ("--gallery", gallery)
    text = tmp_path / "text.jpg"
    text.write_text("text")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    (tmp_path / "folder").mkdir()
    truth = tmp_path / "truth.csv"
    truth.write_text("name,who\n")
    image = dataset / "door" / "red-0.png"
    assert_fails(run("search", tmp_path / "none.jpg", *there), "none.jpg: no such file or folder")
    assert_fails(run("search", text, *there), "text.jpg", "not an image")
    assert_fails(run("search", empty, *there), "empty.jpg", "an empty file")
    assert_fails(run("search", tmp_path / "folder", *there), "--tracklet ID")
    assert_fails(run("search", dataset, *there), "--tracklet ID")
    assert_fails(run("search", dataset, "--tracklet", "nobody", *there), "no tracklet 'nobody'", "'door-blue'")
    assert_fails(run("search", image, "--tracklet", "door-red", *there), "no such folder")
    assert_fails(run("search", image, *there, "--camera", "roof"), "no camera 'roof'", "door, hall")
    assert_fails(run("search", image, *there, "--identities", truth), "tracklet,identity")
    assert_fails(run("search", image, *there, "--identities", tmp_path / "no.csv"), "no such file")
    assert run("search", image, *there, "--top-k", 0)[0] == 2


def test_galleries_that_cannot_be_searched(run: Run, gallery: Path, dataset: Path, model: Path, tmp_path: Path) -> None:
    image = dataset / "door" / "red-0.png"
    other = write_model(tmp_path / "other.onnx", grey=100)
    assert_fails(run("search", image, "--gallery", tmp_path / "no"), "no gallery there")
    assert not (tmp_path / "no").exists()
    assert_fails(run("search", image, "--gallery", image), "is a file")
    assert_fails(run("search", image, "--gallery", gallery, "--model", other), "of model", "got model")
    Gallery.open(tmp_path / "empty").close()
    assert_fails(run("search", image, "--gallery", tmp_path / "empty"), "the gallery is empty")
    with Gallery.open(tmp_path / "bare") as bare:
        bare.add(np.eye(4, dtype=np.float32), [Record(f"t{i}", "a") for i in range(4)])
    assert_fails(run("search", image, "--gallery", tmp_path / "bare"), "give --model FILE")
    assert_fails(run("search", image, "--gallery", tmp_path / "bare", "--model", model), "width 4, got width 96")
    other.replace(model)
    assert_fails(run("search", image, "--gallery", gallery), "of model", "got model")
    model.unlink()
    assert_fails(run("search", image, "--gallery", gallery), "is not there any more: give --model FILE")
    (gallery / NAME).write_bytes(b"garbage" * 1000)
    assert_fails(run("search", image, "--gallery", gallery), "damaged")


def test_a_camera_is_found_however_its_accents_are_written(run: Run, model: Path, tmp_path: Path) -> None:
    one, two = "caf\u00e9", "cafe\u0301"
    cv2.imwrite(str(tmp_path / "a.png"), picture("red", 1))
    for number, camera in enumerate((two, one)):
        status, out, err = run(
            "enroll", tmp_path / "a.png", "--camera", camera, "--model", model, "--gallery", tmp_path / "g"
        )
        assert (status, f"{1 - number} enrolled" in out) == (0, True), err
    for camera in (one, two):
        (match,) = search(run, tmp_path / "a.png", "--gallery", tmp_path / "g", "--camera", camera)
        assert match["camera"] == one
    assert json.loads(run("gallery", "forget", tmp_path / "g", "--camera", two, "--yes", "--json")[1])["forgotten"] == 1


def test_tags_and_sources_are_filters(run: Run, gallery: Path, dataset: Path, model: Path) -> None:
    image = dataset / "door" / "red-0.png"
    tagged = ("enroll", image, "--camera", "gate", "--tag", "lost", "--tag", "child")
    assert run(*tagged, "--model", model, "--gallery", gallery)[0] == 0
    query = (image, "--gallery", gallery)
    assert [(m["tracklet"], m["tags"]) for m in search(run, *query, "--tag", "lost")] == [("red-0", ["child", "lost"])]
    assert len(search(run, *query, "--tag", "lost", "--tag", "child")) == 1
    assert len(search(run, *query, "--source", image)) == 1
    assert len(search(run, *query, "--source", dataset)) == 7
    assert run("search", *query, "--source", "elsewhere")[1] == "no record passes the filters\n"
    assert_fails(run("search", *query, "--tag", "found"), "no tag 'found'", "child, lost")
    assert json.loads(run("gallery", "info", gallery, "--json")[1])["tags"] == {"child": 1, "lost": 1}
    assert "tags            1  child" in run("gallery", "info", gallery)[1]


def test_a_search_reads_what_is_in_the_gallery_once_and_only_where_it_must(
    run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Milvus reads the names of all records for it."""
    read: list[Path] = []
    info = Gallery.info
    monkeypatch.setattr(Gallery, "info", lambda held: read.append(gallery) or info(held))
    picture = dataset / "door" / "red-0.png"
    for words, times in (
        ((picture,), 0),
        ((dataset, "--tracklet", "door-red"), 0),
        ((picture, "--group", "camera"), 1),
        ((picture, "--camera", "door", "--group", "camera"), 1),
    ):
        read.clear()
        assert search(run, *words, "--gallery", gallery)
        assert len(read) == times, words
