"""The index is a cache: with it, without it, and with a damaged one, search finds the same."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D, N, make_people

from reid_toolkit.gallery import Filter, Gallery
from reid_toolkit.gallery.digests import text_checksum
from reid_toolkit.gallery.local import index_files as cache
from reid_toolkit.gallery.local import nearest as answering
from reid_toolkit.gallery.local import search as searcher
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.gallery.local.hnsw import Index
from reid_toolkit.records import Record


@pytest.fixture
def queried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every search that went through the graph."""
    seen: list[int] = []
    query = Index.query
    monkeypatch.setattr(Index, "query", lambda self, q, k, mask=None: (seen.append(len(q)), query(self, q, k, mask))[1])
    return seen


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every index that is built from nothing."""
    seen: list[int] = []
    begin = Index.__init__
    monkeypatch.setattr(
        Index, "__init__", lambda self, dimension, room: (seen.append(room), begin(self, dimension, room))[1]
    )
    return seen


def assert_search_is_exact(path: Path, **filters: object) -> None:
    vectors, _ = make_people()
    with Gallery.open(path, exact_below=100) as fast, Gallery.open(path, exact_below=10**9) as exact:
        fast.build_index()
        assert exact._searcher._index is None
        for query in vectors[::20]:
            assert fast.search(query, 10, **filters) == exact.search(query, 10, **filters)


def part_of(path: Path, suffix: str) -> Path:
    (found,) = path.glob(f"index*{suffix}")
    return found


def test_it_finds_what_exact_search_finds(indexed: Path, builds: list[int], queried: list[int]) -> None:
    assert_search_is_exact(indexed)
    assert builds == []
    assert len(queried) == 20


@pytest.mark.parametrize(
    "filters",
    [
        {"cameras": {"a", "b"}},
        {"since": 100.0, "until": 350.0},
        {"cameras": {"a"}, "until": 20.0},
        {"exclude": [Record("t0", "a", source="/s/0"), Record("t21", "b", source="/s/0")]},
        {"cameras": set()},
        {"sources": {"/s"}},
        {"sources": {"/s/1", "/s/2"}, "tags": {"hat"}},
        {"tags": ("hat", "bag")},
        {"tags": ("nobody has it",)},
    ],
)
@pytest.mark.parametrize("exact_rows", [0, 10**9], ids=["graph", "subset"])
def test_filters(indexed: Path, monkeypatch, queried: list[int], filters, exact_rows: int) -> None:
    monkeypatch.setattr(answering, "EXACT_ROWS", exact_rows)
    assert_search_is_exact(indexed, **filters)
    if exact_rows:
        assert queried == []


def test_a_batch_is_each_of_its_queries(indexed: Path, queried: list[int]) -> None:
    vectors, _ = make_people()
    for where in (Filter(), Filter(cameras={"a", "b", "c"})):
        with Gallery.open(indexed, exact_below=100) as gallery:
            together = gallery.search_batch(vectors[:40], 7, where)
            for query, found in zip(vectors[:40], together, strict=True):
                assert found == gallery.search(query, 7, where.cameras)
    assert queried[0] == 40


@pytest.mark.parametrize(("queries", "walked"), [(1, True), (7, True), (8, False), (40, False)])
def test_a_product_of_many_queries_takes_a_larger_subset(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, queried: list[int], queries: int, walked: bool
) -> None:
    vectors, _ = make_people()
    half = Filter(cameras={"a", "b"})
    monkeypatch.setattr(answering, "EXACT_ROWS", 20)  # 200 of 400 pass: 40,000 is between 8,000 and 80,000
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search_batch(vectors[:queries], 5, half)
    assert bool(queried) == walked


def test_a_process_that_asks_once_does_not_read_it(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, queried: list[int]
) -> None:
    monkeypatch.setattr(searcher, "LOAD_AFTER", 3)
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        for query in vectors[:3]:
            gallery.search(query)
        assert queried == []
        gallery.search(vectors[3])
        assert queried == [1]


def test_pages_are_no_reason_to_read_it(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is always searched exactly, so the seconds for reading the index would be for nothing."""
    monkeypatch.setattr(searcher, "LOAD_AFTER", 3)
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        for query in vectors[:10]:
            gallery.search_page(query, 5)
        assert gallery._searcher._index is None
        gallery.search_batch(vectors[:4], 5)
        assert gallery._searcher._index is not None


