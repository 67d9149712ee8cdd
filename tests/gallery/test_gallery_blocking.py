"""Who was forgotten does not come back, unless that is allowed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from galleries import address_of

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery, open_gallery, transfer
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.block_list import wholes
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.transfer import copy, sync
from reid_toolkit.records import Record

ANNA, BERT = Record("anna", "door", source="/data/set"), Record("bert", "door", source="/data/set")
CROP = Record("anna", "door", source="/data/set/crops/1.jpg")
STREAM = Record("carl", "gate", source="rtsp://camera/live")
ROWS = np.eye(3, 8, dtype=np.float32)


@pytest.fixture
def gallery(where: str) -> Iterator[GalleryStore]:
    with filled(where) as held:
        yield held


def filled(where: str | Path, *records: Record) -> GalleryStore:
    held = open_gallery(str(where), 8, "m")
    if records:
        held.add(ROWS[: len(records)], records)
    return held


def names(gallery: GalleryStore) -> set[str]:
    return {record.tracklet for records, _ in gallery.records() for record in records}


def test_a_record_is_blocked_by_itself_or_by_what_it_lies_in(gallery: GalleryStore) -> None:
    blocked = gallery.block_list
    everybody = [ANNA, BERT, CROP, STREAM]
    assert blocked.has(everybody) == [False] * 4
    blocked.add([BERT])
    assert blocked.has(everybody) == [False, True, False, False]
    blocked.add(sources=["/data/set/crops"])
    assert blocked.has(everybody) == [False, True, True, False]
    blocked.add(sources=["/data/se", "rtsp://camera"])  # no folder of any of them
    assert blocked.has(everybody) == [False, True, True, False]
    blocked.add(sources=["rtsp://camera/live"])
    assert blocked.has(everybody) == [False, True, True, True]
    blocked.allow(everybody)
    assert blocked.has(everybody) == [False] * 4


def test_allowing_one_lets_no_other_of_its_source_pass(gallery: GalleryStore) -> None:
    blocked = gallery.block_list
    blocked.add([ANNA, BERT], sources=["/data/set"])
    blocked.allow([ANNA])
    assert blocked.has([ANNA, BERT, CROP]) == [False, True, True]
    blocked.add([ANNA])  # forgotten again, by itself
    assert blocked.has([ANNA, BERT]) == [True, True]
    blocked.allow([ANNA])
    blocked.add([ANNA], sources=["/data/set"])  # or with its source
    assert blocked.has([ANNA, BERT]) == [True, True]


def test_a_source_forgotten_again_keeps_out_what_was_allowed_and_is_gone(gallery: GalleryStore) -> None:
    blocked = gallery.block_list
    blocked.add(sources=["/data/set"])
    blocked.allow([ANNA, BERT, CROP])
    assert blocked.has([ANNA, BERT, CROP]) == [False] * 3
    blocked.add(sources=["/data/set/crops"])  # a part of it
    assert blocked.has([ANNA, BERT, CROP]) == [False, False, True]
    blocked.add(sources=["/data"])  # more than it
    assert blocked.has([ANNA, BERT, CROP]) == [True] * 3
    blocked.allow([ANNA, BERT])
    blocked.add(sources=["/data/set"])
    assert blocked.has([ANNA, BERT, CROP]) == [True] * 3


def test_a_tracklet_forgotten_again_keeps_out_its_crops(gallery: GalleryStore) -> None:
    gallery.block_list.add([ANNA])
    gallery.block_list.allow([CROP])
    gallery.block_list.add([ANNA])
    assert gallery.block_list.has([ANNA, CROP]) == [True, True]


def test_crops_of_a_forgotten_tracklet_are_blocked_too(gallery: GalleryStore) -> None:
    gallery.block_list.add([ANNA])
    other = Record("bert", "door", source=CROP.source)
    assert gallery.block_list.has([CROP, other]) == [True, False]
    gallery.block_list.allow([CROP])
    assert gallery.block_list.has([CROP, ANNA]) == [False, True]


def test_the_list_names_nobody_and_outlives_the_process(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        gallery.block_list.add([STREAM])
    with Gallery.open(tmp_path / "g") as gallery:
        assert gallery.block_list.has([STREAM]) == [True]
    for path in (tmp_path / "g").iterdir():
        assert b"carl" not in path.read_bytes()
        assert b"camera/live" not in path.read_bytes()


def test_a_gallery_of_before_is_read_without_being_changed(tmp_path: Path) -> None:
    """The table is made with the first entry: a gallery on a read-only medium has none."""
    gallery = Gallery.open(tmp_path / "g", dimension=8, model="m")
    before = gallery._reader.state()
    assert gallery.block_list.has([ANNA]) == [False]
    gallery.block_list.allow([ANNA])
    gallery.block_list.add([])
    assert gallery._reader._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'blocked'").fetchone() == (0,)
    assert gallery._reader.state() == before
    gallery.close()


def test_a_record_may_lie_in_many_folders() -> None:
    assert len(wholes(CROP)) == 5 + 4  # /data/set/crops/1.jpg, /data/set/crops, /data/set, /data, /; a tracklet of four
    assert len(wholes(STREAM)) == 1


def test_copy_leaves_out_what_the_target_forgot_and_takes_the_list_along(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "a", ANNA, BERT) as source, filled(where) as target:
        source.block_list.add([STREAM])
        target.block_list.add([BERT])
        done = copy(source, target)
        assert (done.count, done.written, done.blocked) == (1, 1, 1)
        assert names(target) == {"anna"}
        assert target.block_list.has([ANNA, BERT, STREAM]) == [False, True, True]
        assert copy(source, target).written == 0
        allowed = copy(source, target, allow=True)
        assert (allowed.count, allowed.written, allowed.blocked) == (2, 1, 0)
        assert target.block_list.has([ANNA, BERT, STREAM]) == [False, False, True]


def test_a_copy_forgets_what_the_source_has_forgotten_since(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "a", ANNA, BERT) as source, filled(where) as target:
        assert copy(source, target).count == 2
        source.block_list.add([BERT])
        source.delete_records([BERT])
        done = copy(source, target)
        assert (done.count, done.written, done.removed) == (1, 0, 1)
        assert names(target) == {"anna"}
        assert target.block_list.has([BERT]) == [True]
        target.add(ROWS[2:], [STREAM])
        with pytest.raises(GalleryError, match="holds 1 records that the source does not"):
            copy(source, target)
        assert names(target) == {"anna", "carl"}


def test_copy_keeps_what_is_at_the_target_already(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "a", ANNA, BERT) as source, filled(where, ANNA) as target:
        target.block_list.add([ANNA])
        done = copy(source, target)
        assert (done.count, done.written, done.blocked) == (2, 1, 0)


def test_a_copy_brings_back_nobody_who_is_forgotten_meanwhile(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STEP", 1)

    def forget(written: int, total: int) -> None:
        if not target.block_list.digests():
            target.block_list.add([ANNA, BERT])
            target.delete_records([ANNA, BERT])

    with filled(tmp_path / "a", ANNA, BERT) as source, filled(where) as target:
        with pytest.raises(GalleryError, match="one of the galleries changed meanwhile; run this again"):
            copy(source, target, forget)
        assert names(target) == set()
        assert copy(source, target).blocked == 2


def test_sync_leaves_out_what_the_centre_forgot(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "edge", ANNA, BERT), filled(where) as centre:
        centre.block_list.add([BERT])
        done = sync(tmp_path / "edge", centre, "centre")
        assert (done.sent, done.unchanged, done.blocked) == (1, 0, 1)
        assert names(centre) == {"anna"}
        again = sync(tmp_path / "edge", centre, "centre")
        assert (again.sent, again.unchanged, again.blocked, again.absent, again.forgotten) == (0, 1, 1, 0, 0)
        allowed = sync(tmp_path / "edge", centre, "centre", allow=True)
        assert (allowed.sent, allowed.blocked) == (1, 0)
        assert names(centre) == {"anna", "bert"}


def test_sync_does_not_send_again_what_changed_after_it_was_forgotten(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "edge", ANNA, BERT) as edge, filled(where) as centre:
        sync(tmp_path / "edge", centre, "centre")
        centre.block_list.add([BERT])
        centre.delete_records([BERT])
        edge.add(ROWS[2:], [BERT])  # with another descriptor
        done = sync(tmp_path / "edge", centre, "centre")
        assert (done.sent, done.blocked) == (0, 1)
        assert names(centre) == {"anna"}


def test_sync_brings_back_what_it_sent_before_where_that_is_allowed(tmp_path: Path, where: str) -> None:
    with filled(tmp_path / "edge", ANNA, BERT), filled(where) as centre:
        sync(tmp_path / "edge", centre, "centre")
        centre.block_list.add([BERT])
        centre.delete_records([BERT])
        done = sync(tmp_path / "edge", centre, "centre")
        assert (done.sent, done.unchanged, done.blocked, done.absent) == (0, 1, 1, 0)
        done = sync(tmp_path / "edge", centre, "centre", allow=True)
        assert (done.sent, done.blocked) == (1, 0)
        assert names(centre) == {"anna", "bert"}
        assert centre.block_list.has([BERT]) == [False]


def test_another_process_reads_what_this_one_has_put_on_the_list(where: str) -> None:
    with filled(where) as one, filled(where) as other:
        assert other.block_list.has([ANNA]) == [False]
        one.block_list.add([ANNA])
        assert other.block_list.has([ANNA, BERT]) == [True, False]
        assert one.block_list.digests() == other.block_list.digests() == {key_digest(ANNA)}


def test_what_passes_one_list_does_not_pass_another_by_its_digest(tmp_path: Path, where: str) -> None:
    """A list of more than a page of Milvus, brought whole to another gallery."""
    many = [Record(f"t{number}", "door") for number in range(2100)]
    with filled(where) as one, filled(tmp_path / "other") as other:
        one.block_list.add(many)
        one.block_list.allow(many[:3])
        other.block_list.add_digests(one.block_list.digests())
        assert other.block_list.digests() == one.block_list.digests()
        assert other.block_list.has(many).count(True) == 2097


def test_the_list_of_a_milvus_gallery_is_no_gallery(tmp_path: Path) -> None:
    where = address_of("milvus-lite", tmp_path)
    with filled(where, ANNA) as gallery:
        gallery.block_list.add([BERT])
    with pytest.raises(GalleryError, match="is not a gallery, but the block list of the gallery people: open that one"):
        open_gallery(f"{where}__blocked")
