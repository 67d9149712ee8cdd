"""The gallery against the slow, obvious search, and against everything that must not get in."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.errors import GalleryError, InputError, UnavailableError
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery.local import database
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.gallery.transfer import sync
from reid_toolkit.records import Record

D = 16
NEAR_ZERO = pytest.approx(0, abs=2**-11)
"""Half precision moves a descriptor by no more."""


def unit(n: int, seed: int = 0, dimension: int = D) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def records(n: int, camera: str = "a", source: str = "s") -> list[Record]:
    return [Record(f"t{i}", camera, float(i), float(i) + 0.5, source) for i in range(n)]


def test_no_place_is_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="'': expected the folder or address of a gallery"):
        open_gallery("", D, "model")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


def slow_search(vectors, rows, query, k, cameras, since, until):
    answer = []
    for order, (vector, record) in enumerate(zip(vectors, rows, strict=True)):
        if cameras is not None and record.camera not in cameras:
            continue
        if since is not None and (record.end is None or record.end < since):
            continue
        if until is not None and (record.start is None or record.start > until):
            continue
        distance = float(np.linalg.norm(vector.astype(np.float64) - query))
        answer.append((distance, order, record))
    return [record for _, _, record in sorted(answer, key=lambda row: row[:2])[:k]]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    distinct=st.integers(1, 60),
    k=st.integers(1, 70),
    cameras=st.none() | st.sets(st.sampled_from("abcx")),
    since=st.none() | st.integers(-2, 30),
    until=st.none() | st.integers(-2, 30),
    seed=st.integers(0, 1000),
)
def test_search_is_the_slow_search(tmp_path_factory, n, distinct, k, cameras, since, until, seed) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(distinct, seed)[rng.integers(0, distinct, n)]  # with repeats: ties go by order of enrolment
    rows = []
    for i in range(n):
        start = None if rng.random() < 0.2 else float(rng.integers(0, 25))
        end = None if start is None else start + float(rng.integers(0, 6))
        rows.append(Record(f"t{i}", rng.choice(list("abc")), start, end))
    query = unit(1, seed + 1)[0] if seed % 2 else vectors[0]
    with Gallery.open(tmp_path_factory.mktemp("g") / "g", dimension=D) as gallery:
        gallery.add(vectors[: n // 2], rows[: n // 2])
        gallery.add(vectors[n // 2 :], rows[n // 2 :])
        found = gallery.search(query, k, cameras, since, until)
    stored = vectors.astype(np.float16)
    assert [m.record for m in found] == slow_search(stored, rows, query, k, cameras, since, until)
    assert [m.rank for m in found] == list(range(1, len(found) + 1))


def test_distances_are_euclidean_and_zero_for_the_same_vector(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(np.eye(3, dtype=np.float32), records(3))
        found = gallery.search(np.eye(3, dtype=np.float32)[1])
    assert [m.distance for m in found] == pytest.approx([0, 2**0.5, 2**0.5])
    assert found[0].distance == NEAR_ZERO
    assert [m.record.tracklet for m in found] == ["t1", "t0", "t2"]


def test_what_was_added_is_there_after_reopening(path: Path) -> None:
    row = Record("t", "cam", 1.5, 2.5, "/data/set", "/data/set/a.jpg")
    with Gallery.open(path, dimension=D, model="m1") as gallery:
        gallery.add(unit(1), [row])
    with Gallery.open(path, create=False) as gallery:
        assert gallery.search(unit(1)[0])[0].record == row
        info = gallery.info()
    assert (info.count, info.dimension, info.model) == (1, D, "m1")
    assert (info.cameras, info.sources, info.first, info.last) == ({"cam": 1}, {"/data/set": 1}, 1.5, 2.5)


def test_adding_again_replaces(path: Path) -> None:
    vectors = unit(4)
    with Gallery.open(path) as gallery:
        gallery.add(vectors[:2], records(2))
        gallery.search(vectors[0])
        gallery.add(vectors[2:3], records(1))
        assert len(gallery) == 2
        assert gallery.search(vectors[2])[0].distance == NEAR_ZERO
        assert gallery.search(vectors[0])[0].distance > 0.1
        # The same name in another camera or from another source is another record.
        gallery.add(vectors[3:], records(1, camera="b"))
        gallery.add(vectors[3:], records(1, source="other"))
        assert len(gallery) == 4
        assert gallery.enrolled([*records(3), *records(1, camera="c")]) == [True, True, False, False]


def test_of_equal_records_in_one_call_the_last_stays(path: Path) -> None:
    vectors = unit(2)
    with Gallery.open(path) as gallery:
        gallery.add(vectors, [Record("t", "a"), Record("t", "a")])
        assert len(gallery) == 1
        assert gallery.search(vectors[1])[0].distance == NEAR_ZERO


def test_excluded_records_do_not_use_up_places(path: Path) -> None:
    rows = records(5)
    with Gallery.open(path) as gallery:
        gallery.add(unit(5), rows)
        found = gallery.search(unit(5)[2], top_k=4, exclude=[rows[2], Record("unknown", "a")])
    assert {m.record.tracklet for m in found} == {"t0", "t1", "t3", "t4"}


def test_another_gallery_object_sees_adds_replacements_and_deletions(path: Path) -> None:
    vectors = unit(6)
    with Gallery.open(path) as writer, Gallery.open(path) as reader:
        writer.add(vectors[:3], records(3))
        assert len(reader.search(vectors[0])) == 3
        writer.add(vectors[3:4], [records(3)[1]])
        assert reader.search(vectors[3])[0].distance == NEAR_ZERO
        assert len(reader.search(vectors[0])) == 3
        writer.forget(tracklet="t2")
        assert [m.record.tracklet for m in reader.search(vectors[0])] == ["t0", "t1"]
        writer.forget(source="s")
        with pytest.raises(GalleryError, match="empty"):
            reader.search(vectors[0])
        writer.add(vectors[5:], records(1))
        assert len(reader.search(vectors[0])) == 1


def test_threads_may_share_a_gallery(path: Path) -> None:
    vectors = unit(40)
    failures: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for i in range(part * 10, part * 10 + 10):
                gallery.add(vectors[i : i + 1], [Record(f"t{i}", "a")])
                assert gallery.search(vectors[i])[0].distance == NEAR_ZERO
        except BaseException as error:
            failures.append(error)

    with Gallery.open(path) as gallery:
        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(gallery) == 40


def test_forgotten_bytes_are_in_no_file(path: Path) -> None:
    vectors = unit(300)
    half = vectors[7].astype(np.float16)
    secrets = [half.tobytes(), half.astype(np.float32).tobytes()]  # as the record and as the index hold it

    def holders() -> set[str]:
        return {f.name for f in path.iterdir() if any(secret in f.read_bytes() for secret in secrets)}

    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(vectors, records(300))
        gallery.build_index()
        (graph,) = path.glob("index-*.graph")
        shutil.copy(graph, path / ".index-0.1.partial.graph")  # as a killed save leaves it
        assert {Path(name).suffix for name in holders()} == {".sqlite-wal", ".graph", ".rows"}
        assert ".index-0.1.partial.graph" in holders()
        assert gallery.matching(tracklet="t7") == 1
        assert gallery.forget(tracklet="t7", camera="a") == 1
        assert holders() == set()
        assert gallery.forget(tracklet="t7") == 0
        assert len(gallery) == 299
        with pytest.raises(InputError, match="no records were chosen"):
            gallery.forget()
    assert holders() == set()


def test_the_file_is_little_larger_than_the_descriptors(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(1500, dimension=512), records(1500))
    assert (path / NAME).stat().st_size < 1.25 * 1500 * 512 * 2


def test_a_source_stands_for_the_files_below_it(path: Path) -> None:
    sources = ["/data/set", "/data/set/a.jpg", "/data/set2", "/data/set%"]
    with Gallery.open(path) as gallery:
        gallery.add(unit(4), [Record("t", "a", source=source) for source in sources])
        assert gallery.matching(source="/data/set") == 2
        assert gallery.forget(source="/data/set") == 2
        assert list(gallery.info().sources) == ["/data/set%", "/data/set2"]


def test_a_reader_that_holds_the_old_pages_is_named(path: Path) -> None:
    with Gallery.open(path, wait=0) as gallery:
        gallery.add(unit(3), records(3))
        reader = sqlite3.connect(path / NAME, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        with pytest.raises(GalleryError, match="another process"):
            gallery.forget(tracklet="t1")
        reader.close()
        secret = unit(3)[1].astype(np.float16).tobytes()
        assert secret in (path / f"{NAME}-wal").read_bytes()
        gallery.compact()
        assert not any(secret in file.read_bytes() for file in path.iterdir())
        assert len(gallery) == 2


def test_only_the_owner_can_read_it_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with Gallery.open(path, exact_below=5) as gallery, Gallery.open(path.parent / "centre") as centre:
            gallery.add(unit(10), records(10))
            gallery.build_index()
            gallery.compact()
            gallery.add(unit(1), records(1))
            sync(path, centre, "centre")
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}
    finally:
        os.umask(before)
    ends = {".sqlite", ".sqlite-wal", ".sqlite-shm", ".graph", ".rows", ".json"}
    assert {Path(name).suffix for name in modes} == ends
    assert "sync.sqlite" in modes
    assert set(modes.values()) == {0o600}


SYNC = """
import sys
from pathlib import Path
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery.transfer import sync
with Gallery.open(Path(sys.argv[1]), create=False) as centre:
    sync(Path(sys.argv[2]), centre, "centre")
