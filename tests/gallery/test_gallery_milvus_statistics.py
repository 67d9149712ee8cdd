"""What only Milvus can get wrong about camera statistics: collections beside the gallery's, and who writes to which."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from galleries import ON_SERVER, address_of
from gallery_people import D

pytest.importorskip("pymilvus")

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.milvus import compared as milvus_compared
from reid_toolkit.gallery.milvus import statistics as milvus_statistics
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.compared import Compared
from reid_toolkit.gallery.milvus.gallery import MilvusGallery
from reid_toolkit.gallery.milvus.properties import BUSY, FORMAT, LAST, NEXT, VERSION
from reid_toolkit.gallery.milvus.rows import ALL
from reid_toolkit.gallery.types import Comparison
from reid_toolkit.records import Record

CAMERAS = "abc"
PEOPLE = 16


@pytest.fixture
def where(tmp_path: Path) -> str:
    return address_of("milvus-lite", tmp_path)


@pytest.fixture(params=["milvus-lite", ON_SERVER])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """For what a real server might take in another way."""
    return address_of(request.param, tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_compared, "PAUSES", (0.0,))


def make_site(seed: int = 0) -> tuple[np.ndarray, list[Record]]:
    """People whom three cameras with a bias of their own see once each, in half precision."""
    rng = np.random.default_rng(seed)
    who, bias = rng.normal(size=(PEOPLE, D)), 2 * np.random.default_rng(7).normal(size=(len(CAMERAS), D))
    rows = np.array([who[i] + shift + 0.1 * rng.normal(size=D) for shift in bias for i in range(PEOPLE)])
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return vectors, [Record(f"{seed}-{i}", camera, source="/s") for camera in CAMERAS for i in range(PEOPLE)]


VECTORS, RECORDS = make_site()


def fitted(where: str) -> MilvusGallery:
    """A gallery of the site with statistics of version 1."""
    gallery = MilvusGallery.open(where)
    gallery.add(VECTORS, RECORDS)
    assert gallery.refresh_statistics()
    return gallery


def parts_of(gallery: MilvusGallery) -> list[str]:
    """The names of the collections beside it."""
    name = gallery._collection.address.name
    return sorted(other for other in gallery._collection.names() if other.startswith(f"{name}__"))


def used_by(gallery: MilvusGallery) -> Compared:
    used = gallery._in_use()
    assert used is not None
    return used


def rows_of(collection: Collection) -> dict[str, dict]:
    return {row["id"]: row for page in collection.pages(ALL) for row in page}


def in_step(gallery: MilvusGallery) -> bool:
    """Whether the collection that is searched holds just the gallery's records, as they are to be compared."""
    assert used_by(gallery).collection.count() == len(gallery)
    return used_by(gallery).is_whole()


def answers(gallery: MilvusGallery) -> list:
    return gallery.search_batch(VECTORS[::7], 5, query_cameras=[record.camera for record in RECORDS[::7]])


def test_records_are_kept_as_they_were_and_again_as_they_are_compared(anywhere: str) -> None:
    with fitted(anywhere) as gallery:
        gallery.add(VECTORS[:2], [replace(RECORDS[0], tags=("hat",), thumbnail=b"x"), Record("new", "roof", 1.0, 2.0)])
        used = used_by(gallery)
        kept, compared = rows_of(gallery._collection), rows_of(used.collection)
        assert kept.keys() == compared.keys()
        for key, row in kept.items():
            freed = used.statistics.apply(np.array([row["vector"]], np.float32), [row["camera"]])
            assert (np.array(compared[key]["vector"], np.float32) == freed.astype(np.float16)[0]).all()
            assert {**row, "vector": None} == {**compared[key], "vector": None}
        assert [part.partition("__")[2].rpartition("_")[0] for part in parts_of(gallery)] == [
            "compared_1",
            "statistics_1",
        ]
        with MilvusGallery.open(anywhere) as other:
            assert other.statistics().digest == used.statistics.digest
            assert answers(other) == answers(gallery)


def test_statistics_are_kept_in_pieces(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_compared, "PIECE", 70)
    with fitted(where) as gallery, MilvusGallery.open(where) as other:
        assert other.statistics().dumps() == gallery.statistics().dumps()


