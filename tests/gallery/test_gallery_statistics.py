"""Camera statistics in a gallery: the same on every kind, by version, and what searches then find."""

import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D
from slow_search import half, passes

from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Filter, Gallery, GalleryStore, open_gallery
from reid_toolkit.gallery.local import index_files as cache
from reid_toolkit.gallery.local import search as searcher
from reid_toolkit.gallery.local import statistics as local_statistics
from reid_toolkit.gallery.statistics import worth_fitting
from reid_toolkit.gallery.transfer import copy
from reid_toolkit.gallery.types import Comparison
from reid_toolkit.records import Record

CAMERAS = "abc"
PLAIN = Comparison(camera_statistics=False)


def make_site(people: int = 30, seed: int = 0) -> tuple[np.ndarray, list[Record]]:
    """People whom three cameras see once each; the cameras' bias is larger than what tells people apart."""
    rng = np.random.default_rng(seed)
    bias = 2 * np.random.default_rng(7).normal(size=(len(CAMERAS), D))
    who = rng.normal(size=(people, D))
    rows = [who[i] + bias[c] + 0.1 * rng.normal(size=D) for c in range(len(CAMERAS)) for i in range(people)]
    vectors = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    records = [
        Record(f"s{seed}-{i}", camera, 1.0 * i, 2.0 * i, f"/s/{i % 3}")
        for camera in CAMERAS
        for i in range(people)
    ]  # fmt: skip
    # As a gallery keeps them, so that they come back as they are.
    return vectors.astype(np.float16).astype(np.float32), records


def slow(
    vectors: np.ndarray, records: list[Record], query: np.ndarray, camera: str | None, k: int, given: Filter, statistics
) -> list[tuple[Record, float]]:
    """What a search finds by definition: all distances of freed descriptors, sorted."""
    query = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    rows = half(vectors)
    if statistics is not None:
        rows = half(statistics.apply(vectors, [record.camera for record in records]))
        query = statistics.apply(query[None].astype(np.float32), [camera])[0].astype(np.float64)
    distances = np.linalg.norm(rows - query, axis=1)
    found = [at for at in np.lexsort((np.arange(len(rows)), distances.round(7))) if passes(records[at], given)]
    return [(records[at], float(distances[at])) for at in found[:k]]


def same(found: list, expected: list[tuple[Record, float]]) -> None:
    assert [match.record for match in found] == [record for record, _ in expected]
    assert [match.distance for match in found] == pytest.approx([distance for _, distance in expected], abs=1e-6)


def right_at_once(gallery: GalleryStore, vectors: np.ndarray, records: list[Record], **how: object) -> float:
    """The share of queries whose nearest record in any camera, but for itself, is the same person."""
    hits = 0
    for vector, record in zip(vectors, records, strict=True):
        asked = {"query_camera": record.camera} | how
        (best,) = gallery.search(vector, 1, exclude=[record], **asked)
        hits += best.record.tracklet == record.tracklet
    return hits / len(records)


@pytest.fixture
def site() -> tuple[np.ndarray, list[Record]]:
    return make_site()


def test_searches_are_the_slow_search_with_statistics_and_without(where: str, site) -> None:
    vectors, records = site
    filters = (Filter(), Filter(cameras=["b", "c"]), Filter(since=20, until=40), Filter(exclude=records[:3]))
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors[:70], records[:70])
        assert gallery.refresh_statistics()
        gallery.add(vectors[70:], records[70:])  # compared by the statistics that are there
        statistics = gallery.statistics()
        assert statistics is not None
        assert statistics.records == 70
        for at in (0, 40, 80):
            for camera in (records[at].camera, None, "roof"):
                for given in filters:
                    where_and_how = {"query_camera": camera, "sources": given.sources, "exclude": given.exclude}
                    found = gallery.search(vectors[at], 5, given.cameras, given.since, given.until, **where_and_how)
                    same(found, slow(vectors, records, vectors[at], camera, 5, given, statistics))
                    found = gallery.search(
                        vectors[at], 5, given.cameras, given.since, given.until, **where_and_how,
                        camera_statistics=False,
                    )  # fmt: skip
                    same(found, slow(vectors, records, vectors[at], camera, 5, given, None))
        batch = [0, 40, 80]
        answers = gallery.search_batch(vectors[batch], 4, query_cameras=["a", None, "c"])
        for at, camera, found in zip(batch, ["a", None, "c"], answers, strict=True):
            same(found, slow(vectors, records, vectors[at], camera, 4, Filter(), statistics))


