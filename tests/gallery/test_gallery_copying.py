"""Copying and syncing: the same records to the last bit, after interruptions of every kind."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import KINDS, address_of
from gallery_people import D, make_people

from reid_toolkit.cli import main
from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery, GalleryStore, open_gallery
from reid_toolkit.gallery import transfer as copying
from reid_toolkit.gallery.transfer import SYNC_FILE as NAME
from reid_toolkit.gallery.transfer import contents, copy, sync
from reid_toolkit.gallery.types import EXACT_BELOW, Selection
from reid_toolkit.records import Record

CHILD = """
import sys
from pathlib import Path
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery import transfer as copying
from reid_toolkit.gallery.transfer import sync
copying.STEP = 7
verb, source, target = sys.argv[1:]
print("begun", flush=True)
with open_gallery(target) as other:
    if verb == "sync":
        sync(Path(source), other, target)
    else:
        with open_gallery(source, create=False) as held:
            copying.copy(held, other)
"""


def kill_often(verb: str, source: Path, target: Path, times: int = 4) -> None:
    """Run it so many times, and kill it with -9 somewhere in the middle."""
    rng = random.Random(0)
    for _ in range(times):
        command = [sys.executable, "-c", CHILD, verb, str(source), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.random() * 0.2)
            child.kill()


@pytest.fixture
def edge(tmp_path: Path) -> Path:
    vectors, records = make_people(count=120)
    with Gallery.open(tmp_path / "edge", dimension=D, model="m1") as gallery:
        gallery.add(vectors, records)
        gallery.remember_model_file(Path("/models/m1.onnx"))
    return tmp_path / "edge"


def test_an_edge_that_cannot_be_written_is_not_synced_but_copied(
    edge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != edge)
    with Gallery.open(tmp_path / "centre") as centre:
        with pytest.raises(GalleryError, match=f"edge: cannot be written: .* to keep in {NAME} what was sent; `"):
            sync(edge, centre, "centre")
        assert len(centre) == 0
        with Gallery.open(edge, create=False) as held:
            copy(held, centre)
        assert len(centre) == 120
    assert not (edge / NAME).exists()


DAY = 86_400.0


def fill(where: str | Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Of six records, a retention of 30 days hides the first two: seen 40 days ago, and undated but enrolled then."""
    vectors, _ = make_people(count=8)
    now = time.time()
    records = [
        Record("old", "a", now - 40 * DAY, now - 40 * DAY, thumbnail=b"picture"),
        Record("undated", "a", 1.0, 2.0),
        *(Record(f"new{number}", "a", now - DAY, now - DAY + number) for number in range(3)),
        Record("undated too", "a"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: int((now - 40 * DAY) * 1e9))  # which Milvus goes by
        with open_gallery(where) as gallery:
            gallery.add(vectors[:2], records[:2])
    if "://" not in str(where):  # a new folder goes by SQLite's clock
        with sqlite3.connect(Path(where) / "gallery.sqlite") as database:
            database.execute("UPDATE enrolment SET time = ?", (now - 40 * DAY,))
        database.close()
    with open_gallery(where) as gallery:
        gallery.add(vectors[2:6], records[2:])
    return vectors


def tracklets(gallery: GalleryStore) -> set[str]:
    return {record.tracklet for records, _ in gallery.records() for record in records}


def is_on_the_disk(folder: Path, vector: np.ndarray) -> bool:
    half = vector.astype(np.float16)
    secrets = (half.tobytes(), half.astype(np.float32).tobytes())
    return any(secret in file.read_bytes() for file in folder.rglob("*") if file.is_file() for secret in secrets)


def synced(edge: Path, centre: GalleryStore) -> tuple[int, int, int, int]:
    done = sync(edge, centre, "centre")
    return done.sent, done.forgotten, done.unchanged, done.absent


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_again_is_the_same_gallery(kind: str, edge: Path, tmp_path: Path) -> None:
    where = address_of(kind, tmp_path)
    with Gallery.open(edge) as first, open_gallery(where) as middle, Gallery.open(tmp_path / "back") as last:
        out = copy(first, middle)
        assert (out.count, out.written) == (120, 120)
        back = copy(middle, last)
        assert back.checksum == out.checksum
        assert contents(last) == contents(first)
        assert last.info().model == "m1"
        assert last.model_file == Path("/models/m1.onnx")
        assert copy(first, middle).written == 0


def test_copy_mends_what_differs_and_refuses_what_is_foreign(edge: Path, tmp_path: Path) -> None:
    vectors, records = make_people(count=120)
    with Gallery.open(edge) as first, Gallery.open(tmp_path / "b", model="m1") as second:
        second.add(vectors[5:9], records[1:5])
        assert copy(first, second).written == 120
        second.add(vectors[:1], [Record("stranger", "a")])
        with pytest.raises(GalleryError, match="1 records that the source does not"):
            copy(first, second)
    with Gallery.open(edge) as first, Gallery.open(tmp_path / "c", model="m2") as third:
        with pytest.raises(GalleryError, match="model m2, got model m1"):
            copy(first, third)
        assert len(third) == 0


@pytest.mark.parametrize("verb", ["copy", "sync"])
def test_killed_and_run_again_it_ends_the_same(verb: str, edge: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    kill_often(verb, edge, target)
    if verb == "sync":
        with Gallery.open(edge) as gallery:
            gallery.forget(camera="b")
        kill_often(verb, edge, target)
    subprocess.run([sys.executable, "-c", CHILD, verb, str(edge), str(target)], check=True, timeout=60)
    with Gallery.open(edge) as first, Gallery.open(target, create=False) as second:
        assert contents(second) == contents(first)
        assert len(second) == (90 if verb == "sync" else 120)


@pytest.mark.parametrize("kind", ["folder", "milvus-lite"])
def test_adds_replacements_and_forgets_travel_and_others_are_left_alone(kind: str, edge: Path, tmp_path: Path) -> None:
    vectors, records = make_people(count=124)
    with open_gallery(address_of(kind, tmp_path)) as centre:
        assert synced(edge, centre) == (120, 0, 0, 0)
        assert synced(edge, centre) == (0, 0, 120, 0)
        centre.add(vectors[:1], [Record("of another edge", "b", source="/s/1")])
        with Gallery.open(edge) as gallery:
            gallery.add(vectors[120:], records[120:])
            gallery.add(vectors[9:10], records[2:3])
            gallery.forget(camera="b")
        # One of the four new ones is of camera b, too.
        assert synced(edge, centre) == (4, 30, 89, 0)
        assert synced(edge, centre) == (0, 0, 93, 0)
        with Gallery.open(edge) as gallery:
            here = contents(gallery)
        there = contents(centre)
        assert here.items() <= there.items()
        assert len(there) == len(here) + 1
        centre.forget(tracklet="t0")
        assert synced(edge, centre) == (0, 0, 93, 1)
        assert centre.enrolled(records[:1]) == [False]


def test_a_forgotten_tracklet_leaves_the_crops_below_it(edge: Path, tmp_path: Path) -> None:
    vectors, _ = make_people(count=4)
    whole, crop = Record("t", "a", source="/d"), Record("t", "a", source="/d/1.jpg")
    with Gallery.open(tmp_path / "c") as centre:
        with Gallery.open(edge) as gallery:
            gallery.add(vectors[:2], [whole, crop])
        sync(edge, centre, "centre")
        with Gallery.open(edge) as gallery:
            gallery.delete_records([whole])
        assert synced(edge, centre) == (0, 1, 121, 0)
        assert centre.enrolled([whole, crop]) == [False, True]


def test_while_the_centre_fails_nothing_is_lost(edge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "STEP", 50)
    with Gallery.open(tmp_path / "c") as centre:
        add, calls = centre.add, iter([True, False])

        def fails_once(vectors, records) -> None:
            if not next(calls, True):
                raise GalleryError("the centre is away")
            add(vectors, records)

        monkeypatch.setattr(centre, "add", fails_once)
        with pytest.raises(GalleryError, match="away"):
            sync(edge, centre, "centre")
        assert synced(edge, centre) == (70, 0, 50, 0)
        with Gallery.open(edge) as gallery:
            assert contents(centre) == contents(gallery)


def test_damaged_records_are_not_taken_for_forgotten_ones(edge: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "c") as centre:
        sync(edge, centre, "centre")
        with sqlite3.connect(edge / "gallery.sqlite") as database:
            database.execute("UPDATE record SET camera = 'x' WHERE id = 3")
        database.close()
        with pytest.raises(GalleryError, match="1 records could not be read"):
            sync(edge, centre, "centre")
        with Gallery.open(edge) as first, pytest.raises(GalleryError, match="could not be read"):
            copy(first, centre)
        assert len(centre) == 120


def test_a_damaged_journal_is_one_line(edge: Path, tmp_path: Path) -> None:
    (edge / NAME).write_bytes(b"no database" * 1000)
    with Gallery.open(tmp_path / "c") as centre, pytest.raises(GalleryError, match=r"sync.sqlite: damaged"):
        sync(edge, centre, "centre")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["copy", "{edge}", "{edge}/../edge"], "was given twice"),
        (["sync", "milvus://127.0.0.1:1/a", "{edge}"], "expected a gallery in a folder"),
        (["sync", "{edge}x", "{edge}y"], "no gallery there"),
        (["copy", "{edge}", "ftp://x/y"], "no gallery of kind"),
    ],
)
def test_what_the_commands_refuse(arguments, message, edge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["gallery", *(argument.format(edge=edge) for argument in arguments)])
    assert stop.value.code == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path(f"{edge}y").exists()