def test_a_gallery_of_an_older_toolkit_has_none_and_can_have_some(where: str) -> None:
    with MilvusGallery.open(where) as gallery:
        gallery.add(VECTORS, RECORDS)
        gallery._collection.compact()
        # All that an older toolkit would have written, and no more.
        assert gallery._collection.describe()[1] == {FORMAT: "1"}
    with MilvusGallery.open(where) as gallery:
        assert gallery.statistics() is None
        assert gallery.statistics_version(Comparison()) == 0
        before = answers(gallery)
        assert gallery.search_batch(VECTORS[::7], 5, camera_statistics=False) == before
        gallery.keep_for(1e9)
        assert gallery.refresh_statistics()
        assert gallery.retention == 1e9
        assert answers(gallery) != before


def test_collections_beside_a_gallery_are_no_galleries(where: str) -> None:
    with fitted(where) as gallery:
        for part in parts_of(gallery):
            with pytest.raises(
                GalleryError, match=f"camera statistics of the gallery {gallery._collection.address.name}"
            ):
                MilvusGallery.open(where.rpartition("/")[0] + f"/{part}")


def test_a_gallery_that_is_named_like_a_part_of_another_stays(where: str) -> None:
    other = f"{where}__compared_1_ab"
    with MilvusGallery.open(other) as gallery:
        gallery.add(VECTORS, RECORDS)
    with fitted(where) as gallery:
        assert gallery.refresh_statistics()
    with MilvusGallery.open(other, create=False) as gallery:
        assert len(gallery) == len(RECORDS)


def test_deleting_reaches_both_collections(anywhere: str) -> None:
    with fitted(anywhere) as gallery:
        assert gallery.delete(tracklet=RECORDS[0].tracklet) == 3
        assert gallery.delete_records([RECORDS[1], RECORDS[2], Record("unknown", "a")]) == 2
        assert len(gallery) == len(RECORDS) - 5
        assert in_step(gallery)
        gallery.forget(camera="b")
        assert in_step(gallery)
        assert "b" not in {row["camera"] for row in rows_of(used_by(gallery).collection).values()}


class KilledError(Exception):
    """In place of kill -9."""


