"""enroll as a user runs it."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from three_people import (
    Run,
    assert_fails,
    search,
    write_model,
)

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import record_table as store
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.records import Record


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
