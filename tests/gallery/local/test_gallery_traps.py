"""hnswlib's ways to crash or to lie, each shown, and that none is reached through a gallery with an index.

More of them elsewhere: full disk, truncated and foreign files (test_gallery_index), changed bytes
(test_gallery_damage), a kill while it saves (test_gallery_kill), changes during a query (test_gallery_concurrency).
"""

import shutil
from dataclasses import replace
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from gallery_people import D, N, make_people

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Filter, Gallery
from reid_toolkit.gallery.local import index_files as cache
from reid_toolkit.gallery.local.hnsw import EF, Index
from reid_toolkit.records import Record


def bare(count: int = N) -> hnswlib.Index:
    graph = hnswlib.Index(space="l2", dim=D)
    graph.init_index(max_elements=count, random_seed=1)
    graph.add_items(make_people()[0][:count])
    return graph


def test_its_default_ef_is_ten_and_is_not_saved(indexed: Path) -> None:
    graph = bare()
    graph.set_ef(300)
    graph.save_index(str(indexed / "bare"))
    again = hnswlib.Index(space="l2", dim=D)
    again.load_index(str(indexed / "bare"))
    assert again.ef == 10
    (indexed / "bare").unlink()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search(make_people()[0][0])
        assert gallery._searcher._index._graph.ef == EF == 256


def test_nan_is_taken_and_poisons_the_graph(indexed: Path) -> None:
    nan = np.full((1, D), np.nan, np.float32)
    graph = hnswlib.Index(space="l2", dim=D)
    graph.init_index(max_elements=10)
    graph.add_items(nan)
    assert graph.get_current_count() == 1
    with Gallery.open(indexed, exact_below=100) as gallery:
        for bad in (nan, np.full((1, D), np.inf, np.float32), np.zeros((1, D), np.float32)):
            with pytest.raises(InputError):
                gallery.add(bad, [Record("bad", "a")])
            with pytest.raises(InputError):
                gallery.search(bad[0])
            with pytest.raises(InputError):
                gallery.search_batch(bad)
        assert len(gallery) == N


def test_another_width_is_never_shown_to_it(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search(make_people()[0][0])
        monkeypatch.setattr(Index, "query", lambda *_: pytest.fail("it was asked"))
        monkeypatch.setattr(Index, "add", lambda *_: pytest.fail("it was given rows"))
        for width in (1, D - 1, D + 1, 2 * D):
            wrong = np.eye(1, width, dtype=np.float32)
            with pytest.raises(InputError, match=f"width {width}: expected {D}"):
                gallery.search(wrong[0])
            with pytest.raises(InputError, match=f"width {width}: expected {D}"):
                gallery.search_batch(wrong)
            with pytest.raises(GalleryError, match=f"got width {width}"):
                gallery.add(wrong, [Record("wrong", "a")])


def test_a_query_before_there_is_a_row(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", dimension=D, exact_below=0) as gallery:
        gallery.build_index()
        with pytest.raises(GalleryError, match="the gallery is empty"):
            gallery.search(make_people()[0][0])
        gallery.add(*[part[:1] for part in make_people()])
        gallery.build_index()
        assert len(gallery.search(make_people()[0][0])) == 1


def test_a_k_beyond_the_live_rows_raises_instead_of_returning_fewer(indexed: Path) -> None:
    with pytest.raises(RuntimeError):
        bare().knn_query(make_people()[0][:1], k=N + 1)
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.search(vectors[0])
        for camera in "abc":
            gallery.delete(camera=camera)
        for k in (99, 100, 101, 256, 257, N + 1):
            assert len(gallery.search(vectors[0], k)) == min(k, 100)
            assert len(gallery.search_batch(vectors[:3], k, Filter(tags=["hat"]))[2]) == min(k, 66)


def test_saving_to_a_folder_that_is_not_there_returns_normally(indexed: Path, tmp_path: Path) -> None:
    bare().save_index(str(tmp_path / "none" / "graph"))
    assert not (tmp_path / "none").exists()
    with Gallery.open(indexed, exact_below=100) as gallery:
        vectors, records = make_people()
        found = gallery.search(vectors[0])
        snapshot, index = gallery._searcher._snapshot, gallery._searcher._index
        with pytest.raises(OSError, match="graph"):
            index.save(tmp_path / "none" / "graph")
        shutil.rmtree(indexed)
        assert found[0].record == records[0]
        assert (snapshot.count, index.rows) == (N, N)


def test_another_width_or_space_loads_silently(indexed: Path) -> None:
    """So the manifest names both, and a graph is loaded only as what it was saved as."""
    graph = next(indexed.glob("*.graph"))
    index = hnswlib.Index(space="ip", dim=D)
    index.load_index(str(graph))
    assert index.get_current_count() == N
    about = cache.read_manifest(indexed)
    assert about is not None
    identity = cache.Identity(about.gallery, about.model, D)
    assert cache.fits(about, identity, about.token)
    assert not cache.fits(about, identity._replace(dimension=D // 2), about.token)
    assert not cache.fits(replace(about, metric="ip"), identity, about.token)


def test_builds_by_two_threads_differ_and_answers_do_not(tmp_path: Path) -> None:
    vectors, records = make_people()
    answers = []
    for name in "xy":
        with Gallery.open(tmp_path / name, exact_below=100) as gallery:
            gallery.add(vectors, records)
            gallery.build_index()
            answers.append(gallery.search_batch(vectors[::7], 10))
    assert answers[0] == answers[1]
