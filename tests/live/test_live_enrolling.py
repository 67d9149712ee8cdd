import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from watched_yard import PLAIN, Locked, Shelf, Stream, live_walk

from reid_toolkit.footage.frames import Frame
from reid_toolkit.gallery import Gallery
from reid_toolkit.live.report import WatchReport


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stored is tried again with the next frame."""
    monkeypatch.setattr("reid_toolkit.live.enrolling.RETRY_SECONDS", 0.0)


def test_who_was_forgotten_is_not_enrolled_again(see, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g") as gallery:
        assert see(gallery=gallery).tally.enrolled == 1
        (walker,) = (record for records, _ in gallery.records() for record in records)
        gallery.block_list.add([walker])
        gallery.delete_records([walker])
        tally = see(gallery=gallery).tally
        assert (tally.tracklets, tally.enrolled, tally.blocked, len(gallery)) == (1, 0, 1, 0)
        tally = see(gallery=gallery, allow=True).tally
        assert (tally.enrolled, tally.blocked, len(gallery)) == (1, 0, 1)
        assert gallery.block_list.has([walker]) == [False]


def test_a_locked_gallery_is_waited_for_and_nobody_is_lost(see, shelf: Shelf, at_once: None) -> None:
    see(loops=3)
    gallery = Locked(times=20)
    with pytest.warns(RuntimeWarning, match="another process is writing; watching continues") as warnings:
        tally = see(loops=3, gallery=gallery).tally
    assert len(warnings) == 1
    assert (tally.tracklets, tally.enrolled, tally.lost) == (3, 3, 0)
    assert gallery.records == shelf.records
    np.testing.assert_array_equal(gallery.rows, shelf.rows)


def test_a_stream_outlives_a_gallery_that_is_locked_for_a_while(see, tmp_path: Path, at_once: None) -> None:
    stop = threading.Event()

    def until_stored(report: WatchReport) -> None:
        if report.tally.tracklets:
            other.rollback()
        if report.tally.enrolled:
            stop.set()

    def connect() -> Iterator[Frame]:
        yield from live_walk(0.004)
        time.sleep(1.2)  # longer than anybody is followed for

    settings = replace(PLAIN, every=1, min_crops=2)
    with (
        Gallery.open(tmp_path / "g", wait=0.0) as gallery,
        closing(sqlite3.connect(tmp_path / "g" / "gallery.sqlite", isolation_level=None)) as other,
    ):
        see(gallery=gallery)
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(RuntimeWarning, match="another process is writing"):
            tally = see(Stream(connect), settings, gallery=gallery, stop=stop, on_status=until_stored).tally
        assert tally.enrolled >= 1
        assert (tally.lost, len(gallery)) == (0, 1 + tally.enrolled)


def test_who_cannot_be_stored_to_the_end_is_counted_as_lost(see) -> None:
    with pytest.warns(RuntimeWarning) as warnings:
        tally = see(loops=3, gallery=Locked(times=10**9)).tally
    assert [str(warning.message).partition("; ")[2] for warning in warnings] == [
        "watching continues, and at most 1000 tracklets wait to be enrolled",
        "3 waiting tracklets are lost",
    ]
    assert (tally.tracklets, tally.enrolled, tally.lost) == (3, 0, 3)


def test_no_more_wait_than_there_is_room_for(see, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_toolkit.live.enrolling.MOST_WAITING", 2)
    gallery = Locked(times=1)
    with pytest.warns(RuntimeWarning, match="at most 2"):
        tally = see(loops=4, gallery=gallery).tally
    assert (tally.tracklets, tally.enrolled, tally.lost) == (4, 2, 2)
    assert [record.tracklet[-1] for record in gallery.records] == ["2", "3"], "the newest"