def test_an_index_that_another_process_made_later_is_found(indexed: Path, queried: list[int]) -> None:
    cache.clear(indexed)
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as early, Gallery.open(indexed, exact_below=100) as maker:
        found = early.search(vectors[0])
        maker.build_index()
        queried.clear()
        assert early.search(vectors[0]) == found
        assert queried == [1]


def test_files_of_others_stay_and_count_for_nothing(indexed: Path) -> None:
    theirs = ["index.html", "index", ".index.html.swp", "index-notes.txt", "index.json.bak", "indexed-2026.rows"]
    ours = ["index.hnsw", "index-01ab.rows", ".index.01ef.partial.json", ".index-01ab.01ef.partial.graph"]
    for name in theirs:
        (indexed / name).write_text("theirs")
    with Gallery.open(indexed, exact_below=100) as gallery:
        assert not gallery.leftover()
        for name in ours:
            (indexed / name).write_text("of a save that was killed, or of an older toolkit")
            assert gallery.leftover()
            gallery.compact()
            assert not gallery.leftover()
        assert gallery.forget(tracklet="t3") == 1
        cache.clear(indexed)
    assert {file.name for file in indexed.iterdir()} == {NAME, *theirs}
    assert {(indexed / name).read_text() for name in theirs} == {"theirs"}