"""


def test_one_sync_runs_at_a_time_even_if_this_process_has_tried_a_second(path: Path) -> None:
    def others(*_: object) -> None:
        with pytest.raises(GalleryError, match="another sync is running"):
            sync(path, centre, "centre")
        command = [sys.executable, "-c", SYNC, str(path.parent / "centre"), str(path)]
        other = subprocess.run(command, check=False, capture_output=True, text=True)
        said.append(other.stderr.strip().splitlines()[-1])

    said: list[str] = []
    with Gallery.open(path) as gallery, Gallery.open(path.parent / "centre") as centre:
        gallery.add(unit(2), records(2))
        sync(path, centre, "centre", others)
    assert len(said) == 1
    assert "another sync is running" in said[0]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_must_be_positive(path: Path, top_k: int) -> None:
    with Gallery.open(path) as gallery, pytest.raises(InputError, match="top_k"):
        gallery.search(unit(1)[0], top_k=top_k)


def test_bad_descriptors_are_refused_and_nothing_is_stored(path: Path) -> None:
    good = unit(2)
    nan = good.copy()
    nan[1, 3] = np.nan
    with Gallery.open(path, dimension=D) as gallery:
        for bad, error, match in (
            (nan, InputError, "row 1 has NaN"),
            (good * 1.01, InputError, "length 1.01"),
            (np.zeros_like(good), InputError, "length 0"),
            (good[0], InputError, "expected an .N, D. float array"),
            ((good * 100).astype(int), InputError, "int64"),
            (good[:1], InputError, "1 descriptors for 2 records"),
            (unit(2, dimension=8), GalleryError, "width 16, got width 8"),
        ):
            with pytest.raises(error, match=match) as caught:
                gallery.add(bad, records(2))
            assert "\n" not in str(caught.value)
        assert len(gallery) == 0
    with Gallery.open(path) as gallery:
        gallery.add(good, records(2))
        with pytest.raises(GalleryError, match="width 16, got width 8"):
            gallery.add(unit(2, dimension=8), records(2))
        gallery.add(good, records(2))  # a refusal leaves it as it was


def test_bad_records_are_refused(path: Path) -> None:
    with Gallery.open(path) as gallery:
        for start, end in ((2.0, 1.0), (None, 1.0), (1.0, None), (0.0, float("nan"))):
            with pytest.raises(InputError, match="expected a start and an end"):
                gallery.add(unit(1), [Record("t", "a", start, end)])
        with pytest.raises(InputError, match="Unicode"):
            gallery.add(unit(1), [Record("t\udcff", "a")])
        assert len(gallery) == 0


def test_half_precision_descriptors_are_near_enough(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(3).astype(np.float16), records(3))
        assert gallery.search(unit(3)[2].astype(np.float16))[0].distance == NEAR_ZERO


def test_bad_queries_are_refused(path: Path) -> None:
    with Gallery.open(path, dimension=D) as gallery:
        with pytest.raises(GalleryError, match="the gallery is empty: enroll people first"):
            gallery.search(unit(1)[0])
        gallery.add(unit(3), records(3))
        with pytest.raises(InputError, match="width 8: expected 16"):
            gallery.search(unit(1, dimension=8)[0])
        with pytest.raises(InputError, match="NaN"):
            gallery.search(np.full(D, np.nan, np.float32))
        with pytest.raises(InputError, match="one descriptor"):
            gallery.search(unit(1))
        with pytest.raises(InputError, match="collection of names"):
            gallery.search(unit(1)[0], cameras="entrance")


def test_a_gallery_of_another_model_or_width_is_refused_by_name(path: Path) -> None:
    with Gallery.open(path, dimension=D, model="first") as gallery:
        gallery.add(unit(2), records(2))
    with pytest.raises(GalleryError, match=r"model first, got model second"):
        Gallery.open(path, dimension=D, model="second")
    with pytest.raises(GalleryError, match=r"width 16, got width 8"):
        Gallery.open(path, dimension=8)
    with Gallery.open(path, dimension=D, model="first") as gallery:
        assert len(gallery) == 2


def test_descriptors_of_an_unknown_model_are_not_taken_for_those_of_a_known_one(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(2), records(2))
    with pytest.raises(GalleryError, match=r"model unknown, got model first"):
        Gallery.open(path, model="first")


def test_an_empty_gallery_takes_the_model_it_is_given_once(path: Path) -> None:
    with (
        Gallery.open(path, dimension=8, model="first") as one,
        Gallery.open(path, dimension=D, model="second") as two,
    ):
        two.add(unit(2), records(2))
        with pytest.raises(GalleryError, match="width 16, got width 8"):
            one.add(unit(2, dimension=8), records(2))
        assert two.search(unit(2)[1])[0].distance == NEAR_ZERO


def test_a_file_system_without_hard_links_holds_a_gallery(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Gallery.open(path) as gallery:
        gallery.add(unit(2), records(2))
    with Gallery.open(path) as gallery:
        assert len(gallery) == 2
    assert sorted(file.name for file in path.iterdir()) == [NAME]


def held(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_gallery_that_may_not_be_written_can_be_searched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(path, model="m") as gallery:
        gallery.add(unit(5), records(5))
    before = held(path)
    monkeypatch.setattr(database, "can_be_written", lambda _: False)
    with Gallery.open(path, D, "m", create=False) as gallery:
        assert gallery.search(unit(5)[3])[0].record == records(5)[3]
        assert (len(gallery), gallery.info().count, gallery.check().whole) == (5, 5, 5)
        assert sum(len(part) for part, _ in gallery.records()) == 5
        for change in (lambda: gallery.add(unit(1), records(1)), lambda: gallery.keep_for(60), gallery.compact):
            with pytest.raises(GalleryError, match="cannot be written: the file or its folder is on a read-only"):
                change()
        with pytest.raises(GalleryError, match="holds descriptors of model m, got model other"):
            gallery.expect(model="other")
    assert held(path).items() >= before.items()


def test_on_a_read_only_medium_what_is_not_merged_is_not_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(3), records(3))
    connect = database.Database._connect

    def on_a_medium(self: database.Database, mode: str) -> sqlite3.Connection:
        if mode == "ro":
            raise sqlite3.OperationalError("unable to open database file")  # no -shm, and none can be made
        return connect(self, mode)

    monkeypatch.setattr(database, "can_be_written", lambda _: False)
    monkeypatch.setattr(database.Database, "_connect", on_a_medium)
    with Gallery.open(path, create=False) as gallery:
        assert len(gallery.search(unit(3)[0])) == 3
    (path / f"{NAME}-wal").write_bytes(b"not merged")
    with pytest.raises(GalleryError, match=f"its last changes are still in {NAME}-wal: open it once where"):
        Gallery.open(path, create=False)


def test_an_older_schema_is_not_upgraded_where_it_may_not_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(3), records(3))
    with closing(sqlite3.connect(path / NAME)) as db:
        db.execute("PRAGMA user_version = 1")
    monkeypatch.setattr(database, "can_be_written", lambda _: False)
    with pytest.raises(GalleryError, match="made by an older toolkit: open it once where it can be written"):
        Gallery.open(path, create=False)


def test_places_that_are_no_gallery(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with sqlite3.connect(foreign / NAME) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    before = (foreign / NAME).read_bytes()
    for place, match in (
        (file, "is a file: expected a gallery folder"),
        (other, "is not a gallery"),
        (foreign, "SQLite file of another program"),
    ):
        with pytest.raises(GalleryError, match=match):
            Gallery.open(place)
    with pytest.raises(GalleryError, match="no gallery there"):
        Gallery.open(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()
    assert [p.name for p in other.iterdir()] == ["notes.txt"]
    assert (foreign / NAME).read_bytes() == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    Gallery.open(path).close()
    with sqlite3.connect(path / NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(GalleryError, match="newer toolkit"):
        Gallery.open(path)


def test_a_damaged_file_is_named(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(unit(500), records(500))
    content = (path / NAME).read_bytes()
    (path / NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(GalleryError, match="damaged") as caught:
        Gallery.open(path)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnavailableError)
    (path / NAME).write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with pytest.raises(GalleryError, match="damaged"), Gallery.open(path) as gallery:
        gallery.search(unit(1)[0])


def test_a_full_disk_loses_nothing_that_was_acknowledged(path: Path) -> None:
    with Gallery.open(path, dimension=D) as gallery:
        gallery.add(unit(5), records(5))
        gallery._writer._db.execute("PRAGMA max_page_count = 6")
        with pytest.raises(UnavailableError, match="no space left on the disk"):
            gallery.add(unit(2000), records(2000, source="big"))
        assert len(gallery) == 5
        assert gallery.search(unit(5)[3])[0].distance == NEAR_ZERO
        gallery._writer._db.execute("PRAGMA max_page_count = 100000")
        gallery.add(unit(2000), records(2000, source="big"))
        assert len(gallery) == 2005


def test_a_second_writer_waits_and_then_gives_up_by_name(path: Path) -> None:
    with Gallery.open(path, dimension=D, wait=0) as gallery:
        gallery.add(unit(2), records(2))
        other = sqlite3.connect(path / NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another process is writing"):
            gallery.add(unit(2), records(2))
        assert len(gallery.search(unit(1)[0])) == 2  # reading goes on meanwhile
        other.execute("ROLLBACK")
        other.close()
        gallery.add(unit(3), records(3))
        assert len(gallery) == 3


KILLED = """
import os, signal, sys
import numpy as np
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery.local import database
from reid_toolkit.records import Record
eye = np.eye(16, dtype=np.float32)
with Gallery.open(sys.argv[1]) as gallery:
    for i in range(16):
        gallery.add(eye[i : i + 1], [Record(f"t{i}", "a")])
        print(i, flush=True)
        if i == 9:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_outlives_a_kill(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(i) for i in range(10)]
    with Gallery.open(path) as gallery:
        assert sorted(m.record.tracklet for m in gallery.search(np.eye(16)[0], 99)) == sorted(
            f"t{i}" for i in range(10)
        )


def test_an_interrupted_add_is_undone(path: Path) -> None:
    class Interrupting(list[Record]):
        def __getitem__(self, row):  # type: ignore[override]
            if row == 2:
                raise KeyboardInterrupt
            return super().__getitem__(row)

    with Gallery.open(path) as gallery:
        gallery.add(unit(1), records(1))
        with pytest.raises(KeyboardInterrupt):
            gallery.add(unit(3), Interrupting(records(3)))
        assert len(gallery) == 1
        gallery.add(unit(3), records(3))
        assert len(gallery) == 3


def test_the_gallery_imports_no_torch() -> None:
    code = "import sys, reid_toolkit.gallery; print('torch' in sys.modules, 'hnswlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
