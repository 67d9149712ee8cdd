"""enroll, search and gallery as a user runs them, with a tiny real model: pixels, centred and normalised."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.cli import main
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import record_table as store
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.records import Crop, Record
from reid_toolkit.runtime.metadata import ModelMetadata

onnx = pytest.importorskip("onnx")

HEIGHT, WIDTH = 8, 4
EPOCH = 1_790_000_000.0
COLOURS = {"red": (40, 40, 220), "green": (40, 200, 40), "blue": (220, 60, 40)}
CAMERAS = ("door", "hall")


def write_model(path: Path, grey: float = 127.0) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    size = HEIGHT * WIDTH * 3
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "grey"], ["centred"]),
        helper.make_node("LpNormalization", ["centred"], ["descriptor"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["B", size])],
        [
            numpy_helper.from_array(np.array([-1, size], np.int64), "shape"),
            numpy_helper.from_array(np.array(grey, np.float32), "grey"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = ModelMetadata(
        height=HEIGHT, width=WIDTH, channels="BGR", layout="NHWC uint8 0-255", normalisation="",
        dimension=size, backbone="pixels", recipe="", stage="0", dataset="", toolkit="0",
    )  # fmt: skip
    helper.set_model_props(model, about.to_strings())
    onnx.save(model, str(path))
    return path


def picture(colour: str, shade: float) -> np.ndarray:
    """A flat figure; crops of one colour are near each other, and no two are the same."""
    image = np.full((32, 16, 3), 127, np.uint8)
    image[8:, 4:12] = np.clip(np.array(COLOURS[colour]) * shade, 0, 255)
    return image


def write_dataset(root: Path, camera_names: bool = True) -> Path:
    """Three people, each in two cameras, three crops a tracklet."""
    crops = []
    for c, camera in enumerate(CAMERAS):
        for p, colour in enumerate(COLOURS):
            for frame in range(3):
                path = root / camera / f"{colour}-{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture(colour, 1 - 0.15 * c - 0.02 * frame))
                time = EPOCH + 100 * c + 10 * p + frame
                crops.append(Crop(path, camera, f"{camera}-{colour}", frame, time, 0, 0, 16, 32))
    write_manifest(root, crops)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "set")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def reid(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return reid


@pytest.fixture
def gallery(run: Run, dataset: Path, model: Path, tmp_path: Path) -> Path:
    assert run("enroll", dataset, "--model", model, "--gallery", tmp_path / "g")[0] == 0
    return tmp_path / "g"


def assert_fails(result: tuple[int, str, str], *words: str) -> None:
    """Exit status 1 and one line on stderr which has ``words``."""
    status, out, err = result
    assert status == 1, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def search(run: Run, *arguments: object) -> list[dict]:
    status, out, err = run("search", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)["matches"]


# ---- enroll


def test_tracklets_are_enrolled_once(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("enroll", dataset, "--model", model, "--gallery", tmp_path / "g", "--json")
    first, second = (json.loads(run(*arguments)[1]) for _ in range(2))
    assert first == {
        "gallery": str(tmp_path / "g"), "enrolled": 6, "already": 0, "bad": 0, "too_old": 0, "blocked": 0,
        "expired": 0, "count": 6, "camera_statistics": None,
    }  # fmt: skip
    assert (second["enrolled"], second["already"], second["count"]) == (0, 6, 6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
def test_a_descriptor_is_that_of_embed_tracklet(
    run: Run, dataset: Path, model: Path, tmp_path: Path, batch_size: int
) -> None:
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.images import read_image
    from reid_toolkit.runtime import Embedder

    run("enroll", dataset, "--model", model, "--gallery", tmp_path / "g", "--batch-size", batch_size)
    embedder = Embedder(model)
    with Gallery.open(tmp_path / "g") as held:
        assert len(held) == 6
        for tracklet in open_dataset(dataset).tracklets:
            vector = embedder.embed_tracklet([read_image(crop.path) for crop in tracklet.crops])
            best = held.search(vector, 1)[0]
            assert best.distance < 5e-4
            crops = tracklet.crops
            assert best.record == Record(
                tracklet.name,
                tracklet.camera,
                crops[0].time,
                crops[-1].time,
                str(dataset),
                str(crops[1].path),
            )


def test_an_interrupted_enroll_goes_on(
    run: Run, dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = Gallery.add, []

    def interrupted(self: Gallery, vectors: np.ndarray, records: list[Record]) -> None:
        calls.append(len(records))
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, vectors, records)

    arguments = ("enroll", dataset, "--model", model, "--gallery", tmp_path / "g", "--batch-size", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", interrupted)
        status, _, err = run(*arguments)
    assert status == 130
    assert "interrupted" in err
    report = json.loads(run(*arguments, "--json")[1])
    assert report["already"] == sum(calls[:2]) > 0
    assert report["count"] == 6


def test_crops_are_enrolled_each(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("enroll", dataset, "--crops", "--model", model, "--gallery", tmp_path / "g", "--json")
    assert json.loads(run(*arguments)[1])["enrolled"] == 18
    assert json.loads(run(*arguments)[1])["already"] == 18
    found = search(run, dataset, "--tracklet", "door-red", "--gallery", tmp_path / "g")
    assert {match["tracklet"] for match in found[:3]} == {"hall-red"}
    assert "door-red" not in {match["tracklet"] for match in found}  # none of its own crops
    assert found[0]["source"] == found[0]["image"]
    forget = ("gallery", "forget", tmp_path / "g", "--source", dataset / "door", "--yes", "--json")
    assert json.loads(run(*forget)[1])["forgotten"] == 9


def test_images_get_the_camera_they_are_given(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    image = dataset / "door" / "red-0.png"
    run("enroll", image, "--camera", "gate", "--model", model, "--gallery", tmp_path / "g")
    found = search(run, image, "--gallery", tmp_path / "g")
    assert [(m["tracklet"], m["camera"], m["start"], m["source"]) for m in found] == [
        ("red-0", "gate", None, str(image))
    ]


def test_a_plain_folder_gets_the_camera_too(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    (dataset / "manifest.csv").unlink()
    run("enroll", dataset, "--camera", "gate", "--model", model, "--gallery", tmp_path / "g")
    found = search(run, dataset, "--tracklet", "door", "--gallery", tmp_path / "g")
    assert [(m["tracklet"], m["camera"]) for m in found] == [("hall", "gate")]


@pytest.mark.parametrize("content", [b"", b"this is text"])
def test_bad_crops_are_named_or_left_out(run: Run, dataset: Path, model: Path, tmp_path: Path, content: bytes) -> None:
    (dataset / "hall" / "red-1.png").write_bytes(content)
    for frame in range(3):
        (dataset / "hall" / f"blue-{frame}.png").write_bytes(content)
    arguments = ("enroll", dataset, "--model", model, "--gallery", tmp_path / "g")
    assert_fails(run(*arguments), "blue-0.png", "manifest.csv, row", "--skip-bad")
    status, out, err = run(*arguments, "--skip-bad", "--json")
    assert status == 0
    assert "4 unreadable images were left out" in err
    report = json.loads(out)
    assert (report["bad"], report["count"]) == (4, 5)


def test_nothing_readable_at_all(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    arguments = ("--model", model, "--gallery", tmp_path / "g", "--skip-bad")
    assert_fails(run("enroll", tmp_path / "a.jpg", *arguments), "nothing was enrolled")


def test_enroll_refuses_what_is_missing_or_of_another_model(
    run: Run, gallery: Path, dataset: Path, model: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.onnx", grey=100)
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(b"not a model")
    there = ("--gallery", gallery)
    assert_fails(run("enroll", tmp_path / "none", "--model", model, *there), "no such file or folder")
    assert_fails(run("enroll", dataset, "--model", other, *there), "holds descriptors of model", "got model")
    assert_fails(run("enroll", dataset, "--model", foreign, *there), "foreign.onnx")
    assert_fails(run("enroll", dataset, "--model", tmp_path / "no.onnx", *there), "no.onnx")
    assert_fails(run("enroll", dataset, "--model", model, "--gallery", model), "is a file")
    assert_fails(run("enroll", dataset, "--model", model, "--gallery", dataset), "not a gallery")
    assert json.loads(run("gallery", "info", gallery, "--json")[1])["count"] == 6


def test_a_full_disk_is_one_line_and_loses_nothing(
    run: Run, gallery: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    image = dataset / "door" / "red-0.png"
    arguments = ("enroll", image, "--model", model, "--gallery", gallery)
    with monkeypatch.context() as patch:
        patch.setattr(store.RecordTable, "insert", full)
        assert_fails(run(*arguments), "no space left on the disk", "safe")
    assert json.loads(run(*arguments, "--json")[1])["count"] == 7


def test_a_second_writer_is_named(run: Run, gallery: Path, dataset: Path, model: Path) -> None:
    other = sqlite3.connect(gallery / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    image = dataset / "door" / "red-0.png"
    arguments = ("enroll", image, "--model", model, "--gallery", gallery, "--wait", 0)
    assert_fails(run(*arguments), "another process is writing", "--wait")
    for verb in ("compact", "forget"):
        named = ("--camera", "door", "--yes") if verb == "forget" else ()
        assert_fails(run("gallery", verb, gallery, *named, "--wait", 0), "another process is writing")
    assert len(search(run, image, "--gallery", gallery)) == 6
    other.close()
    assert run(*arguments)[0] == 0


# ---- search


def test_the_same_person_is_found_in_the_other_camera(run: Run, gallery: Path, dataset: Path) -> None:
    for colour in COLOURS:
        found = search(run, dataset, "--tracklet", f"door-{colour}", "--gallery", gallery)
        assert found[0]["tracklet"] == f"hall-{colour}"
        assert len(found) == 5
        assert f"door-{colour}" not in {match["tracklet"] for match in found}


def json_of(run: Run, *arguments: object) -> dict:
    status, out, err = run("search", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


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
        "schema", "query", "group", "base_rate", "camera_statistics", "verdict", "out_of_order", "matches", "after",
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
    assert_fails(run("search", *query, "--after", cursor[:-3]), "incomplete", "begins anew")
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


# ---- gallery


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
    assert "left out 1 records that were forgotten: --allow enrolls them again" in err
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


def test_forget_can_be_run_on_a_missing_gallery_without_making_one(run: Run, tmp_path: Path) -> None:
    assert_fails(run("gallery", "forget", tmp_path / "no", "--camera", "a", "--yes"), "no gallery there")
    assert_fails(run("gallery", "info", tmp_path / "no"), "no gallery there")
    assert not (tmp_path / "no").exists()


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


def test_thumbnails_are_kept_when_asked_for(
    run: Run, gallery: Path, dataset: Path, model: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    assert run("enroll", dataset, "--model", model, "--gallery", kept, "--thumbnails")[0] == 0
    query = tmp_path / "query.png"
    shutil.copy(dataset / "door" / "red-0.png", query)
    shutil.rmtree(dataset)
    pages = []
    for held in (gallery, kept):
        assert run("search", query, "--gallery", held, "--html", tmp_path / "page.html")[0] == 0
        pages.append((tmp_path / "page.html").read_text())
    assert [page.count("<img") for page in pages] == [1, 7]
    with Gallery.open(gallery) as bare, Gallery.open(kept) as with_pictures:
        assert {len(record.thumbnail) for records, _ in bare.records() for record in records} == {0}
        for records, _ in with_pictures.records():
            assert all(record.thumbnail.startswith(b"\xff\xd8") for record in records)


def test_a_tracklet_is_shown_by_a_crop_that_can_be_read(run: Run, dataset: Path, model: Path, tmp_path: Path) -> None:
    middle = dataset / "door" / "red-1.png"
    middle.write_bytes(b"")
    for number, options in enumerate(((), ("--thumbnails",))):
        kept = tmp_path / f"kept{number}"
        assert_fails(run("enroll", dataset, "--model", model, "--gallery", kept, *options), "red-1.png", "--skip-bad")
        status, _, err = run("enroll", dataset, "--model", model, "--gallery", kept, *options, "--skip-bad")
        assert status == 0, err
        assert "1 unreadable images were left out" in err
        with Gallery.open(kept) as gallery:
            (record,) = (r for records, _ in gallery.records() for r in records if r.tracklet == "door-red")
        assert Path(record.image).name in ("red-0.png", "red-2.png")
        assert bool(record.thumbnail) == bool(options)


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