def test_people_are_found_across_cameras(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        before = right_at_once(gallery, vectors, records)
        assert gallery.refresh_statistics()
        assert right_at_once(gallery, vectors, records, camera_statistics=False) == before < 0.2
        assert right_at_once(gallery, vectors, records) > 0.9


def test_records_stay_as_they_were_enrolled(where: str, site) -> None:
    vectors, records = site

    def held(gallery: GalleryStore) -> dict[Record, bytes]:
        return {r: v.tobytes() for rs, vs in gallery.records() for r, v in zip(rs, vs, strict=True)}

    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        before = held(gallery)
        gallery.refresh_statistics()
        assert held(gallery) == before
        gallery.add(vectors[:1], records[:1])
        gallery.compact()
        assert held(gallery) == before


def test_nothing_is_fitted_unless_asked(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        assert gallery.statistics() is None
        assert not gallery.refresh_statistics()  # of nothing
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.compact()
        assert gallery.statistics() is None
        assert gallery.info().statistics is None
        assert gallery.check().statistics == "none"
        assert gallery.statistics_version(Comparison()) == 0


def test_they_are_due_when_a_camera_has_doubled_or_halved(where: str, site) -> None:
    vectors, records = site
    few = [i for i, record in enumerate(records) if record.camera == "a" or int(record.tracklet[3:]) < 12]
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors[few], [records[i] for i in few])
        assert gallery.refresh_statistics(if_due=True)
        assert not gallery.refresh_statistics(if_due=True)
        first = gallery.statistics()
        more = [i for i in range(len(records)) if i not in few and int(records[i].tracklet[3:]) < 20]
        gallery.add(vectors[more], [records[i] for i in more])  # b and c: 20 of 12
        assert not gallery.refresh_statistics(if_due=True)
        gallery.add(vectors, records)
        assert gallery.refresh_statistics(if_due=True)
        second = gallery.statistics()
        assert first is not None
        assert second is not None
        assert second.version > first.version
        assert second.digest != first.digest
        assert second.records == len(records)
        gallery.delete(camera="a")
        assert gallery.refresh_statistics(if_due=True)
        third = gallery.statistics()
        assert third is not None
        assert not third.knows("a")


def test_what_makes_another_fit_worth_it() -> None:
    assert not worth_fitting({}, {})
    assert not worth_fitting({}, {"a": 9})
    assert worth_fitting({}, {"a": 10})
    assert not worth_fitting({}, {"": 10_000})  # without a camera
    assert not worth_fitting({"a": 100}, {"a": 199})
    assert worth_fitting({"a": 100}, {"a": 200})
    assert not worth_fitting({"a": 100}, {"a": 51})
    assert worth_fitting({"a": 100}, {"a": 50})
    assert worth_fitting({"a": 100}, {})
    assert worth_fitting({"a": 100}, {"a": 100, "b": 10})
    # One small camera does not cost a large gallery its index; several together do, and so does a twentieth.
    assert not worth_fitting({"a": 1000}, {"a": 1000, "b": 10})
    assert worth_fitting({"a": 1000}, {"a": 1000, "b": 53})
    assert worth_fitting({"a": 1000}, {"a": 1000} | {f"{i}": 11 for i in range(5)})
    # A camera that is gone takes its mean with it, however small it was.
    assert worth_fitting({"a": 1000, "b": 9}, {"a": 1000})
    assert not worth_fitting({"a": 1000, "": 9}, {"a": 1000})


@pytest.mark.parametrize("cameras", ["one", "each its own", "none", "a few tracklets", "one person"])
def test_too_little_changes_nothing(where: str, site, cameras: str) -> None:
    vectors, records = site
    if cameras == "one":
        records = [replace(record, camera="a", source=record.camera) for record in records]
    elif cameras == "each its own":
        records = [replace(record, camera=f"{i}") for i, record in enumerate(records)]
    elif cameras == "none":
        records = [replace(record, camera="", source=record.camera) for record in records]
    elif cameras == "a few tracklets":
        keep = [i for i, record in enumerate(records) if record.camera == "a" or int(record.tracklet[3:]) < 9]
        vectors, records = vectors[keep], [records[i] for i in keep]
    else:
        # Beside camera a, the others show one person only, again and again.
        rng = np.random.default_rng(0)
        for place in np.flatnonzero([record.camera != "a" for record in records]):
            row = vectors[-1] + 0.01 * rng.normal(size=D)
            vectors[place] = (row / np.linalg.norm(row)).astype(np.float16)
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        before = gallery.search_batch(vectors[::9], 5, query_cameras=[r.camera for r in records[::9]])
        assert not gallery.refresh_statistics(if_due=True)
        assert not gallery.refresh_statistics()
        assert gallery.statistics() is None
        assert gallery.search_batch(vectors[::9], 5, query_cameras=[r.camera for r in records[::9]]) == before


def test_crops_of_a_tracklet_count_once(where: str, site) -> None:
    vectors, records = site
    crops = [
        replace(record, source=f"/set/{record.camera}/{i}-{n}.jpg", image=f"/set/{record.camera}/{i}-{n}.jpg")
        for i, record in enumerate(records)
        for n in range(1 + i % 3)
    ]
    rows = np.repeat(vectors, [1 + i % 3 for i in range(len(records))], axis=0)
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(rows, crops)
        gallery.refresh_statistics()
        found = gallery.statistics()
    expected = fit_camera_statistics(rows, [c.camera for c in crops], [c.tracklet for c in crops])
    assert found is not None
    assert expected is not None
    assert [(one.records, one.tracklets) for one in found.cameras] == [(60, 30)] * 3
    np.testing.assert_allclose(found.means, expected.means, atol=1e-6)
    np.testing.assert_allclose(found.scales, expected.scales, atol=1e-5)


def test_a_record_without_a_camera_is_compared_by_those_of_all(where: str, site) -> None:
    vectors, records = site
    records = [replace(records[0], camera=""), *records[1:]]
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        statistics = gallery.statistics()
        assert statistics is not None
        assert [one.records for one in statistics.cameras] == [29, 30, 30]
        same(
            gallery.search(vectors[0], 5),
            slow(vectors, records, vectors[0], None, 5, Filter(), statistics),
        )
        assert gallery.search(vectors[0], 1)[0].distance < 1e-3


def test_cursors_are_of_one_version_and_one_query_camera(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        plain = gallery.search_page(vectors[0], 7, camera_statistics=False)
        of_none = gallery.search_page(vectors[0], 7, query_camera="a")
        # Without statistics the query's camera changes nothing.
        assert gallery.search_page(vectors[0], 7, query_camera="b", after=of_none.after).matches
        gallery.refresh_statistics()
        with pytest.raises(InputError, match="other camera statistics"):
            gallery.search_page(vectors[0], 7, query_camera="a", after=of_none.after)
        first = gallery.search_page(vectors[0], 7, query_camera="a")
        for wrong in ({"query_camera": "b"}, {"query_camera": "a", "camera_statistics": False}, {}):
            with pytest.raises(InputError, match="other camera statistics or for another query camera"):
                gallery.search_page(vectors[0], 7, after=first.after, **wrong)
        seen = list(first.matches)
        page = first
        while page.after:
            page = gallery.search_page(vectors[0], 7, query_camera="a", after=page.after)
            seen += page.matches
        assert seen == gallery.search(vectors[0], len(records), query_camera="a")
        by_camera = gallery.search_page(vectors[0], 2, group="camera", query_camera="a")
        for camera in CAMERAS:
            part = [match.record for match in by_camera.matches if match.record.camera == camera]
            assert part == [m.record for m in gallery.search(vectors[0], 2, [camera], query_camera="a")]
        gallery.refresh_statistics()
        with pytest.raises(InputError, match="other camera statistics"):
            gallery.search_page(vectors[0], 7, query_camera="a", after=first.after)
        assert gallery.search_page(vectors[0], 7, camera_statistics=False, after=plain.after).matches


def test_queries_need_a_camera_each(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        for wrong in (["a"], "ab", ["a", "b", "c"]):
            with pytest.raises(InputError, match="query_cameras is"):
                gallery.search_batch(vectors[:2], 3, query_cameras=wrong)


def test_deleting_and_replacing_reach_what_is_compared(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        gallery.delete(tracklet=records[0].tracklet)
        gallery.delete_records([records[1]])
        gone = {records[0].tracklet}
        left = [record for record in records[2:] if record.tracklet not in gone]
        assert {m.record for m in gallery.search(vectors[0], 200)} == set(left)
        gallery.add(vectors[5:6], [records[2]])  # another picture of it
        found = gallery.search(vectors[5], 2, query_camera="a")
        assert {m.record for m in found} == {records[2], records[5]}
        assert max(m.distance for m in found) < 1e-3
        gallery.forget(camera="b")
        assert all(m.record.camera != "b" for m in gallery.search(vectors[0], 200))


def test_an_emptied_gallery_for_another_model_has_no_statistics(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D, model="one") as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        statistics = gallery.statistics()
        assert statistics is not None
        assert statistics.model == "one"
        for camera in CAMERAS:
            gallery.delete(camera=camera)
    with open_gallery(where, dimension=D, model="two") as gallery:
        gallery.add(vectors, records)
        assert gallery.statistics() is None
        same(gallery.search(vectors[0], 4), slow(vectors, records, vectors[0], None, 4, Filter(), None))
        gallery.refresh_statistics()
        second = gallery.statistics()
        assert second is not None
        assert (second.model, second.version > statistics.version) == ("two", True)


def test_a_version_without_statistics_counts_as_none(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        gallery.delete(camera="b")
        gallery.delete(camera="c")
        gallery.refresh_statistics()
        assert gallery.statistics_version(Comparison()) == 0
        page = gallery.search_page(vectors[0], 3, query_camera="a")
        assert page.statistics_version == 0
        # So it is the same search as one without, and from whatever camera.
        assert gallery.search_page(vectors[0], 3, camera_statistics=False, after=page.after).matches


def test_a_page_says_by_which_version_it_was_compared(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        assert gallery.search_page(vectors[0]).statistics_version == 0
        gallery.refresh_statistics()
        statistics = gallery.statistics()
        assert statistics is not None
        assert gallery.search_page(vectors[0]).statistics_version == statistics.version
        assert gallery.search_page(vectors[0], camera_statistics=False).statistics_version == 0


def test_info_and_check_tell_of_them(where: str, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        statistics, about = gallery.statistics(), gallery.info().statistics
        assert statistics is not None
        assert about == {
            "version": statistics.version, "newest": statistics.version, "fitted": statistics.fitted, "cameras": 3,
            "digest": statistics.digest,
        }  # fmt: skip
        report = gallery.check()
        assert (report.statistics, report.sound) == ("whole", True)
        gallery.delete(camera="a")
        gallery.delete(camera="b")
        assert gallery.refresh_statistics()
        assert gallery.statistics() is None
        assert gallery.info().statistics is None


def test_each_side_of_a_copy_has_its_own(where: str, tmp_path: Path, site) -> None:
    vectors, records = site
    with open_gallery(where, dimension=D, model="m") as source, Gallery.open(tmp_path / "copy") as target:
        source.add(vectors, records)
        copy(source, target)
        assert target.statistics() is not None  # as due as anywhere
        assert source.statistics() is None
        source.refresh_statistics()
        asked = {"query_camera": "b"}
        theirs, ours = source.search(vectors[40], 9, **asked), target.search(vectors[40], 9, **asked)
        assert [m.record for m in theirs] == [m.record for m in ours]
        assert [m.distance for m in theirs] == pytest.approx([m.distance for m in ours], abs=1e-6)


# ---- what is special to the gallery in a folder: the index, its file, other processes


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray, list[Record]]:
    """A gallery with statistics of version 1 and an index over what they compare."""
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    vectors, records = make_site(100)
    with Gallery.open(tmp_path / "g", D, exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.refresh_statistics()
        gallery.build_index()
    return tmp_path / "g", vectors, records


def answers_of(gallery: Gallery, vectors: np.ndarray) -> list:
    return [gallery.search(vector, 10, query_camera="a") for vector in vectors]


def test_the_index_is_over_what_is_compared(large) -> None:
    path, vectors, records = large
    with Gallery.open(path, exact_below=100) as gallery, Gallery.open(path, exact_below=10**9) as exact:
        for _ in range(2):  # the second search asks the graph
            found = answers_of(gallery, vectors[:20])
        assert gallery._searcher._index is not None
        assert found == answers_of(exact, vectors[:20])
        same(found[3], slow(vectors, records, vectors[3], "a", 10, Filter(), gallery.statistics()))
        assert gallery.search(vectors[0], 5, camera_statistics=False) == exact.search(
            vectors[0], 5, camera_statistics=False
        )


def test_an_index_of_an_older_version_answers_as_before_until_it_is_built_anew(large) -> None:
    path, vectors, records = large
    others, their_records = make_site(60, seed=1)
    with Gallery.open(path, exact_below=100) as reader, Gallery.open(path, exact_below=100) as writer:
        first = reader.statistics()
        reader.search(vectors[0])
        page = reader.search_page(vectors[0], 5, query_camera="a")
        writer.add(others, their_records)
        assert writer.refresh_statistics()
        everything, everyone = np.concatenate([vectors, others]), records + their_records
        with Gallery.open(path, exact_below=100) as late:
            for gallery in (reader, writer, late):
                assert gallery.statistics_version(Comparison()) == 1
                held, about = gallery.statistics(), gallery.info().statistics
                assert held is not None
                assert first is not None
                assert held.digest == first.digest
                assert about is not None
                assert (about["version"], about["newest"]) == (1, 2)
                for _ in range(2):  # what is new is compared by the old version as well
                    found = gallery.search(others[0], 10, query_camera="a")
                    same(found, slow(everything, everyone, others[0], "a", 10, Filter(), first))
                assert gallery.search_page(vectors[0], 5, query_camera="a", after=page.after).matches
        writer.build_index()
        with Gallery.open(path, exact_below=100) as late, Gallery.open(path, exact_below=10**9) as exact:
            second = late.statistics()
            assert second is not None
            for gallery in (reader, writer, late, exact):
                for _ in range(2):
                    found = gallery.search(others[0], 10, query_camera="a")
                    same(found, slow(everything, everyone, others[0], "a", 10, Filter(), second))
                assert gallery.statistics_version(Comparison()) == 2
                with pytest.raises(InputError, match="other camera statistics"):
                    gallery.search_page(vectors[0], 5, query_camera="a", after=page.after)
            assert late._searcher._index is not None
            assert second.version == 2
    assert versions_kept(path) == [2]


def versions_kept(path: Path) -> list[int]:
    with sqlite3.connect(path / "gallery.sqlite") as file:
        return [row[0] for row in file.execute("SELECT version FROM camera_statistics ORDER BY version")]


def test_old_versions_are_kept_only_for_an_index(large) -> None:
    path, _, _ = large
    with Gallery.open(path, exact_below=100) as gallery:
        for _ in range(3):
            gallery.refresh_statistics()
        assert versions_kept(path) == [1, 4]
        gallery.compact()
        assert versions_kept(path) == [4]
        assert gallery.statistics_version(Comparison()) == 4


def test_an_index_of_before_all_statistics_answers_plainly_until_it_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    vectors, records = make_site(100)
    with Gallery.open(tmp_path / "g", D, exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.refresh_statistics()
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        assert gallery.statistics() is None
        same(gallery.search(vectors[0], 5), slow(vectors, records, vectors[0], None, 5, Filter(), None))
        gallery.build_index()
        found = gallery.search(vectors[0], 5, query_camera="a")
        same(found, slow(vectors, records, vectors[0], "a", 5, Filter(), gallery.statistics()))


@pytest.mark.parametrize("gone", ["rows", "graph"])
def test_half_of_an_older_index_is_none(large, gone: str) -> None:
    """As somebody leaves it who is killed while they remove it: searches and what is said of them are by the newest."""
    path, vectors, records = large
    others, their_records = make_site(60, seed=1)
    with Gallery.open(path, exact_below=100) as writer:
        writer.add(others, their_records)
        assert writer.refresh_statistics()
    for file in path.glob(f"index-*.{gone}"):
        file.unlink()
    everything, everyone = np.concatenate([vectors, others]), records + their_records
    with Gallery.open(path, exact_below=100) as late:
        said = late.statistics()
        assert said is not None
        assert late.statistics_version(Comparison()) == said.version == 2
        found = late.search(others[0], 10, query_camera="a")
        same(found, slow(everything, everyone, others[0], "a", 10, Filter(), said))


def test_an_index_of_an_older_version_never_replaces_a_newer_one(large, monkeypatch: pytest.MonkeyPatch) -> None:
    path, vectors, _ = large
    with Gallery.open(path, exact_below=100) as slower, Gallery.open(path, exact_below=100) as faster:
        slower.refresh_statistics()  # version 2
        save = cache.save

        def overtaken(*arguments: object) -> object:
            about = save(*arguments)  # of version 2, not published yet
            monkeypatch.setattr(cache, "save", save)
            faster.refresh_statistics()
            faster.build_index()
            return about

        monkeypatch.setattr(cache, "save", overtaken)
        slower.build_index()
        with Gallery.open(path, exact_below=100) as late:
            assert late.statistics_version(Comparison()) == 3
            for gallery in (slower, faster, late):
                for _ in range(2):
                    assert gallery.search(vectors[0], 5, query_camera="a") == late.search(
                        vectors[0], 5, query_camera="a"
                    )
            assert late._searcher._index is not None
    assert len(list(path.glob("index*"))) == 3, "the files of the older one are gone"


def test_an_index_whose_statistics_were_dropped_meanwhile_is_not_published(
    large, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, vectors, _ = large
    with Gallery.open(path, exact_below=100) as builder, Gallery.open(path, exact_below=100) as other:
        before = answers_of(other, vectors[:5])
        builder.refresh_statistics()
        save = cache.save

        def overtaken(*arguments: object) -> object:
            about = save(*arguments)
            other.refresh_statistics()  # keeps 3 and the index's 1, and drops 2
            return about

        monkeypatch.setattr(cache, "save", overtaken)
        builder.build_index()
        monkeypatch.setattr(cache, "save", save)
        with Gallery.open(path, exact_below=100) as late:
            assert late.statistics_version(Comparison()) == 1
            assert answers_of(late, vectors[:5]) == before
            late.build_index()
            assert late.statistics_version(Comparison()) == 3
        assert versions_kept(path) == [3]


def test_a_fit_that_another_has_overtaken_is_done_again(large, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = large
    others, their_records = make_site(60, seed=1)
    with Gallery.open(path, exact_below=100) as slower, Gallery.open(path, exact_below=100) as faster:
        fit = local_statistics._fit

        def overtaken(*arguments: object) -> object:
            found = fit(*arguments)
            monkeypatch.setattr(local_statistics, "_fit", fit)
            faster.add(others, their_records)
            faster.refresh_statistics()
            return found

        monkeypatch.setattr(local_statistics, "_fit", overtaken)
        assert slower.refresh_statistics()
        slower.build_index()
        statistics = slower.statistics()
        assert statistics is not None
        assert (statistics.version, statistics.records) == (3, 300 + 180)


def test_searches_beside_a_refresh_are_of_one_version_or_the_other(large) -> None:
    path, vectors, _ = large
    others, their_records = make_site(60, seed=1)
    found: list[list] = []
    stop = threading.Event()
    with Gallery.open(path, exact_below=100) as gallery:
        gallery.add(others, their_records)
        before = gallery.search(vectors[0], 10, query_camera="a")

        def search() -> None:
            while not stop.is_set():
                found.append(gallery.search(vectors[0], 10, query_camera="a"))

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            gallery.refresh_statistics()
            gallery.build_index()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        after = gallery.search(vectors[0], 10, query_camera="a")
    assert before != after
    assert found
    assert all(one in (before, after) for one in found)


KILLED_IN_REFRESH = """
import os, signal, sys
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.record_table import RecordTable
put = RecordTable.{method}
def killed(self, *arguments):
    {order}
    os.kill(os.getpid(), signal.SIGKILL)
RecordTable.{method} = killed
with Gallery.open(sys.argv[1], exact_below=100) as gallery:
    gallery.refresh_statistics()
"""


@pytest.mark.parametrize(
    ("method", "order"),
    [
        ("scan", "pass"),
        ("put_statistics", "pass"),
        ("put_statistics", "put(self, *arguments)"),
        ("drop_statistics", "put(self, *arguments)"),
        ("log", "put(self, *arguments)"),
    ],
)
def test_a_killed_refresh_leaves_the_version_before(large, method: str, order: str) -> None:
    path, vectors, _ = large
    with Gallery.open(path, exact_below=100) as gallery:
        before = answers_of(gallery, vectors[::30])
    code = KILLED_IN_REFRESH.format(method=method, order=order)
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Gallery.open(path, exact_below=100) as gallery:
        assert gallery.statistics_version(Comparison()) == 1
        assert gallery.info().statistics["newest"] == 1
        assert answers_of(gallery, vectors[::30]) == before
        assert gallery.refresh_statistics()
        gallery.build_index()
        assert gallery.statistics_version(Comparison()) == 2


def test_damaged_statistics_are_named_passed_by_and_fitted_anew(tmp_path: Path, site) -> None:
    vectors, records = site
    path = tmp_path / "g"
    with Gallery.open(path, D) as gallery:
        gallery.add(vectors, records)
        plain = gallery.search(vectors[0], 5)
        gallery.refresh_statistics()
        whole = gallery.search(vectors[0], 5, query_camera="a")
    for damage in (
        "UPDATE camera_statistics SET content = substr(content, 1, length(content) - 1) || x'77'",
        "UPDATE camera_statistics SET content = 'text'",
        "DELETE FROM camera_statistics",
    ):
        with sqlite3.connect(path / "gallery.sqlite") as file:
            file.execute(damage)
        with Gallery.open(path) as gallery:
            with pytest.raises(GalleryError, match="fit them again with `reid gallery cameras"):
                gallery.search(vectors[0], 5)
            assert gallery.search(vectors[0], 5, camera_statistics=False) == plain
            report = gallery.check()
            assert (report.statistics, report.sound, report.whole) == ("damaged", False, len(records))
            assert gallery.info().count == len(records)
            assert gallery.refresh_statistics()
            assert gallery.search(vectors[0], 5, query_camera="a") == whole


def test_an_index_of_damaged_statistics_is_not_used(large) -> None:
    path, vectors, records = large
    with sqlite3.connect(path / "gallery.sqlite") as file:
        file.execute("UPDATE camera_statistics SET content = x'00'")
    with Gallery.open(path, exact_below=100) as gallery:
        with pytest.raises(GalleryError, match="fit them again"):
            gallery.search(vectors[0], 5)
        assert gallery.refresh_statistics()
        found = gallery.search(vectors[0], 5, query_camera="a")
        same(found, slow(vectors, records, vectors[0], "a", 5, Filter(), gallery.statistics()))
        gallery.build_index()
        assert gallery.search(vectors[0], 5, query_camera="a") == found


def test_a_gallery_of_an_older_toolkit_opens_and_can_be_fitted(tmp_path: Path, site) -> None:
    vectors, records = site
    path = tmp_path / "g"
    with Gallery.open(path, D) as gallery:
        gallery.add(vectors, records)
        plain = gallery.search(vectors[0], 5)
    with sqlite3.connect(path / "gallery.sqlite") as file:
        file.execute("PRAGMA user_version = 3")  # the last one that knew of no statistics
    with Gallery.open(path) as gallery:
        assert gallery.statistics() is None
        assert gallery.search(vectors[0], 5) == plain
        assert gallery.refresh_statistics()
        assert gallery.search(vectors[0], 5) != plain


def test_the_audit_log_knows_the_version_and_the_query_camera(tmp_path: Path, site) -> None:
    vectors, records = site
    with Gallery.open(tmp_path / "g", D) as gallery:
        gallery.add(vectors, records)
        gallery.switch_audit(True)
        gallery.search(vectors[0], 2)
        gallery.refresh_statistics()
        gallery.search(vectors[0], 2, query_camera="a")
        gallery.search(vectors[0], 2, query_camera="a", camera_statistics=False)
        gallery.search_page(vectors[0], 2, query_camera="b")
        events = gallery.audit_log()
    told = [(e["camera_statistics"], e["query_camera"]) for e in events if e["action"] == "search"]
    assert told == [(0, None), (1, "a"), (0, "a"), (1, "b")]
    assert [e["version"] for e in events if e["action"] == "camera statistics"] == [1]
