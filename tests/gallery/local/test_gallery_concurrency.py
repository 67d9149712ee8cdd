"""Many readers and a writer, in threads and in processes."""

import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_people import N, make_people
from waiting import wait_until

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import search as searcher
from reid_toolkit.gallery.local.locks import ReadWriteLock
from reid_toolkit.records import Record

READER = """
import sys, time
import numpy as np
from gallery_people import make_people
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import search as searcher
searcher.LOAD_AFTER = 0
ends = time.monotonic() + 300
vectors, records = make_people()
with Gallery.open(sys.argv[1], exact_below=100) as gallery:
    print("ready", flush=True)
    seen = 0
    while not any(match.record.tracklet == "last" for match in gallery.search(vectors[0], 20)):
        assert time.monotonic() < ends, "the last record was never seen"
        for row in range(1, N := 40):
            found = gallery.search(vectors[row], 10, cameras={"a", "b", "c", "d"} if row % 2 else None)
            assert found[0].record == records[row], found[0]
            distances = [match.distance for match in found]
            assert distances == sorted(distances)
            assert len({match.record for match in found}) == len(found) == 10
            seen += 1
            time.sleep(0.002)
print(seen)
"""


def test_threads_and_processes_search_while_one_writes(indexed: Path) -> None:
    # Seldom, in the whole suite, this took minutes, and nobody could say where.
    stacks: list[str] = []
    late = threading.Timer(100, lambda: stacks.extend(stacks_here()))
    late.start()
    try:
        search_while_one_writes(indexed)
    except BaseException as error:
        error.add_note("\n".join(stacks))
        raise
    finally:
        late.cancel()
        late.join()


def stacks_here() -> list[str]:
    """Where the threads of this test stand. faulthandler shows 100 threads at most, and other tests leave as many."""
    frames = sys._current_frames().values()
    stacks = (traceback.extract_stack(frame) for frame in frames)
    return ["".join(stack.format()) for stack in stacks if any(entry.filename == __file__ for entry in stack)]


def search_while_one_writes(indexed: Path) -> None:
    vectors, records = make_people()
    more, _ = make_people(seed=9)
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(indexed)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1],
        )
        for _ in range(2)
    ]  # fmt: skip
    for reader in readers:
        assert reader.stdout
        assert reader.stdout.readline() == "ready\n"
    stop = threading.Event()
    failures: list[BaseException] = []
    searches = [0] * 3

    def search(number: int) -> None:
        chance = np.random.default_rng(number)
        try:
            while not stop.is_set():
                rows = chance.integers(1, 40, 3)
                for row, found in zip(rows, gallery.search_batch(vectors[rows], 5), strict=True):
                    assert found[0].record == records[row]
                searches[number] += 1
                stop.wait(0.002)
        except BaseException as error:
            failures.append(error)

    with Gallery.open(indexed, exact_below=100) as gallery:
        threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for part in range(0, N, 20):
            gallery.add(more[part : part + 20], [Record(f"u{i}", "a") for i in range(part, part + 20)])
            gallery.delete(tracklet=f"u{part}")
            if part % 100 == 0:
                gallery.build_index()
        gallery.forget(tracklet="u1")
        gallery.add(vectors[:1], [Record("last", "a")])
        for reader in readers:
            told, errors = reader.communicate(timeout=60)
            assert reader.returncode == 0, errors
            assert int(told) > 0
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert min(searches) > 0
        assert len(gallery) == 2 * N - 20 - 1 + 1
        with Gallery.open(indexed, exact_below=10**9) as exact:
            for query in more[::40]:
                assert gallery.search(query) == exact.search(query)


