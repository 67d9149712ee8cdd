"""The file of a gallery: what becomes of a gallery that is open when others change, replace or delete it."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_people import make_people

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import database
from reid_toolkit.gallery.local import index_files as cache
from reid_toolkit.gallery.local.database import NAME, Database
from reid_toolkit.gallery.local.record_table import RecordTable
from reid_toolkit.gallery.types import Selection
from reid_toolkit.records import Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


def delete(path: Path) -> None:
    shutil.rmtree(path)


def delete_and_make_again(path: Path) -> None:
    shutil.rmtree(path)
    with Gallery.open(path, model="another") as gallery:
        gallery.add(*make_people(count=8))


def move_and_copy(path: Path) -> None:
    path.rename(path.with_name("old"))
    shutil.copytree(path.with_name("old"), path)


def put_the_file_back(path: Path) -> None:
    shutil.copy(path / NAME, path / "copy")
    os.replace(path / "copy", path / NAME)


def held(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.is_dir() else {}


def put_a_file_in_its_place(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


CHANGES = [delete, delete_and_make_again, move_and_copy, put_the_file_back, put_a_file_in_its_place]


@pytest.mark.parametrize("change", CHANGES)
def test_a_gallery_that_is_replaced_while_it_is_open_is_not_written_or_read(
    path: Path, change: Callable[[Path], None]
) -> None:
    vectors, records = make_people(count=40)
    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.search(vectors[0])
        change(path)
        there = held(path)
        for use in (
            lambda: gallery.add(vectors[:1], [Record("lost", "c")]),
            lambda: gallery.delete(camera="a"),
            lambda: gallery.search(vectors[0]),
            lambda: list(gallery.records()),
            lambda: list(gallery.listed(Selection(camera="a"))),
            lambda: len(gallery),
            gallery.compact, gallery.build_index, gallery.refresh_statistics, gallery.check, gallery.info,
        ):  # fmt: skip
            with pytest.raises(GalleryError, match="was replaced or deleted while it was open: open it again"):
                use()
    assert held(path) == there
    if change is move_and_copy:
        for folder in (path, path.with_name("old")):
            with Gallery.open(folder) as gallery:
                assert (len(gallery), gallery.check().sound) == (40, True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_is_made_anew_by_being_opened_is_the_gallery(
    path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As overlay file systems do; "after": somebody puts a copy back at that moment."""
    with Gallery.open(path) as gallery:
        gallery.add(*make_people(count=40))
    connect = Database._connect
    opened: list[str] = []

    def copy_up(self: Database, mode: str) -> sqlite3.Connection:
        opened.append(mode)
        if len(opened) == 1 and when == "before":
            put_the_file_back(path)
        db = connect(self, mode)
        if len(opened) == 1 and when == "after":
            put_the_file_back(path)
        return db

    monkeypatch.setattr(Database, "_connect", copy_up)
    with Gallery.open(path) as gallery:
        gallery.add(make_people()[0][:4], [Record(f"new-{i}", "e") for i in range(4)])
        assert len(gallery) == 44
    with Gallery.open(path) as gallery:
        assert (len(gallery), gallery.check().sound) == (44, True)


def test_an_index_that_was_built_for_a_gallery_is_not_left_in_the_one_that_took_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = cache.save

    def save_late(*arguments: Any) -> cache.IndexManifest:
        delete_and_make_again(path)
        return save(*arguments)

    monkeypatch.setattr(cache, "save", save_late)
    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(*make_people(count=40))
        with pytest.raises(GalleryError, match="was replaced or deleted"):
            gallery.build_index()
    assert list(held(path)) == [NAME]


def opened_by_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    """As by one who may write neither file nor folder: SQLite refuses unless it finds a writer's shared memory."""
    connect = Database._connect

    def connect_without_rights(self: Database, mode: str) -> sqlite3.Connection:
        if mode == "ro" and not path.joinpath(f"{NAME}-shm").exists():
            raise sqlite3.OperationalError("unable to open database file")
        return connect(self, mode)

    monkeypatch.setattr(Database, "_connect", connect_without_rights)
    monkeypatch.setattr(database, "can_be_written", lambda _: False)
    return Gallery.open(path, create=False, exact_below=100)