def test_the_commands(edge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, shown in (("copy", "120 records, 120 of them new"), ("sync", "120 sent, 0 forgotten, 0 unchanged")):
        with pytest.raises(SystemExit) as stop:
            main(["gallery", verb, str(edge), str(tmp_path / verb)])
        assert stop.value.code == 0
        assert shown in capsys.readouterr().out


def test_a_copy_keeps_to_the_retention_of_what_it_was_copied_from(edge: Path, tmp_path: Path) -> None:
    with Gallery.open(edge) as gallery, Gallery.open(tmp_path / "copy") as other:
        gallery.keep_for(86_400.0)
        copy(gallery, other)
        assert other.retention == 86_400.0
        other.keep_for(3_600.0)
        copy(gallery, other)
        assert other.retention == 3_600.0


@pytest.mark.parametrize(
    ("kind", "other"), [("folder", "folder"), ("folder", "milvus-lite"), ("milvus-lite", "folder")]
)
def test_what_is_past_the_retention_is_not_copied(
    kind: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    shown = {"new0", "new1", "new2", "undated too"}
    where = address_of(kind, tmp_path)
    vectors = fill(where, monkeypatch)
    with open_gallery(where) as source, open_gallery(address_of(other, tmp_path / "b")) as target:
        first = copy(source, target)
        assert (first.count, first.written, first.past, first.removed) == (6, 6, 0, 0)
        source.keep_for(30 * DAY)
        assert {record.tracklet for record in source.listed(Selection(camera="a"))} == shown | {"old", "undated"}
        # What an earlier copy brought is taken back, its bytes too; what is there stays.
        again = copy(source, target)
        assert (again.count, again.written, again.past, again.removed) == (4, 0, 2, 2)
        assert tracklets(target) == shown
        assert target.retention == 30 * DAY
        if other == "folder":
            assert not is_on_the_disk(tmp_path / "b", vectors[0])
            assert not is_on_the_disk(tmp_path / "b", vectors[1])
        assert copy(source, target) == replace(again, removed=0)
        target.delete(camera="a")
        assert copy(source, target).written == 4
        # A copy of the copy knows nothing of them.
        assert source.expire() == 2
        assert copy(source, target) == replace(again, past=0, removed=0)


def test_a_target_with_a_shorter_retention_is_equal_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "a", monkeypatch)
    with Gallery.open(tmp_path / "a") as source, Gallery.open(tmp_path / "b") as target:
        target.keep_for(3_600.0)
        copy(source, target)
        source.keep_for(30 * DAY)
        assert copy(source, target).removed == 2
        assert target.retention == 3_600.0
        assert tracklets(target) == {"new0", "new1", "new2", "undated too"}


@pytest.mark.parametrize("exact_below", [2, EXACT_BELOW], ids=["with an index", "without an index"])
def test_a_copy_that_was_killed_while_it_took_back_ends_it_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact_below: int
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    vectors = fill(tmp_path / "a", monkeypatch)
    with Gallery.open(tmp_path / "a") as source, Gallery.open(tmp_path / "b", exact_below=exact_below) as target:
        copy(source, target)
        source.keep_for(30 * DAY)
        with monkeypatch.context() as patch:
            patch.setattr(target, "compact", killed)
            with pytest.raises(KeyboardInterrupt):
                copy(source, target)
        assert is_on_the_disk(tmp_path / "b", vectors[0])
        assert copy(source, target).count == 4
        assert not is_on_the_disk(tmp_path / "b", vectors[0])
        assert is_on_the_disk(tmp_path / "b", vectors[2])


def test_damage_is_not_taken_for_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time that was damaged so that it looks old hides nobody."""
    fill(tmp_path / "a", monkeypatch)
    with Gallery.open(tmp_path / "a") as source:
        source.keep_for(30 * DAY)
    with Gallery.open(tmp_path / "c") as centre:
        assert synced(tmp_path / "a", centre) == (4, 0, 0, 0)
        with sqlite3.connect(tmp_path / "a" / "gallery.sqlite") as database:
            database.execute("UPDATE record SET end_time = end_time - 8640000 WHERE tracklet = 'new1'")
        database.close()
        with Gallery.open(tmp_path / "a") as source, pytest.raises(GalleryError, match="1 records could not be read"):
            copy(source, centre)
        with pytest.raises(GalleryError, match="1 records could not be read"):
            sync(tmp_path / "a", centre, "centre")
        assert len(centre) == 4


@pytest.mark.parametrize("kind", ["folder", "milvus-lite"])
def test_what_is_past_the_edges_retention_is_not_sent_and_is_taken_back(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = tmp_path / "edge"
    (tmp_path / "c").mkdir()
    vectors = fill(edge, monkeypatch)
    with open_gallery(address_of(kind, tmp_path / "c")) as centre:
        centre.add(vectors[6:7], [Record("of another edge", "b", 1.0, 1.0)])
        assert synced(edge, centre) == (6, 0, 0, 0)
        with Gallery.open(edge) as gallery:
            gallery.keep_for(30 * DAY)
            gallery.add(vectors[7:], [Record("late", "a", time.time() - 50 * DAY, time.time() - 50 * DAY)])
        done = sync(edge, centre, "centre")
        assert (done.sent, done.forgotten, done.unchanged, done.past) == (0, 2, 4, 3)
        assert tracklets(centre) == {"new0", "new1", "new2", "undated too", "of another edge"}
        with Gallery.open(edge) as gallery:
            assert gallery.expire() == 3
        done = sync(edge, centre, "centre")
        assert (done.sent, done.forgotten, done.unchanged, done.past) == (0, 0, 4, 0)
        if kind == "folder":
            assert not is_on_the_disk(tmp_path / "c", vectors[0])


@pytest.mark.parametrize("kind", ["folder", "milvus-lite"])
def test_a_centre_is_compacted_for_what_was_forgotten_and_not_for_what_was_too_old(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, compacted = tmp_path / "edge", []
    (tmp_path / "c").mkdir()
    vectors = fill(edge, monkeypatch)
    with open_gallery(address_of(kind, tmp_path / "c")) as centre, Gallery.open(edge) as gallery:
        compact = centre.compact
        monkeypatch.setattr(centre, "compact", lambda: compacted.append(compact()))
        assert synced(edge, centre) == (6, 0, 0, 0)
        gallery.keep_for(30 * DAY)
        gallery.expire()
        assert synced(edge, centre) == (0, 2, 4, 0)
        assert not compacted
        assert not centre.leftover()
        if kind == "folder":
            assert not is_on_the_disk(tmp_path / "c", vectors[0])
        forgotten = [record for records, _ in gallery.records() for record in records if record.tracklet == "new0"]
        gallery.block_list.add(forgotten)
        gallery.delete_records(forgotten)
        assert synced(edge, centre) == (0, 1, 3, 0)
        assert len(compacted) == 1
        assert tracklets(centre) == {"new1", "new2", "undated too"}


def test_what_expired_on_both_sides_does_not_stop_the_next_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = fill(tmp_path / "a", monkeypatch)
    with Gallery.open(tmp_path / "a") as source, Gallery.open(tmp_path / "b") as target:
        source.delete("undated")
        copy(source, target)
        target.add(vectors[7:], [Record("stranger", "a")])
        source.keep_for(30 * DAY)
        source.expire()
        with pytest.raises(GalleryError, match="2 records that the source does not"):
            copy(source, target)
        target.delete("stranger")
        target.keep_for(30 * DAY)
        target.expire()
        done = copy(source, target)
        assert (done.count, done.written, done.past, done.removed) == (4, 0, 0, 0)


@pytest.mark.parametrize("kind", ["folder", "milvus-lite"])
def test_what_has_no_date_and_expired_at_the_source_leaves_the_copy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the copy it counts from its enrolment there, so the copy's own retention would keep it longer."""
    vectors, _ = make_people(count=8)
    clock, days = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + days[0] * DAY)
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))  # which Milvus goes by
    (tmp_path / "c").mkdir()
    with Gallery.open(tmp_path / "a") as source, open_gallery(address_of(kind, tmp_path / "c")) as target:
        source.keep_for(30 * DAY)
        source.add(vectors[:2], [Record("none", "a"), Record("of a recording", "a", 1.0, 2.0)])
        days[0] = 20
        source.add(vectors[2:4], [Record("late", "a"), Record("dated", "a", time.time(), time.time())])
        assert copy(source, target).count == 4
        days[0] = 31
        assert source.expire() == 2
        done = copy(source, target)
        assert (done.count, done.written, done.removed) == (2, 0, 2)
        assert tracklets(target) == {"late", "dated"}
        # But not if somebody has added records since: it cannot be told which are the source's.
        target.add(vectors[4:5], [Record("stranger", "a")])
        days[0] = 51
        assert source.expire() == 2
        with pytest.raises(GalleryError, match=r"records that the source does not: .* copy to a new gallery"):
            copy(source, target)
        assert "stranger" in tracklets(target)
