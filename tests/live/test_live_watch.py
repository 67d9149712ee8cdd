import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_clip import write_clip
from drawn_yard import EMPTY, RATE, RedDetector, background, draw_frame
from watched_yard import FRAMES, PLAIN, Shelf, Stream, live_walk, walk

from reid_toolkit.errors import AuditError, GalleryError, InputError, UnavailableError
from reid_toolkit.footage.crops import cut
from reid_toolkit.footage.frames import Frame
from reid_toolkit.footage.sources import open_video
from reid_toolkit.gallery import Gallery
from reid_toolkit.images import decode
from reid_toolkit.live import stream as live_module
from reid_toolkit.live.report import WatchReport
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder


def test_who_walks_through_is_enrolled_once(see, shelf: Shelf, embedder: Embedder, tmp_path: Path) -> None:
    report = see()
    (record,) = shelf.records
    assert record.camera == "north"
    fingerprint = open_video(tmp_path / "yard.avi").fingerprint
    assert record.tracklet == f"north-yard-{fingerprint[:8]}-00000"
    assert record.source == str(tmp_path / "yard.avi")
    assert EMPTY / RATE <= record.start <= (EMPTY + 3) / RATE
    assert record.end == pytest.approx((FRAMES - 1) / RATE)
    assert (report.tally.frames, report.tally.tracklets, report.tally.enrolled) == (FRAMES, 1, 1)
    assert (report.dropped, report.reconnects) == (0, 0)
    assert np.linalg.norm(shelf.rows[0]) == pytest.approx(1, abs=1e-5)