def write(path: Path) -> Gallery:
    """By the owner, meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "can_be_written", lambda _: True)
        return Gallery.open(path, exact_below=100)


def names(gallery: Gallery, query: np.ndarray) -> list[str]:
    return [match.record.tracklet for match in gallery.search(query, 3)]


@pytest.mark.parametrize("writer_stays", [False, True], ids=["closed", "open"])
def test_who_may_not_write_sees_what_others_write(
    path: Path, monkeypatch: pytest.MonkeyPatch, writer_stays: bool
) -> None:
    vectors, records = make_people(count=200)
    query = make_people(seed=1)[0][0]
    with write(path) as writer:
        writer.add(vectors, records)
    with ExitStack() as stack, opened_by_another_user(path, monkeypatch) as reader:

        def change(how: Callable[[Gallery], object]) -> None:
            writer = stack.enter_context(write(path))
            how(writer)
            if not writer_stays:
                writer.close()

        assert reader._reader._frozen
        assert "new" not in names(reader, query)
        change(lambda writer: writer.add(query[None], [Record("new", "c")]))
        assert names(reader, query)[0] == "new"
        assert len(reader) == 201
        change(lambda writer: writer.forget(tracklet="new"))
        assert "new" not in names(reader, query)
        change(lambda writer: writer.forget(before=1e18))
        change(lambda writer: writer.add(vectors[:3], [Record(f"other-{i}", "d") for i in range(3)]))
        assert sorted(names(reader, vectors[0])) == ["other-0", "other-1", "other-2"]
        assert (len(reader), reader.damage, reader.check().sound) == (3, {}, True)


def test_half_of_a_change_is_not_answered_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, records = make_people(count=40)
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
    scan = RecordTable.scan

    def change_meanwhile(*arguments: Any) -> Iterator[Any]:
        monkeypatch.setattr(RecordTable, "scan", scan)
        with write(path) as gallery:
            gallery.delete(tracklet="t0")
        yield from scan(*arguments)

    with opened_by_another_user(path, monkeypatch) as reader:
        for read in (lambda: reader.search(vectors[0], 40), lambda: list(reader.records()), reader.check):
            monkeypatch.setattr(RecordTable, "scan", change_meanwhile)
            with pytest.raises(GalleryError, match="was changed while it was being read: run this again"):
                read()
            with write(path) as gallery:
                gallery.add(vectors[:1], records[:1])
        with write(path) as gallery:
            gallery.delete(tracklet="t0")
        assert {match.record.tracklet for match in reader.search(vectors[0], 40)} == {f"t{i}" for i in range(1, 40)}
        assert reader.damage == {}


def test_changes_that_cannot_be_seen_are_named_each_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(*make_people(count=40))
    log = path / f"{NAME}-wal"
    with opened_by_another_user(path, monkeypatch) as reader:
        log.write_bytes(b"not merged")
        for _ in range(2):
            with pytest.raises(GalleryError, match=f"its last changes are still in {NAME}-wal: open it once where"):
                len(reader)
        log.unlink()
        assert len(reader) == 40


def test_a_gallery_stays_open_where_only_the_way_to_it_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with Gallery.open(path.name) as gallery:
        gallery.add(*make_people(count=4))
        monkeypatch.chdir("/")
        assert len(gallery) == 4
        look = os.stat

        def refuse(place: object, *arguments: Any, **options: Any) -> os.stat_result:
            if NAME in str(place):
                raise PermissionError(errno.EACCES, "Permission denied")  # to a process that gave up its rights
            return look(place, *arguments, **options)

        monkeypatch.setattr(os, "stat", refuse)
        gallery.add(*make_people(count=4))
        assert len(gallery.search(make_people()[0][0])) == 4
        monkeypatch.undo()
        monkeypatch.chdir(path.parent)
        gallery.compact()
        assert len(gallery) == 4
