"""The file of a gallery: what becomes of a gallery that is open when others change, replace or delete it."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gallery_people import make_people

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery, cache
from reid_toolkit.gallery.criteria import Which
from reid_toolkit.gallery.database import NAME
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
            lambda: list(gallery.listed(Which(camera="a"))),
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


def test_an_index_that_was_built_for_a_gallery_is_not_left_in_the_one_that_took_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = cache.save

    def save_late(*arguments: Any) -> cache.Sidecar:
        delete_and_make_again(path)
        return save(*arguments)

    monkeypatch.setattr(cache, "save", save_late)
    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(*make_people(count=40))
        with pytest.raises(GalleryError, match="was replaced or deleted"):
            gallery.build_index()
    assert list(held(path)) == [NAME]


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