def test_an_interrupted_build_leaves_searches_right(indexed: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    vectors, records = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery, Gallery.open(indexed, exact_below=10**9) as exact:
        gallery.search(vectors[0])
        gallery.add(vectors[:300], records[:300])  # so many dead rows that it is built again, without them
        with pytest.raises(KeyboardInterrupt):
            gallery.build_index(interrupt)
        for query in vectors[::20]:
            assert gallery.search(query) == exact.search(query)


def damage_nothing_left(path: Path) -> None:
    part_of(path, ".graph").unlink()


def damage_truncated(path: Path) -> None:
    os.truncate(part_of(path, ".graph"), 1000)


def damage_empty(path: Path) -> None:
    os.truncate(part_of(path, ".graph"), 0)


def damage_flipped(path: Path) -> None:
    flip(part_of(path, ".graph"))


def damage_rows_gone(path: Path) -> None:
    part_of(path, ".rows").unlink()


def damage_rows_truncated(path: Path) -> None:
    os.truncate(part_of(path, ".rows"), 1000)


def damage_rows_longer(path: Path) -> None:
    with open(part_of(path, ".rows"), "ab") as handle:
        handle.write(b"more")


def damage_rows_flipped(path: Path) -> None:
    flip(part_of(path, ".rows"))


def damage_manifest_gone(path: Path) -> None:
    (path / cache.MANIFEST).unlink()


def damage_manifest_garbage(path: Path) -> None:
    (path / cache.MANIFEST).write_bytes(b"\xff\xfe[")


def damage_manifest_other_shape(path: Path) -> None:
    (path / cache.MANIFEST).write_text("[1]")


def damage_manifest_nested(path: Path) -> None:
    (path / cache.MANIFEST).write_text("[" * 100_000)


def damage_manifest_nested_within(path: Path) -> None:
    text = "[" * 100_000
    (path / cache.MANIFEST).write_text(json.dumps({"about": text, "checksum": text_checksum(text)}))


def damage_manifest_flipped(path: Path) -> None:
    flip(path / cache.MANIFEST)


def damage_other_width(path: Path) -> None:
    rewrite_manifest(path, dimension=8)


def damage_other_metric(path: Path) -> None:
    rewrite_manifest(path, metric="ip")


def damage_other_model(path: Path) -> None:
    rewrite_manifest(path, model="somebody else's")


def damage_older_format(path: Path) -> None:
    rewrite_manifest(path, format=0)


def damage_of_another_gallery(path: Path) -> None:
    vectors, records = make_people(seed=5)
    with Gallery.open(path.parent / "other", exact_below=100) as other:
        other.add(vectors, records)
        other.build_index()
    cache.clear(path)
    for file in (path.parent / "other").glob("index*"):
        shutil.copy(file, path)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def rewrite_manifest(path: Path, **fields: object) -> None:
    text = json.dumps(json.loads(json.loads((path / cache.MANIFEST).read_text())["about"]) | fields)
    (path / cache.MANIFEST).write_text(json.dumps({"about": text, "checksum": text_checksum(text)}))


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_built_again(
    indexed: Path, damage: Callable[[Path], None], builds: list[int], queried: list[int]
) -> None:
    damage(indexed)
    builds.clear()
    queried.clear()
    with Gallery.open(indexed, exact_below=100) as gallery:  # as a search does: it does not build
        assert gallery.search(make_people()[0][0])[0].record.tracklet == "t0"
    assert queried == []
    assert_search_is_exact(indexed)
    assert len(builds) == 1
    assert_search_is_exact(indexed)  # and was saved
    assert len(builds) == 1
    assert len(list(indexed.glob("index*"))) == 3


def restore_the_record(path: Path) -> None:
    """Put back from a copy, with the index that was made since beside it."""
    copy = shutil.copytree(path, path.parent / "copy")
    enrol_and_index(path, seed=1)
    shutil.copy(copy / NAME, path)


def restore_a_record_without_index(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.compact()
    assert not list(path.glob("index*"))
    restore_the_record(path)


def lose_the_end_of_the_log(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(make_people(seed=3, count=8)[0], named("early", 8))
        copy = shutil.copytree(path, path.parent / "copy", ignore=shutil.ignore_patterns("*-shm"))
    enrol_and_index(path, seed=1)
    for file in copy.glob(f"{NAME}*"):
        shutil.copy(file, path)


def take_the_index_of_a_copy(path: Path) -> None:
    copy = shutil.copytree(path, path.parent / "copy")
    enrol_and_index(path, seed=1)
    enrol_and_index(copy, seed=2)
    cache.clear(path)
    for file in copy.glob("index*"):
        shutil.copy(file, path)


def forget_the_token(path: Path) -> None:
    """As older toolkits left it."""
    with Gallery.open(path) as gallery, gallery._writer.writing():
        gallery._writer._db.execute("DELETE FROM meta WHERE key = 'index'")


def enrol_and_index(path: Path, seed: int) -> None:
    with Gallery.open(path, exact_below=100) as gallery:
        gallery.add(make_people(seed, 200)[0], named(f"seed-{seed}", 200))
        gallery.build_index()


def named(name: str, count: int) -> list[Record]:
    return [Record(f"{name}-{i}", "abcd"[i % 4]) for i in range(count)]


STATES = [
    restore_the_record, restore_a_record_without_index, lose_the_end_of_the_log, take_the_index_of_a_copy,
    forget_the_token,
]  # fmt: skip


@pytest.mark.parametrize("enrolled_since", [0, 240])
@pytest.mark.parametrize("bring_about", STATES)
def test_an_index_of_another_state_of_the_record_is_not_believed(
    indexed: Path, queried: list[int], bring_about: Callable[[Path], None], enrolled_since: int
) -> None:
    bring_about(indexed)
    vectors = np.concatenate([make_people(seed)[0][:200:20] for seed in range(4)])
    with Gallery.open(indexed) as gallery:
        if enrolled_since:  # ids pass the last one that the index knows
            gallery.add(make_people(seed=3, count=enrolled_since)[0], named("since", enrolled_since))
        report = gallery.check()
        assert (report.sound, report.index, gallery.info().index) == (True, "stale", None)
    with Gallery.open(indexed, exact_below=100) as fast, Gallery.open(indexed) as exact:
        expected = [exact.search(query) for query in vectors]
        queried.clear()
        assert [fast.search(query) for query in vectors] == expected
        assert (queried, fast.damage) == ([], {})
        fast.build_index()
        queried.clear()
        assert [fast.search(query) for query in vectors] == expected
        assert (len(queried), fast.check().index) == (len(vectors), "whole")


def test_the_index_of_a_copied_folder_is_its_own(indexed: Path, builds: list[int], queried: list[int]) -> None:
    copy = shutil.copytree(indexed, indexed.parent / "copy")
    assert_search_is_exact(copy)
    with Gallery.open(copy, exact_below=100) as gallery:
        assert gallery.check().index == "whole"
    assert (builds, len(queried)) == ([], 20)


@pytest.mark.parametrize("row", [0, 30, 31, 200, N - 1])
def test_descriptors_are_read_and_checked_block_by_block(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(cache, "BLOCK", 31 * 2 * D)  # rows in a block, the last of which is shorter
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.compact()
        vectors = np.concatenate([vectors for _, vectors in gallery.records()])
    about = cache.read_manifest(indexed)
    assert about is not None
    assert len(about.vector_checksums) == 13
    rows = cache.load_rows(indexed, about)
    assert rows is not None
    np.testing.assert_array_equal(rows.vectors, vectors)
    assert cache.whole(indexed, about)
    content = bytearray((indexed / about.rows_name).read_bytes())
    content[len(content) - (N - row) * 2 * D] ^= 1
    (indexed / about.rows_name).write_bytes(content)
    assert cache.load_rows(indexed, about) is None
    assert not cache.whole(indexed, about)


def test_it_follows_additions_replacements_and_deletions(indexed: Path, builds: list[int]) -> None:
    vectors, records = make_people()
    more, _ = make_people(seed=9)
    with Gallery.open(indexed, exact_below=100) as fast, Gallery.open(indexed, exact_below=10**9) as exact:
        fast.search(vectors[0])
        exact.add(more[:150], [Record(f"u{i}", "a") for i in range(150)])
        exact.add(more[150:170], records[:20])
        for query in [*vectors[:40:4], *more[:200:20]]:
            assert fast.search(query) == exact.search(query)
            assert fast.search(query, cameras={"a", "c"}) == exact.search(query, cameras={"a", "c"})
        assert fast._searcher._index.rows == N + 170  # it took them in as it went
        assert exact.delete(camera="b") == 100
        for query in vectors[:40:4]:
            assert fast.search(query) == exact.search(query)
        exact.forget(camera="c")
        exact.add(more[:40], [Record(f"v{i}", "a") for i in range(40)])
        for query in [*vectors[:40:4], *more[:40:4]]:
            assert fast.search(query) == exact.search(query)
    assert builds == []
    assert_search_is_exact(indexed)
    assert len(builds) == 1


def test_new_rows_are_found_before_it_takes_them_in(indexed: Path, monkeypatch, queried: list[int]) -> None:
    monkeypatch.setattr(searcher, "TAKE_IN", 0)
    vectors, _ = make_people()
    more, _ = make_people(seed=9)
    with Gallery.open(indexed, exact_below=100) as fast, Gallery.open(indexed, exact_below=10**9) as exact:
        exact.add(more, [Record(f"u{i}", "abcd"[i % 4]) for i in range(N)])
        exact.delete(tracklet="u7")
        for query in [*vectors[:40:4], *more[:40:4]]:
            assert fast.search(query) == exact.search(query)
            assert fast.search(query, cameras={"a", "c", "d"}) == exact.search(query, cameras={"a", "c", "d"})
    assert len(queried) == 20


def test_mostly_dead_rows_are_a_reason_to_build_again(indexed: Path, builds: list[int]) -> None:
    vectors, records = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search(vectors[0])
        gallery.add(vectors[:300], records[:300])  # all replaced: 300 dead, 400 live
        gallery.search(vectors[0])
        assert builds == []
        gallery.build_index()
        assert len(builds) == 1
    assert_search_is_exact(indexed)
    assert len(builds) == 1


def test_deletions_are_known_after_the_file_is_loaded_again(indexed: Path, builds: list[int]) -> None:
    vectors, records = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.add(vectors[:50], records[:50])
        gallery.add(vectors[:100], [Record(f"u{i}", "a") for i in range(100)])
        gallery.build_index()  # saved with 50 dead rows in it
    assert_search_is_exact(indexed)
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.delete(camera="d")
    assert_search_is_exact(indexed)
    assert builds == []


def test_more_asked_than_there_are(indexed: Path) -> None:
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        assert len(gallery.search(vectors[0], top_k=10_000)) == N
        assert len(gallery.search(vectors[0], top_k=250, cameras={"a"})) == 100
        gallery.delete(camera="b")
        assert len(gallery.search(vectors[0], top_k=256)) == 256
        for camera in "ac":
            gallery.delete(camera=camera)
        assert len(gallery.search(vectors[0], top_k=200)) == 100


def test_a_graph_that_finds_too_few_is_not_believed(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hnswlib raises instead of returning fewer."""
    monkeypatch.setattr(Index, "query", lambda *_: None)
    assert_search_is_exact(indexed)


def test_a_disk_without_room_for_it_only_costs_time(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear(indexed)
    import hnswlib

    class Full(hnswlib.Index):
        """save_index returns normally on a full disk and leaves a short file."""

        def save_index(self, file: str) -> None:
            super().save_index(file)
            os.truncate(file, 500)

    monkeypatch.setattr(hnswlib, "Index", Full)
    assert_search_is_exact(indexed)
    assert not list(indexed.glob("index*"))
    assert not list(indexed.glob(".*"))


def test_progress_of_a_build_is_reported(tmp_path: Path) -> None:
    vectors, records = make_people()
    told: list[tuple[int, int | None]] = []
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index(lambda done, total: told.append((done, total)))
        assert told[-1] == (N, N)
        gallery.add(vectors, [Record(f"u{i}", "a") for i in range(N)])
        gallery.build_index(lambda done, total: told.append((done, total)))
        assert told[-1] == (N - 64, N - 64)  # some were taken in at once
        told.clear()
        gallery.build_index(lambda done, total: told.append((done, total)))
        assert told == []


def test_small_galleries_have_none(tmp_path: Path) -> None:
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.search(vectors[0])
        assert gallery.info().index is None
    assert not list((tmp_path / "g").glob("index*"))


def test_its_recall_is_measured_and_told(indexed: Path) -> None:
    with Gallery.open(indexed) as gallery:
        told = gallery.info().index
    assert told == {"rows": N, "M": 16, "ef_construction": 200, "ef": 256, "recall_at_10": 1.0, "sample": 200}


def test_a_low_recall_widens_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = Index.query
    monkeypatch.setattr(Index, "query", lambda self, q, k, mask=None: query(self, q if self.ef > 600 else -q, k, mask))
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        told = gallery.info().index
    assert (told["ef"], told["recall_at_10"]) == (1024, 1.0)


def test_what_was_erased_while_it_was_built_does_not_come_back_in_it(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear(indexed)
    vectors, _ = make_people()
    secret = vectors[7].astype(np.float16).astype(np.float32).tobytes()
    save = cache.save

    def forget_meanwhile(*arguments: object) -> object:
        about = save(*arguments)
        with Gallery.open(indexed, exact_below=10**9) as other:
            assert other.forget(tracklet="t7") == 1
        save(*arguments)  # as one that was slower and finished writing after the other had cleared
        return about

    monkeypatch.setattr(cache, "save", forget_meanwhile)
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.build_index()
        assert not (indexed / cache.MANIFEST).exists()
        monkeypatch.undo()
        assert "t7" not in {match.record.tracklet for match in gallery.search(vectors[7], 400)}
        gallery.build_index()
        assert not [file.name for file in indexed.iterdir() if secret in file.read_bytes()]


def test_bare_hnswlib_would_have_lied(indexed: Path) -> None:
    """What the checksum is for: hnswlib itself loads a graph whose bytes were changed."""
    import hnswlib

    graph = part_of(indexed, ".graph")
    flip(graph)
    index = hnswlib.Index(space="l2", dim=16)
    index.load_index(str(graph))
    assert index.get_current_count() == N


def test_an_older_gallery_is_brought_up_to_date(tmp_path: Path) -> None:
    vectors, records = make_people()
    path = tmp_path / "old"
    path.mkdir()
    from reid_toolkit.gallery.local import schema

    with sqlite3.connect(path / NAME) as db:
        db.isolation_level = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "STEPS", schema.STEPS[:1])
            schema.migrate(db)
        db.execute("INSERT INTO meta VALUES ('dimension', '16'), ('model', 'm')")
        db.executemany(
            "INSERT INTO record (tracklet, camera, source, start_time, end_time, image, vector)"
            " VALUES (?, ?, ?, ?, ?, '', ?)",
            [
                (r.tracklet, r.camera, r.source, r.start, r.end, v.tobytes())
                for v, r in zip(vectors, records, strict=True)
            ],
        )
    db.close()
    with Gallery.open(path, dimension=16, model="m") as gallery:
        assert len(gallery) == N
        assert gallery.check().sound
        found = gallery.search(vectors[5], 1)[0]
        assert (found.record.tracklet, found.record.tags) == ("t5", ())
        gallery.add(vectors[:1], [Record("new", "a")])
        assert len(gallery) == N + 1


def test_a_row_is_buried_once(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(indexed, exact_below=100) as gallery:
        for _ in range(searcher.LOAD_AFTER + 2):
            gallery.search(make_people()[0][0])
        index = gallery._searcher._index
        assert index is not None
        marked: list[int] = []
        monkeypatch.setattr(index, "_graph", Spy(index._graph, marked))
        for number in range(3):
            gallery.delete_records([make_people()[1][number]])
            gallery.search(make_people()[0][0])
        assert len(marked) == 3


class Spy:
    """A graph that tells which rows it was asked to mark."""

    def __init__(self, graph: object, marked: list[int]) -> None:
        self.graph, self.marked = graph, marked

    def mark_deleted(self, row: int) -> None:
        self.marked.append(int(row))
        self.graph.mark_deleted(row)

    def __getattr__(self, name: str) -> object:
        return getattr(self.graph, name)


def make_twins(count: int = 1500) -> tuple[np.ndarray, list[Record]]:
    """People, and of every five rows one that shows the same black picture or the same logo."""
    vectors, records = make_people(3, count)
    vectors = vectors.copy()
    vectors[::5], vectors[1::10] = vectors[0], vectors[1]
    return vectors, records


def same_distances(found: list, exact: list) -> bool:
    return [match.distance for match in found] == [match.distance for match in exact]


def test_rows_that_are_the_same_are_one_node_and_all_are_found(tmp_path: Path, queried: list[int]) -> None:
    vectors, records = make_twins()
    path = tmp_path / "g"
    for begun in range(3):  # built, read again, and after some were deleted and others added
        with Gallery.open(path, exact_below=100) as fast, Gallery.open(path, exact_below=10**9) as exact:
            if not begun:
                fast.add(vectors[:1000], records[:1000])
                fast.build_index()
                fast.add(vectors[1000:], records[1000:])
            if begun == 2:
                for store in (fast, exact):
                    store.search(vectors[0])
                gone = [record for place, record in enumerate(records[:600]) if place % 3]
                fast.delete_records(gone)
                fast.add(vectors[:60], records[:60])
            for _ in range(searcher.LOAD_AFTER + 1):
                fast.search(vectors[7])
            index = fast._searcher._index
            assert index is not None
            assert index._graph.get_current_count() < 0.75 * index.rows
            queried.clear()
            for query in vectors[:40]:
                for k in (1, 10, 40):
                    for filters in ({}, {"cameras": {"a"}}, {"since": 400.0}):
                        assert fast.search(query, k, **filters) == exact.search(query, k, **filters)
            assert queried
            fast.build_index()


def test_a_picture_that_was_deleted_wherever_it_was_comes_back_with_a_new_row(tmp_path: Path) -> None:
    vectors, records = make_twins(400)
    black = [record for place, record in enumerate(records) if place % 5 == 0]
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.delete_records(black)
        assert gallery.search(vectors[0])[0].distance > 0.01
        gallery.add(vectors[:1], [Record("again", "a")])
        (found, *_) = gallery.search(vectors[0])
        assert (found.record.tracklet, found.distance) == ("again", pytest.approx(0, abs=1e-3))


def test_rows_of_one_distance_count_as_found() -> None:
    vectors = np.repeat(make_people(4, 40)[0], 25, axis=0)
    index = Index(D, len(vectors))
    index.add(vectors)
    index.measure(vectors, np.arange(len(vectors)))
    assert index.recall == 1
    assert index._graph.get_current_count() == 40


def test_an_index_below_its_promise_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queried: list[int], builds: list[int]
) -> None:
    vectors, records = make_people()
    monkeypatch.setattr(Index, "measure", lambda self, vectors, live: setattr(self, "recall", 0.67))
    for begun in range(2):
        with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
            if not begun:
                gallery.add(vectors, records)
            gallery.build_index()
            for query in vectors[: searcher.LOAD_AFTER + 10]:
                gallery.search(query)
            assert gallery.info().index["recall_at_10"] == 0.67
    assert queried == []
    assert len(builds) == 1, "and it is not made again"
