import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_yard import write_video
from watched_yard import FRAMES, PLAIN, Locked

from reid_toolkit.errors import VideoError
from reid_toolkit.footage.sources import open_video
from reid_toolkit.gallery import Gallery
from reid_toolkit.live.report import WatchReport
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder


def test_the_same_file_again_gives_the_same_records(see, embedder: Embedder, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "gallery", embedder.dimension, embedder.fingerprint) as gallery:
        see(gallery=gallery)
        see(gallery=gallery)
        assert len(gallery) == 1


def tracklets(gallery: Gallery) -> set[str]:
    return {record.tracklet for records, _ in gallery.records() for record in records}


@pytest.fixture
def twice(see, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery with two tracklets of a file, one of the same file by another camera, and one of another source."""
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert see(gallery=gallery, loops=2).tally.enrolled == 2
        vector = np.eye(1, gallery.info().dimension or 0, dtype=np.float32)
        (own, _) = sorted(tracklets(gallery))
        gallery.add(vector, [Record(own, "south", source=str(tmp_path / "yard.avi"))])
        gallery.add(vector, [Record(own, "north", source=str(tmp_path / "yard.avi" / "within"))])
        yield gallery


def test_other_settings_leave_no_old_records_behind_and_touch_no_others(see, twice: Gallery) -> None:
    tally = see(gallery=twice, settings=replace(PLAIN, every=3)).tally
    assert (tally.enrolled, tally.replaced, len(twice)) == (1, 1, 3)
    tally = see(gallery=twice, settings=replace(PLAIN, min_crops=1000)).tally
    assert (tally.enrolled, tally.replaced, len(twice)) == (0, 1, 2)


def test_another_recording_at_the_same_path_replaces_nothing(see, tmp_path: Path) -> None:
    first, second = (
        open_video(write_video(tmp_path / name, FRAMES, shade)) for name, shade in (("cur.avi", 0), ("new.avi", 20))
    )
    second = replace(second, source=first.source, name=first.name)  # as if it lay there now
    with Gallery.open(tmp_path / "gallery") as gallery:
        see(first, gallery=gallery, loops=2)
        before = tracklets(gallery)
        with pytest.warns(RuntimeWarning, match=r"cur\.avi: is not the same recording as before: the 2 tracklets"):
            assert see(second, gallery=gallery).tally.enrolled == 1
        assert before < tracklets(gallery)
        assert len(gallery) == 3
        with pytest.warns(RuntimeWarning, match=r"the 1 tracklets"):
            assert see(first, gallery=gallery).tally.replaced == 1
        assert len(gallery) == 2


def test_a_watch_that_fails_or_is_stopped_deletes_nothing_of_the_one_before(
    see, twice: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tracklets(twice)

    def fail(report: WatchReport) -> None:
        raise MemoryError("a frame of many pixels")

    with pytest.raises(MemoryError):
        see(gallery=twice, on_status=fail)
    stop = threading.Event()
    see(gallery=twice, stop=stop, on_status=lambda report: report.tally.frames == 40 and stop.set())
    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", Locked(times=9).add)
        with pytest.warns(RuntimeWarning, match="are lost"):
            assert see(gallery=twice).tally.lost == 1
    recording = open_video(tmp_path / "yard.avi")
    see(replace(recording, stamp="of a file that was written since"), gallery=twice)
    assert (tracklets(twice), len(twice)) == (before, 4)
    gone = replace(recording, address=f"file:{tmp_path / 'gone.avi'}")
    with pytest.raises(VideoError):
        see(gone, gallery=twice)
    assert (tracklets(twice), len(twice)) == (before, 4)