def test_a_search_never_sees_rows_that_another_thread_is_reading_anew(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, records = make_people()
    in_step, half_read, answered = threading.Event(), threading.Event(), threading.Event()
    size, sync_rows = searcher.Searcher.size.fget, searcher.Searcher._sync_rows
    assert size

    def size_while_read(self: searcher.Searcher) -> tuple[int, int]:
        if threading.current_thread() is slow:
            in_step.set()
            assert half_read.wait(30)
        return size(self)

    def read_slowly(self: searcher.Searcher, store: Any) -> None:
        if in_step.is_set() and not half_read.is_set():
            assert not self._snapshot.held
            half_read.set()
            answered.wait(0.3)  # the other one must not answer now, so this runs out
        sync_rows(self, store)

    with Gallery.open(indexed, exact_below=10**9) as gallery:
        gallery.search(vectors[7])
        found: list[object] = []

        def search() -> None:
            try:
                found.append(gallery.search(vectors[7], 1)[0].record)
            except GalleryError as error:
                found.append(error)
            answered.set()

        slow = threading.Thread(target=search)
        monkeypatch.setattr(searcher.Searcher, "size", property(size_while_read))
        monkeypatch.setattr(searcher.Searcher, "_sync_rows", read_slowly)
        slow.start()
        assert in_step.wait(30)
        gallery.forget(tracklet="t9")
        assert gallery.search(vectors[7], 1)[0].record == records[7]
        slow.join()
        assert half_read.is_set()
        assert found == [records[7]]


def test_a_search_does_not_wait_for_a_write(tmp_path: Path) -> None:
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add(vectors, records)
        inside, go_on = threading.Event(), threading.Event()

        class Slow(list[Record]):
            def __getitem__(self, row):  # type: ignore[override]
                inside.set()
                assert go_on.wait(30)
                return super().__getitem__(row)

        writer = threading.Thread(target=gallery.add, args=(vectors[:1], Slow([Record("new", "a")])))
        writer.start()
        assert inside.wait(30)
        assert gallery.search(vectors[7], 1)[0].record == records[7]
        assert len(gallery) == N
        go_on.set()
        writer.join()
        assert len(gallery) == N + 1


def test_a_second_writer_waits_for_as_long_as_it_was_told(tmp_path: Path) -> None:
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g") as one, Gallery.open(tmp_path / "g", wait=0) as hasty:
        one.add(vectors[:4], records[:4])
        with one._locks.writer, one._writer.writing():
            with pytest.raises(GalleryError, match="was still writing after 0 s"):
                hasty.add(vectors[4:5], records[4:5])
            with Gallery.open(tmp_path / "g", wait=30) as patient:
                patiently, refusals = patient._writer._patiently, []

                def watched(step: Callable[[], object]) -> None:
                    def counted() -> None:
                        try:
                            step()
                        except sqlite3.OperationalError:
                            refusals.append(step)
                            raise

                    patiently(counted)

                patient._writer._patiently = watched  # type: ignore[method-assign]
                waiting = threading.Thread(target=patient.add, args=(vectors[5:6], records[5:6]))
                waiting.start()
                wait_until(lambda: len(refusals) > 1)
                one._writer._db.execute("COMMIT")
                waiting.join()
                one._writer._db.execute("BEGIN IMMEDIATE")
        assert len(one) == 5


def test_a_writer_gets_its_turn_among_readers_and_is_alone() -> None:
    lock = ReadWriteLock()
    told: list[str] = []
    written = threading.Event()

    def write() -> None:
        with lock.writing():
            told.append("writing")
            assert written.wait(30)
            told.append("written")

    def read() -> None:
        with lock.reading():
            told.append("read")

    writer, reader = threading.Thread(target=write), threading.Thread(target=read)
    with lock.reading():
        writer.start()
        while not lock._writers:
            time.sleep(0.001)
        reader.start()
        time.sleep(0.05)
        assert told == [], "the writer waits for this reader, and the late reader for the writer"
    while not told:
        time.sleep(0.001)
    time.sleep(0.05)
    assert told == ["writing"]
    written.set()
    writer.join()
    reader.join()
    assert told == ["writing", "written", "read"]