def test_the_descriptor_is_the_mean_over_every_kth_crop(see, shelf: Shelf, embedder: Embedder, tmp_path: Path) -> None:
    cuts = []
    embed = embedder.embed

    def watched(images: list) -> np.ndarray:
        cuts.extend(np.array(image) for image in images)
        return embed(images)

    embedder.embed = watched  # type: ignore[method-assign]
    report = see(settings=replace(PLAIN, every=7, margin=0))
    embedder.embed = embed  # type: ignore[method-assign]
    assert report.tally.crops == len(cuts) == -(-(FRAMES - EMPTY - 1) // 7)
    np.testing.assert_allclose(shelf.rows[0], embedder.embed_tracklet(cuts), atol=1e-6)
    assert all(cut(crop, np.array([0, 0, crop.shape[1], crop.shape[0]], np.float32), 0) is not None for crop in cuts)
    see(settings=replace(PLAIN, every=7, margin=0), by_quality=True)
    np.testing.assert_allclose(shelf.rows[1], embedder.embed_tracklet(cuts, by_quality=True), atol=1e-6)


def test_a_thumbnail_is_kept_where_it_is_wanted(see, shelf: Shelf) -> None:
    see()
    see(thumbnails=True)
    assert shelf.records[0].thumbnail == b""
    picture = decode(shelf.records[1].thumbnail)
    assert picture is not None
    blue, _, red = picture[30:50].reshape(-1, 3).mean(axis=0)
    assert red > 120 > blue, "the jacket"
    np.testing.assert_array_equal(*shelf.rows)


def test_too_few_crops_are_not_enrolled(see, shelf: Shelf) -> None:
    report = see(settings=replace(PLAIN, every=20, min_crops=3))
    assert (report.tally.tracklets, report.tally.enrolled, shelf.records) == (1, 0, [])


def test_a_start_makes_times_absolute(see, shelf: Shelf) -> None:
    see(settings=replace(PLAIN, start=1e9))
    assert 1e9 + EMPTY / RATE <= shelf.records[0].start < shelf.records[0].end < 1e9 + FRAMES / RATE


def test_a_file_over_and_over_is_one_walk_after_the_other(see, shelf: Shelf) -> None:
    report = see(loops=3)
    assert report.tally.frames == 3 * FRAMES
    assert [record.tracklet for record in shelf.records] == [f"{shelf.records[0].tracklet[:-1]}{n}" for n in range(3)]
    times = [time for record in shelf.records for time in (record.start, record.end)]
    assert times == sorted(set(times))


def test_damage_is_counted_and_what_follows_is_seen(see, shelf: Shelf, tmp_path: Path) -> None:
    pictures = [draw_frame(number) for number in range(FRAMES)]
    path = write_clip(tmp_path / "hole.mp4", pictures, codec="mpeg4", pixels="yuv420p", g="5", b="4000000")
    content = path.read_bytes()
    third, half = len(content) // 3, len(content) // 2
    path.write_bytes(content[:third] + bytes(half - third) + content[half:])
    report = see(open_video(path))
    assert report.damaged > 0
    assert shelf.records[-1].end == pytest.approx((FRAMES - 1) / RATE, abs=0.2)


def test_time_without_frames_ends_a_tracklet(see, shelf: Shelf) -> None:
    def connect() -> Iterator[Frame]:
        yield from walk(range(30))
        yield from walk(range(30, FRAMES), began=5.0)

    see(Stream(connect, is_stream=False))
    assert len(shelf.records) == 2
    assert shelf.records[0].end < 3 < 8 <= shelf.records[1].start


def test_a_clock_that_is_set_back_ends_a_tracklet_and_the_next_has_right_times(see, shelf: Shelf) -> None:
    def connect() -> Iterator[Frame]:
        yield from walk(range(30), began=3600.0)
        yield from walk(range(30, FRAMES), began=60.0)

    see(Stream(connect, is_stream=False), replace(PLAIN, every=1))
    first, second = shelf.records
    assert 3600 < first.start < first.end == pytest.approx(3600 + 29 / RATE)
    assert 63 <= second.start < second.end == pytest.approx(60 + (FRAMES - 1) / RATE)


def test_after_the_clock_was_set_back_time_without_frames_ends_a_tracklet(
    see, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    def connect() -> Iterator[Frame]:
        yield from live_walk(0.004)
        ahead[0] = -3600.0
        stop.wait(30)  # nothing comes any more

    def until_enrolled(report: WatchReport) -> None:
        if shelf.records:
            stop.set()

    settings = replace(PLAIN, every=1, min_crops=2)
    see(Stream(connect), settings, stop=stop, on_status=until_enrolled, seconds=20)
    assert stop.is_set(), "enrolled before the end"


def test_frames_left_out_do_not_end_a_tracklet(see, shelf: Shelf) -> None:
    see(Stream(lambda: walk(range(0, FRAMES, 3)), is_stream=False), replace(PLAIN, every=1))
    assert len(shelf.records) == 1


def test_whoever_is_in_view_at_a_stop_is_enrolled(see, shelf: Shelf) -> None:
    stop = threading.Event()
    report = see(stop=stop, on_status=lambda report: report.tally.frames == 40 and stop.set())
    assert report.tally.frames == 40
    assert len(shelf.records) == 1


def test_of_a_stream_too_fast_frames_are_dropped_and_counted(see, embedder: Embedder) -> None:
    stop, all_read = threading.Event(), threading.Event()
    read = 0

    def connect() -> Iterator[Frame]:
        nonlocal read
        for frame in live_walk(0.001):
            read += 1
            yield frame
        all_read.set()
        stop.wait()  # the camera is still there, but nothing moves any more

    def slow(report: WatchReport) -> None:
        assert all_read.wait(60)  # the first frame takes longer than all others come in
        if read == FRAMES and report.tally.frames + report.dropped == FRAMES:
            stop.set()

    report = see(Stream(connect), stop=stop, on_status=slow)
    assert report.dropped > FRAMES / 2
    assert report.tally.frames + report.dropped == FRAMES
    assert report.reconnects == 0


def test_a_stream_that_breaks_is_taken_up_again_and_nobody_is_lost(
    see, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT", 1.2)  # longer than anybody is followed for
    stop = threading.Event()

    def until_seen_after_the_break(report: WatchReport) -> None:
        # A busy machine drops so many frames of a walk that it makes two records, or none.
        if len(shelf.records) > 1 and shelf.records[0].end + 1 < shelf.records[-1].start:
            stop.set()

    stream = Stream(lambda: live_walk(0.004))
    report = see(stream, replace(PLAIN, every=1, min_crops=2), stop=stop, on_status=until_seen_after_the_break)
    assert report.reconnects >= 1
    first, last = shelf.records[0], shelf.records[-1]
    assert all(record.end - record.start < 1 for record in shelf.records), "nobody is followed over the break"
    assert first.camera == last.camera == "north"
    assert first.tracklet.startswith("north-20")
    assert first.tracklet != last.tracklet


def test_two_starts_in_one_second_are_two(see, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(1970, 1, 1, 0, 0, 25, tzinfo=UTC)

    monkeypatch.setattr("reid_toolkit.live.watch.datetime", Stopped)
    for _ in range(2):
        stop = threading.Event()

        def until_seen(report: WatchReport, stop: threading.Event = stop) -> None:
            if report.tally.crops >= 2:
                stop.set()

        see(Stream(lambda: live_walk(0.004)), replace(PLAIN, every=1, min_crops=2), stop=stop, on_status=until_seen)
    first, second = (record.tracklet for record in shelf.records)
    assert first.startswith("north-19700101T000025Z-")
    assert second.startswith("north-19700101T000025Z-")
    assert first != second


def test_it_ends_after_so_many_seconds(see, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "CLOSE_SECONDS", 0.01)
    answer = threading.Event()

    def connect() -> Iterator[Frame]:
        answer.wait(60)  # a camera that hangs
        yield from ()

    assert see(Stream(connect), seconds=0.1).tally.frames == 0
    answer.set()


def test_a_stream_has_no_start_and_no_loops(see) -> None:
    for wrong in ({"loops": 2}, {"settings": replace(PLAIN, start=1.0)}):
        with pytest.raises(InputError, match="rtsp://yard: a stream has its own time"):
            see(Stream(walk), **wrong)


def test_a_gallery_that_fails_is_heard_and_the_thread_ends(see) -> None:
    class Full(Shelf):
        def add(self, *_: object) -> None:
            raise GalleryError("the gallery is of another model")

    before = set(threading.enumerate())
    with pytest.raises(GalleryError, match="another model"):
        see(gallery=Full())
    with pytest.raises(GalleryError):
        see(Stream(lambda: live_walk(0.001)), replace(PLAIN, every=1, min_crops=1), gallery=Full())
    assert not set(threading.enumerate()) - before  # others may end meanwhile


def test_whoever_is_in_view_when_something_else_fails_is_enrolled(see, shelf: Shelf) -> None:
    def fail(report: WatchReport) -> None:
        if report.tally.frames == 40:
            raise MemoryError("a frame of many pixels")

    with pytest.raises(MemoryError):
        see(on_status=fail)
    assert len(shelf.records) == 1


@pytest.mark.parametrize("error", [UnavailableError("locked"), AuditError("the log cannot be written")])
def test_what_cannot_be_deleted_or_fitted_now_is_said_and_left_to_the_next_time(see, error: GalleryError) -> None:
    class Stuck(Shelf):
        def expire(self) -> int:
            raise error

        def refresh_statistics(self, *, if_due: bool) -> bool:
            raise UnavailableError("locked")

    gallery = Stuck()
    with pytest.warns(RuntimeWarning) as warnings:
        assert see(gallery=gallery).tally.enrolled == 1
    assert [str(warning.message) for warning in warnings] == [
        f"what is past the retention was not deleted: {error}",
        f"what is past the retention was not deleted: {error}",
        "camera statistics were not fitted: locked",
    ]


def test_memory_is_flat_over_a_thousand_frames(see, embedder: Embedder, tmp_path: Path) -> None:
    """A frame held for each tracklet would add 2.4 MB, one for each frame 120. Traced, because the resident
    memory of this process also depends on the tests before."""
    sizes: list[tuple[int, int]] = []

    def look(report: WatchReport) -> None:
        if report.tally.frames % (4 * FRAMES) == 0:
            gc.collect()
            sizes.append((tracemalloc.get_traced_memory()[0], len(gc.get_objects())))

    gc.collect()
    gc.freeze()  # what was there before, which each look would go through
    tracemalloc.start()
    try:
        with Gallery.open(tmp_path / "gallery", embedder.dimension, embedder.fingerprint) as gallery:
            report = see(gallery=gallery, loops=24, settings=replace(PLAIN, every=2), on_status=look)
            assert len(gallery) == report.tally.enrolled == 24
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert report.tally.frames == 24 * FRAMES
    assert sizes[-1][0] - sizes[1][0] < 1e6
    assert sizes[-1][1] - sizes[1][1] < 200


@pytest.mark.parametrize(("seconds", "expiries"), [(0.0, FRAMES + 1), (3600.0, 2)])
def test_retention_is_applied_at_both_ends_and_now_and_then(
    see, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, seconds: float, expiries: int
) -> None:
    monkeypatch.setattr("reid_toolkit.live.watch.EXPIRE_SECONDS", seconds)
    report = see()
    assert (shelf.expiries, report.tally.expired) == (expiries, 3 * expiries)
    assert shelf.fits == [True]  # once, at the end


def test_what_is_past_the_retention_leaves_a_gallery_that_is_watched_into(
    see, embedder: Embedder, tmp_path: Path
) -> None:
    vectors = np.eye(2, embedder.dimension, dtype=np.float32)
    with Gallery.open(tmp_path / "gallery") as gallery:
        gallery.add(vectors, [Record("last year", "a", 1.7e9, 1.7e9), Record("undated", "a", 5.0, 6.0)])
        gallery.keep_for(86_400.0)
        assert see(gallery=gallery).tally.expired == 1
        assert {r.tracklet.split("-")[0] for records, _ in gallery.records() for r in records} == {"undated", "north"}


def test_tracklets_are_numbered_by_their_beginning(see, shelf: Shelf) -> None:
    """The second to come is the first to go."""

    def connect() -> Iterator[Frame]:
        for number in range(60):
            image = background()
            for left, frames in ((10, range(5, 60)), (200, range(15, 30))):
                if number in frames:
                    image[80:170, left : left + 34] = (40, 30, 200)
            yield Frame(number, number / RATE, image)

    report = see(Stream(connect, is_stream=False), replace(PLAIN, every=1), detector=BothReds())
    first, second = sorted(shelf.records, key=lambda record: record.start or 0)
    assert report.tally.tracklets == 2
    assert first.end > second.end  # type: ignore[operator]
    assert (first.tracklet[-6:], second.tracklet[-6:]) == ("-00000", "-00001")


class BothReds(RedDetector):
    """Finds a red thing in each half of the picture."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half = frame.shape[1] // 2
        found = [(super(BothReds, self).__call__(frame[:, x : x + half]), x) for x in (0, half)]
        boxes = np.concatenate([boxes + np.array([x, 0, x, 0], np.float32) for (boxes, _), x in found])
        return boxes, np.concatenate([scores for (_, scores), _ in found])