def test_what_a_killed_writer_left_in_one_collection_is_not_enrolled_and_can_be_deleted(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Record("new", "a")
    with fitted(where) as gallery, MilvusGallery.open(where) as dying:
        # After the first collection, when it looks for others.
        looks = dying._now

        def die() -> dict[str, str]:
            raise KilledError

        monkeypatch.setattr(dying, "_now", die)
        with pytest.raises(KilledError):
            dying.add(VECTORS[:1], [new])
        assert len(gallery) == len(RECORDS) + 1
        assert gallery.enrolled([new, RECORDS[0]]) == [False, True]
        gallery.add(VECTORS[:1], [new])
        assert gallery.enrolled([new]) == [True]
        assert in_step(gallery)

        dying._collection.delete('tracklet == "new"')
        assert gallery.matching(tracklet="new") == 1
        assert gallery.delete(tracklet="new") == 1
        assert in_step(gallery)
        dying._collection.delete(f'tracklet == "{RECORDS[0].tracklet}"')
        assert gallery.delete_records(RECORDS[:1]) == 1
        assert gallery.delete(tracklet=RECORDS[0].tracklet) == 2
        assert in_step(gallery)
        monkeypatch.setattr(dying, "_now", looks)


@pytest.mark.parametrize("mended_by", ["build_index", "compact", "refresh_statistics"])
def test_what_a_killed_writer_left_is_mended(where: str, mended_by: str) -> None:
    with fitted(where) as gallery:
        used = used_by(gallery)
        used.collection.delete('camera == "a"')
        gallery._collection.delete('camera == "b"')
        used.collection.delete('tracklet == "0-3"')
        assert not used.is_whole()
        assert gallery.check().statistics == "damaged"
        getattr(gallery, mended_by)()
        assert in_step(gallery)
        assert gallery.check().sound
        assert {m.record for m in gallery.search(VECTORS[0], 100)} == {r for r in RECORDS if r.camera != "b"}


def test_two_writers_of_one_record_leave_the_same_in_both(where: str) -> None:
    again, others = Record("both", "a", tags=("late",)), Record("both", "a")
    with fitted(where) as gallery, MilvusGallery.open(where) as quick:
        now = gallery._now
        for change in (
            lambda: quick.add(VECTORS[5:6], [again]),
            lambda: quick.delete(tracklet="both"),
            lambda: quick.delete_records([again]),
        ):
            # The other one is through with it between the two collections of this one.
            gallery._now = lambda change=change: [change(), now()][1]
            gallery.add(VECTORS[:1], [others])
            gallery._now = now
            assert in_step(gallery)
            gallery.add(VECTORS[:1], [others])

        for delete in (lambda: gallery.delete(tracklet="both"), lambda: gallery.delete_records([others])):
            looks = []

            def late(looks: list = looks) -> dict[str, str]:
                looks.append(now())
                if len(looks) == 2:  # once to count, and once to find the versions
                    quick.add(VECTORS[5:6], [again])
                return looks[-1]

            gallery._now = late
            delete()
            gallery._now = now
            assert len(looks) == 2
            assert in_step(gallery)


def test_writers_reach_a_version_that_is_being_filled(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Compared.fill
    others, their_records = make_site(seed=1)
    with fitted(where) as gallery, MilvusGallery.open(where) as writer:

        def fill_slowly(self: Compared, *arguments: object) -> None:
            writer.add(others[:4], their_records[:4])
            writer.delete(tracklet=RECORDS[3].tracklet)
            fill(self, *arguments)
            writer.add(others[4:8], their_records[4:8])
            writer.delete_records(RECORDS[:1])
            self.write([{**row, "id": "0" * 64} for row in rows_of(gallery._collection).values()][:1])  # of nobody

        monkeypatch.setattr(Compared, "fill", fill_slowly)
        assert gallery.refresh_statistics()
        assert used_by(gallery).statistics.version == 2
        assert in_step(gallery)
        assert used_by(writer).statistics.dumps() == used_by(gallery).statistics.dumps()
        # Who learned of it while it was filled goes on with it.
        writer.add(others[8:], their_records[8:])
        assert in_step(gallery)


def test_a_writer_that_looked_before_a_version_was_begun_is_read_by_it(
    anywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, their_records = make_site(seed=1)
    with fitted(anywhere) as gallery, MilvusGallery.open(anywhere) as writer:
        now = writer._now

        def look_and_sleep() -> dict[str, str]:
            about = now()
            assert gallery.refresh_statistics()  # of version 2, and drops the one that was looked at
            return about

        monkeypatch.setattr(writer, "_now", look_and_sleep)
        writer.add(others, their_records)
        monkeypatch.setattr(writer, "_now", now)
        assert in_step(gallery)
        assert set(gallery.enrolled(their_records)) == {True}


def test_readers_of_a_version_that_is_dropped_under_them_answer_by_the_next(
    anywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fitted(anywhere) as gallery, MilvusGallery.open(anywhere) as reader:
        old = answers(reader)
        gallery.add(*make_site(seed=1))
        assert gallery.refresh_statistics()
        assert answers(reader) == answers(gallery) != old
        # And if that happens between a look at the version and the search.
        opened, calls = reader._open, []

        def late(*arguments: object) -> Compared:
            found = opened(*arguments)
            calls.append(found.version)
            if len(calls) == 1:
                gallery.add(*make_site(seed=2))
                assert gallery.refresh_statistics()
            return found

        monkeypatch.setattr(reader, "_open", late)
        assert answers(reader) == answers(gallery)
        assert [version.partition("_")[0] for version in calls[:2]] == ["2", "3"]
        # The first look of a process.
        with MilvusGallery.open(anywhere) as newcomer:
            load = Collection.load

            def drop_first(self: Collection) -> None:
                monkeypatch.setattr(Collection, "load", load)
                assert gallery.refresh_statistics()
                load(self)

            newcomer._is_there()
            monkeypatch.setattr(Collection, "load", drop_first)
            assert newcomer.statistics_version(Comparison()) == 3
            assert newcomer.statistics().version == 4


def refresh_and_die(where: str, whose: type, method: str, times: int) -> None:
    """Make a gallery of the site, and die in its second refresh after this call of ``method``."""
    with fitted(where) as gallery:
        whole, calls = getattr(whose, method), []

        def killed(*arguments: object) -> object:
            calls.append(whole(*arguments))
            if len(calls) == times:
                os.kill(os.getpid(), signal.SIGKILL)
            return calls[-1]

        setattr(whose, method, killed)
        gallery.refresh_statistics()


KillRefresh = Callable[[type, str, int], None]


@pytest.fixture
def kill_refresh(where: str, forked: ForkServerContext) -> KillRefresh:
    """``kill_refresh(whose, method, times)``: a gallery as :func:`refresh_and_die` leaves it.

    All in one process: Milvus Lite stays with the first that opens it.
    """

    def kill(whose: type, method: str, times: int) -> None:
        child = forked.Process(target=refresh_and_die, args=(where, whose, method, times))
        child.start()
        child.join(300)
        assert child.exitcode == -signal.SIGKILL

    return kill


@pytest.mark.parametrize(
    ("whose", "method", "times", "version"),
    [
        (Collection, "set_properties", 2, 1),  # begun
        (Collection, "create", 2, 1),
        (Collection, "set_properties", 3, 1),  # announced
        (Compared, "mend", 1, 1),
        (Collection, "set_properties", 4, 2),  # in use
        (Collection, "drop", 1, 2),  # a half of the version before
    ],
)
def test_a_killed_refresh_leaves_one_version_or_the_other(
    where: str, kill_refresh: KillRefresh, whose: type, method: str, times: int, version: int
) -> None:
    kill_refresh(whose, method, times)
    others, their_records = make_site(seed=1)
    with MilvusGallery.open(where) as gallery:
        assert gallery.statistics_version(Comparison()) == version
        assert gallery.check().sound
        assert in_step(gallery)
        gallery.add(others, their_records)
        gallery.forget(tracklet=RECORDS[0].tracklet)
        assert in_step(gallery)
        assert gallery.refresh_statistics()
        assert gallery.statistics_version(Comparison()) > version
        assert in_step(gallery)
        assert len(parts_of(gallery)) == 2


def test_what_a_killed_refresh_has_announced_is_written_to_and_is_not_used(
    where: str, kill_refresh: KillRefresh
) -> None:
    kill_refresh(Compared, "fill", 1)
    with MilvusGallery.open(where) as gallery:
        about = gallery._now()
        assert about[NEXT] == about[LAST] != about[VERSION]
        left = gallery._open(about[NEXT], about)
        gallery.delete(camera="a")  # what is forgotten is forgotten there too
        assert {row["camera"] for row in rows_of(left.collection).values()} == {"b", "c"}
        assert gallery.statistics_version(Comparison()) == 1
        # Somebody seems to be at it, so it is not due for a while; but whoever asks for it gets it.
        assert float(about[BUSY]) == pytest.approx(time.time(), abs=600)
        assert not gallery.refresh_statistics(if_due=True)
        assert gallery.refresh_statistics()
        assert not gallery._now()[BUSY]


def test_a_refresh_that_fails_takes_back_what_it_made(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fitted(where) as gallery:
        before, kept = answers(gallery), parts_of(gallery)

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Compared, "mend", fail)
        with pytest.raises(KeyboardInterrupt):
            gallery.refresh_statistics()
        assert (answers(gallery), parts_of(gallery)) == (before, kept)
        about = gallery._now()
        assert (about[NEXT], about[BUSY]) == ("", "")


def test_of_two_refreshes_the_later_one_wins(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill, results = Compared.fill, []
    with fitted(where) as gallery, MilvusGallery.open(where) as other:

        def fill_late(self: Compared, *arguments: object) -> None:
            monkeypatch.setattr(Compared, "fill", fill)
            assert not other.refresh_statistics(if_due=True)  # one is at it
            results.append(other.refresh_statistics())
            fill(self, *arguments)

        monkeypatch.setattr(Compared, "fill", fill_late)
        assert not gallery.refresh_statistics()
        assert results == [True]
        assert gallery.statistics_version(Comparison()) == 3
        assert in_step(gallery)
        assert len(parts_of(gallery)) == 2


def test_they_are_not_due_where_the_number_of_records_has_barely_changed(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fitted(where) as gallery:
        gallery.add(VECTORS[:3], [Record(f"new{i}", "a") for i in range(3)])

        def read(*_: object) -> None:
            raise AssertionError("counted all records by camera")

        monkeypatch.setattr(milvus_statistics, "tally", read)
        assert not gallery.refresh_statistics(if_due=True)


def test_the_mean_of_a_small_camera_goes_with_its_last_record(anywhere: str) -> None:
    with MilvusGallery.open(anywhere) as gallery:
        gallery.add(VECTORS, RECORDS)
        others, _ = make_site(seed=1)
        gallery.add(others[:4], [Record(f"few-{i}", "few") for i in range(4)])  # under a tenth
        assert gallery.refresh_statistics()
        assert [one.camera for one in gallery.statistics().cameras] == [*CAMERAS, "few"]
        gallery.forget(tracklet="few-0")
        assert gallery.statistics().version == 1
        gallery.forget(camera="few")
        assert [one.camera for one in gallery.statistics().cameras] == [*CAMERAS]


def test_an_emptied_gallery_for_another_width_has_none(where: str) -> None:
    with fitted(where) as gallery:
        reader = MilvusGallery.open(where)
        assert reader.statistics().version == 1
        for camera in CAMERAS:
            gallery.delete(camera=camera)
        narrow = VECTORS[:, : D // 2] / np.linalg.norm(VECTORS[:, : D // 2], axis=1, keepdims=True)
        gallery.add(narrow, RECORDS)
        assert gallery.statistics() is None
        assert parts_of(gallery) == []
        assert gallery.refresh_statistics()
        assert gallery.statistics().version > 1
        assert len(reader.search(narrow[0], 3)) == 3
        assert in_step(gallery)
        reader.close()


def test_a_refresh_does_not_outlive_the_gallery_that_it_was_begun_for(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = Compared.fill
    with MilvusGallery.open(where, model="one") as gallery:
        gallery.add(VECTORS, RECORDS)

        def fill_late(self: Compared, *arguments: object) -> None:
            fill(self, *arguments)
            with MilvusGallery.open(where) as other:
                for camera in CAMERAS:
                    other.delete(camera=camera)
                other.expect(model="two")
                other.add(VECTORS, RECORDS)

        monkeypatch.setattr(Compared, "fill", fill_late)
        assert not gallery.refresh_statistics()
        assert gallery.statistics() is None
        assert parts_of(gallery) == []


@pytest.mark.parametrize("damage", ["no statistics", "other statistics", "no records"])
def test_damaged_statistics_are_named_passed_by_and_fitted_anew(where: str, damage: str) -> None:
    with fitted(where) as gallery:
        whole, plain = answers(gallery), gallery.search(VECTORS[0], 5, camera_statistics=False)
        kept, compared = (
            milvus_compared.part_of(gallery._collection, kind, used_by(gallery).version)
            for kind in ("statistics", "compared")
        )
        if damage == "other statistics":
            (row,) = rows_of(kept).values()
            kept.upsert([{**row, "thumbnail": row["thumbnail"][:-8] + "AAAAAAA="}])
        else:
            (kept if damage == "no statistics" else compared).drop()
    with MilvusGallery.open(where) as gallery:
        for ask in (lambda: gallery.search(VECTORS[0], 5), gallery.statistics):
            with pytest.raises(GalleryError, match=r"are damaged .* fit them again with `reid gallery cameras milvus"):
                ask()
        assert gallery.search(VECTORS[0], 5, camera_statistics=False) == plain
        report = gallery.check()
        assert (report.statistics, report.sound, report.whole) == ("damaged", False, len(RECORDS))
        assert gallery.info().statistics is None
        gallery.build_index()
        gallery.add(VECTORS[:1], RECORDS[:1])  # writing goes on
        assert gallery.enrolled(RECORDS[:1]) == [True]
        assert gallery.refresh_statistics()
        assert gallery.check().sound
        assert [[m.record for m in one] for one in answers(gallery)] == [[m.record for m in one] for one in whole]


def test_descriptors_that_are_not_what_the_statistics_make_of_them_are_reported(where: str) -> None:
    with fitted(where) as gallery:
        used = used_by(gallery)
        row = next(iter(rows_of(used.collection).values()))
        used.collection.upsert([{**row, "vector": np.roll(row["vector"], 1)}])
        report = gallery.check()
        assert (report.statistics, report.sound, report.damaged) == ("damaged", False, ())


def test_a_name_without_room_for_statistics(where: str) -> None:
    with MilvusGallery.open(where + "x" * (250 - len(where.rpartition("/")[2]))) as gallery:
        gallery.add(VECTORS, RECORDS)
        assert not gallery.refresh_statistics(if_due=True)
        with pytest.raises(GalleryError, match="too long for camera statistics"):
            gallery.refresh_statistics()
        assert len(gallery.search(VECTORS[0], 3)) == 3


@pytest.mark.milvus_server
def test_a_real_server_indexes_what_is_searched(tmp_path: Path) -> None:
    where = address_of("milvus", tmp_path)
    with MilvusGallery.open(where, exact_below=len(RECORDS)) as gallery:
        gallery.add(VECTORS, RECORDS)
        gallery.refresh_statistics()
        exact = answers(gallery)
        index = gallery.info().index
        assert index is not None
        assert index["M"] == 16
        assert used_by(gallery).collection.index()["index_type"] == "HNSW"
        assert gallery._collection.index()["index_type"] == "FLAT"
        gallery.add(VECTORS[:1], RECORDS[:1])
        assert answers(gallery) == exact
        assert gallery.check().index == "whole"
    with MilvusGallery.open(where) as small:
        small.refresh_statistics()
        assert small.info().index is None
    with MilvusGallery.open(where, exact_below=len(RECORDS)) as gallery:
        gallery.build_index()
        assert used_by(gallery).collection.index()["index_type"] == "HNSW"
        assert in_step(gallery)
        with pytest.raises(InputError, match="query has width"):
            gallery.search(np.ones(1, np.float32), 1)
