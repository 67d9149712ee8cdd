"""A file system that is really full: a tmpfs of a few megabytes, where mounting one is permitted."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_people import make_people

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local import search as searcher
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Record

FREE = 200_000


def fill(disk: Path, leave: int) -> Path:
    """Leave about so many bytes; the file to remove."""
    space = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(space.f_bavail * space.f_frsize - leave))
    return filler


def names(gallery: Gallery) -> set[str]:
    return {record.tracklet for records, _ in gallery.records() for record in records}


def test_add_until_it_is_full(small_disk: Path) -> None:
    vectors, _ = make_people()
    acknowledged: set[str] = set()
    with Gallery.open(small_disk / "g") as gallery:

        def add_more() -> None:
            part = len(acknowledged)
            gallery.add(vectors, [Record(f"{part}-{i}", "a", image="x" * 200) for i in range(len(vectors))])
            acknowledged.update(f"{part}-{i}" for i in range(len(vectors)))
            add_more()

        with pytest.raises(GalleryError, match="no space left on the disk"):
            add_more()
        assert len(acknowledged) >= 800
        assert names(gallery) == acknowledged
        assert gallery.search(vectors[3], 1)[0].distance == pytest.approx(0, abs=2**-11)
    with Gallery.open(small_disk / "g") as gallery:
        assert names(gallery) == acknowledged
        assert gallery.check().sound


def test_delete_compact_and_save_when_it_is_full(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    vectors, records = make_people(count=1600)
    with Gallery.open(small_disk / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
    filler = fill(small_disk, leave=FREE)
    with Gallery.open(small_disk / "g", exact_below=100) as gallery:
        gallery.build_index()  # searches use it, and there is no room to keep it
        assert not list((small_disk / "g").glob("*index*"))
        assert gallery.search(vectors[5], 1)[0].record.tracklet == "t5"
        with pytest.raises(GalleryError, match="no space left on the disk"):
            gallery.compact()
        assert gallery.check().sound
        assert len(names(gallery)) == 1600
    filler.unlink()
    with Gallery.open(small_disk / "g", exact_below=100) as gallery:
        assert gallery.forget(camera="a") == 400
        assert gallery.info().index["rows"] == 1200
        found = gallery.search(vectors[5], 10)
        distances = np.sort(np.linalg.norm(vectors[np.arange(1600) % 4 > 0] - vectors[5], axis=1))[:10]
        assert np.allclose([match.distance for match in found], distances, atol=1e-3)


def test_what_is_said_about_people_is_refused_only_if_it_is_not_stored(small_disk: Path) -> None:
    """Sometimes there is room for the change, and none for its move from SQLite's log into the file."""
    record, outcomes = Record("t", "a"), set()
    for leave in range(100_000, 1_000_000, 100_000):
        place = small_disk / str(leave)
        with Gallery.open(place) as gallery:
            gallery.add(np.eye(1, 8, dtype=np.float32), [record])
            filler = fill(small_disk, leave)
            try:
                gallery.people.write(gallery.people.read(), members={key_digest(record): Membership(1, 1, 1)})
                refused = False
            except GalleryError:
                refused = True
            assert refused == (not gallery.people.read().members), f"{leave} bytes were left"
            outcomes.add(refused)
        filler.unlink()
        shutil.rmtree(place)
    assert outcomes == {False, True}


def test_records_are_not_said_to_be_kept_if_only_the_new_file_finds_no_room(small_disk: Path) -> None:
    vectors, records = make_people(count=1600)
    records = [replace(record, image="x" * 500) for record in records]
    with Gallery.open(small_disk / "g") as gallery:
        gallery.add(vectors, records)
    filler = fill(small_disk, leave=3 * FREE)
    with Gallery.open(small_disk / "g") as gallery:
        with pytest.raises(GalleryError, match=r"rows are deleted, but .* no space left .* run `reid gallery compact`"):
            gallery.forget(tracklet="t0")
        assert names(gallery) == {record.tracklet for record in records[1:]}
        filler.unlink()
        gallery.compact()
        assert names(gallery) == {record.tracklet for record in records[1:]}
