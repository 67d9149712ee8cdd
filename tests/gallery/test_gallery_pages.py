"""Pages and groups, the same tests on every kind of gallery: against one obvious ranking of all there is."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D, make_people
from slow_search import half, slow_search

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Filter, Gallery, GalleryStore, Page, open_gallery
from reid_toolkit.gallery.exact import following
from reid_toolkit.records import Match, Record


def make_crops(seed: int = 0, people: int = 5, cameras: str = "abc", most: int = 9) -> tuple[np.ndarray, list[Record]]:
    """Tracklets of one to ``most`` crops enrolled each, of which some are alike to the last bit; in no order."""
    rng = np.random.default_rng(seed)
    vectors, records = [], []
    for person in range(people):
        middle = rng.normal(size=D)
        for camera in cameras:
            name = f"t{person}"  # of the same name in each camera: another tracklet
            for crop in range(int(rng.integers(1, most + 1))):
                # Half of the people spread wide, so that others come between their crops.
                vectors.append(middle + rng.normal(size=D) * (0.1, 1.0)[person % 2])
                path = f"/set/{camera}/{name}/{crop}.jpg"
                records.append(Record(name, camera, float(crop), float(crop), path, path))
    order = rng.permutation(len(records))
    matrix = np.array(vectors)[order]
    matrix[3:9] = matrix[20]
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix.astype(np.float32), [records[at] for at in order]


def pages(
    gallery: GalleryStore, query: np.ndarray, size: int, where: Filter | None = None, group: str | None = None
) -> Iterator[Page]:
    after = None
    while True:
        page = gallery.search_page(query, size, where, group=group, after=after)
        yield page
        after = page.after
        if after is None:
            return


def records_of(matches: tuple[Match, ...]) -> list[Record]:
    return [match.record for match in matches]


def tracklet(record: Record) -> tuple[str, str]:
    return record.tracklet, record.camera


def first_of_each(ranking: list[Record]) -> list[Record]:
    """Of each tracklet."""
    seen: dict[tuple[str, str], Record] = {}
    for record in ranking:
        seen.setdefault(tracklet(record), record)
    return list(seen.values())


@pytest.mark.parametrize("size", [1, 30, 80])
def test_pages_together_are_the_whole_ranking(where: str, size: int) -> None:
    vectors, records = make_people(count=80)
    vectors[20:60] = vectors[7]  # ties across pages
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors[:50], records[:50])
        gallery.add(vectors[50:], records[50:])
        for given in (Filter(), Filter(cameras=["b", "d"], since=60), Filter(tags=["nobody's"])):
            if size == 1 and given == Filter():
                continue  # 80 searches
            ranking = slow_search(vectors, records, vectors[7], len(records), given)
            shown = list(pages(gallery, vectors[7], size, given))
            found = [match for page in shown for match in page.matches]
            assert records_of(tuple(found)) == ranking
            assert [match.rank for match in found] == list(range(1, len(found) + 1))
            assert [len(page.matches) for page in shown[:-1]] == [size] * (len(shown) - 1)
            assert shown[-1].matches or not ranking  # no page too many
            assert all(page.crops is None for page in shown)
            flat = gallery.search(vectors[7], len(records), given.cameras, given.since, tags=given.tags)
            assert [(m.distance, m.record) for m in flat] == [(m.distance, m.record) for m in found]


@pytest.mark.parametrize("seed", range(2))
def test_one_answer_a_tracklet_is_its_nearest_crop(where: str, seed: int) -> None:
    vectors, records = make_crops(seed)
    query = vectors[20]
    ranking = slow_search(vectors, records, query, len(records), Filter())
    wanted = first_of_each(ranking)
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        for size in (1, 4, 100):
            shown = list(pages(gallery, query, size, group="tracklet"))
            found = [match for page in shown for match in page.matches]
            assert records_of(tuple(found)) == wanted
            assert [match.rank for match in found] == list(range(1, len(wanted) + 1))
            assert [len(page.matches) for page in shown[:-1]] == [size] * (len(shown) - 1)
            for page, following_page in zip(shown, [*shown[1:], None], strict=True):
                end = len(ranking) if following_page is None else ranking.index(following_page.matches[0].record)
                nearer = ranking[:end]
                assert page.crops is not None
                for match, crops in zip(page.matches, page.crops, strict=True):
                    assert records_of(crops) == [r for r in nearer if tracklet(r) == tracklet(match.record)]
                    assert [crop.rank for crop in crops] == list(range(1, len(crops) + 1))
                    assert crops[0].distance == match.distance
        given = Filter(cameras=["b"], since=2, exclude=[records[20]])
        few = [r for r in ranking if r.camera == "b" and r.start >= 2 and r != records[20]]
        page = gallery.search_page(query, 100, given, group="tracklet")
    assert records_of(page.matches) == first_of_each(few)
    assert sum(map(len, page.crops)) == len(few)
    assert page.after is None


def test_tracklets_of_one_name_in_two_datasets_are_two(where: str) -> None:
    vectors, _ = make_people(count=8)
    crops = [Record("t", "a", source=path, image=path) for path in ("/mon/t/1.jpg", "/mon/t/2.jpg", "/tue/t/1.jpg")]
    whole = [Record("t", "a", source=source, image=f"{source}/t/1.jpg") for source in ("/mon", "/tue")]
    bare = [Record("t", "a", source=source) for source in ("x", "y", "")]
    with open_gallery(where) as gallery:
        gallery.add(vectors, [*crops, *whole, *bare])
        page = gallery.search_page(vectors[1], 10, group="tracklet")
    expected = {crops[1]: 2, crops[2]: 1} | dict.fromkeys([*whole, *bare], 1)
    assert {match.record: len(crops) for match, crops in zip(page.matches, page.crops, strict=True)} == expected


def test_the_best_of_each_camera(where: str) -> None:
    vectors, records = make_people(count=80)
    vectors[30:42] = vectors[7]
    query = vectors[7]
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        for given, cameras in ((Filter(), "abcd"), (Filter(cameras=["c", "a", "nobody's"], since=30), "ac")):
            ranking = slow_search(vectors, records, query, len(records), given)
            shown = list(pages(gallery, query, 8, given, group="camera"))
            for camera in cameras:
                wanted = [record for record in ranking if record.camera == camera]
                parts = [[m for m in page.matches if m.record.camera == camera] for page in shown]
                assert [m.record for part in parts for m in part] == wanted
                assert [m.rank for part in parts for m in part] == list(range(1, len(wanted) + 1))
                assert [len(part) for part in parts] == [
                    max(0, min(8, len(wanted) - 8 * number)) for number in range(len(shown))
                ]
            first = [m.record.camera for m in shown[0].matches if m.rank == 1]
            assert first == list(dict.fromkeys(record.camera for record in ranking if record.camera in cameras))
            assert len(shown[-1].matches) > 0


@pytest.mark.parametrize("group", [None, "tracklet", "camera"])
def test_what_is_there_all_along_is_shown_once_whatever_else_comes_and_goes(where: str, group: str | None) -> None:
    vectors, records = make_crops(1)
    query = vectors[20]
    more, others = make_crops(2, people=4)
    others = [Record(f"n{r.tracklet}", r.camera, source=f"{r.source}.new", image=f"{r.source}.new") for r in others]
    # New crops of tracklets that are there too, one of them nearest of all.
    others[0] = Record(records[30].tracklet, records[30].camera, source=f"{records[30].source}.new")
    more[0] = query
    rng = np.random.default_rng(0)
    gone: set[Record] = set()
    shown: list[Record] = []
    after = None
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors, records)
        while True:
            page = gallery.search_page(query, 5, group=group, after=after)
            shown += records_of(page.matches)
            after = page.after
            if after is None:
                break
            if others:
                gallery.add(more[:4], others[:4])
                more, others = more[4:], others[4:]
            # What was shown, the last of it above all, and what was not.
            victims = {shown[-1], *(records[at] for at in rng.integers(0, len(records), 2))}
            gallery.delete_records(list(victims))
            gone |= victims
    assert len(set(shown)) == len(shown)
    stayed = [record for record in records if record not in gone]
    if group == "tracklet":
        names = [(r.tracklet, r.camera, r.source.endswith(".new")) for r in shown]
        assert len(set(names)) == len(names)
        assert {tracklet(r) for r in stayed} <= {tracklet(r) for r in shown}
    else:
        assert set(stayed) <= set(shown)


def test_a_cursor_of_another_search_is_refused(where: str, tmp_path: Path) -> None:
    vectors, records = make_people(count=16)
    given = Filter(cameras=["a", "b"], sources=["/s"], tags=["hat"])
    with open_gallery(where) as gallery, open_gallery(tmp_path / "other") as other:
        gallery.add(vectors, records)
        other.add(vectors, records)
        cursor = gallery.search_page(vectors[0], 1, given).after
        same = Filter(cameras=("b", "a", "a"), sources={"/s"}, tags=("hat",))
        assert len(gallery.search_page(vectors[0], 1, same, after=cursor).matches) == 1
        for call, message in (
            (lambda: gallery.search_page(vectors[1], 1, given, after=cursor), "another query"),
            (lambda: gallery.search_page(vectors[0], 1, after=cursor), "another filter"),
            (lambda: gallery.search_page(vectors[0], 1, given, group="camera", after=cursor), "another grouping"),
            (lambda: other.search_page(vectors[0], 1, given, after=cursor), "another gallery"),
            (lambda: gallery.search_page(vectors[0], 1, given, after=cursor[:-5]), "incomplete"),
            (lambda: gallery.search_page(vectors[0], 1, given, after="ü"), "incomplete"),
            (lambda: gallery.search_page(vectors[0], 1, given, after=""), "incomplete"),
            (lambda: gallery.search_page(vectors[0], 1, given, group="person"), "'tracklet', 'camera'"),
            (lambda: gallery.search_page(vectors[:2], 1, given), "shape"),
            (lambda: gallery.search_page(vectors[0], 0), "top_k"),
            (lambda: gallery.search_page(np.eye(3, dtype=np.float32)[0]), f"width 3: expected {D}"),
        ):
            with pytest.raises(InputError, match=message):
                call()
    with open_gallery(where) as again:  # a cursor outlives the object it was made with
        assert again.search_page(vectors[0], 1, given, after=cursor).matches[0].rank == 2


@pytest.mark.parametrize("group", [None, "tracklet", "camera"])
def test_an_empty_gallery_has_no_pages(where: str, group: str | None) -> None:
    vectors, _ = make_people(count=4)
    with open_gallery(where, dimension=D) as gallery, pytest.raises(GalleryError, match="empty"):
        gallery.search_page(vectors[0], group=group)


def test_a_page_is_exact_where_the_index_would_answer(indexed: Path) -> None:
    """An index that misses somebody must not hide them between two pages."""
    vectors, records = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search(vectors[0])
        index = gallery._searcher._index
        assert index is not None
        index.query = lambda *_: pytest.fail("asked the index")
        found = [m.record for page in pages(gallery, vectors[5], 150) for m in page.matches]
    assert found == slow_search(vectors, records, vectors[5], len(records), Filter())


@pytest.mark.parametrize("seed", range(20))
def test_following_is_the_rest_of_the_ranking(seed: int) -> None:
    """Where products cannot tell the rows apart: all nearly alike, many the same, lengths off as half precision has."""
    rng = np.random.default_rng(seed)
    rows = 1 + 10.0 ** -rng.integers(1, 5) * rng.normal(size=(300, 48))
    rows[rng.integers(0, 300, 60)] = rows[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query, stored = rows[1].astype(np.float32), rows.astype(np.float16).astype(np.float32)
    distances = np.linalg.norm(half(rows) - query.astype(np.float64), axis=1)
    among = np.flatnonzero(rng.random(300) < 0.7) if seed % 2 else None
    order = [int(at) for at in np.lexsort((np.arange(300), distances)) if among is None or at in among]
    for start in (0, 1, len(order) // 2, len(order) - 1):
        after = order[start]
        distance = float(np.sqrt(np.square(stored[after] - query.astype(np.float64)).sum()))
        found, far = following(stored, query, 20, distance, after + 1, among)
        assert np.allclose(far, distances[order[start + 1 : start + 21]], atol=1e-9)
        assert set(found.tolist()).isdisjoint(order[: start + 1])
        assert len(found) == min(20, len(order) - start - 1)
