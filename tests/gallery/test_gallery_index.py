"""The index is a cache: with it, without it, and with a damaged one, search finds the same."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.index import INDEX_NAME, SIDECAR_NAME, Index
from reid_toolkit.records import Record

D = 16
N = 400


def people(seed: int = 0) -> tuple[np.ndarray, list[Record]]:
    """100 people of four tracklets each."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(N // 4, D)), 4, axis=0) + 0.2 * rng.normal(size=(N, D))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, [Record(f"t{i}", "abcd"[i % 4], float(i), float(i)) for i in range(N)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    vectors, records = people()
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
    assert (tmp_path / "g" / INDEX_NAME).exists()
    return tmp_path / "g"


def assert_search_is_exact(path: Path, exact_below: int = 100, **filters: object) -> None:
    vectors, _ = people()
    with Gallery.open(path, exact_below=exact_below) as fast, Gallery.open(path) as exact:
        for query in vectors[::20]:
            assert fast.search(query, 10, **filters) == exact.search(query, 10, **filters)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every index that is built from nothing."""
    seen: list[int] = []
    begin = Index._begin
    monkeypatch.setattr(Index, "_begin", lambda self, room: (seen.append(room), begin(self, room))[1])
    return seen


def test_it_finds_what_exact_search_finds(path: Path, builds: list[int]) -> None:
    assert_search_is_exact(path)
    assert builds == []


@pytest.mark.parametrize(
    "filters",
    [
        {"cameras": {"a", "b"}},
        {"since": 100.0, "until": 350.0},
        {"cameras": {"a"}, "until": 20.0},
        {"exclude": [Record("t0", "a"), Record("t21", "b")]},
        {"cameras": set()},
    ],
)
def test_filters(path: Path, filters: dict[str, object]) -> None:
    assert_search_is_exact(path, **filters)


def test_it_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    query = Index.query
    monkeypatch.setattr(
        Index,
        "query",
        lambda self, vector, k, allowed=None: (asked.append(k), query(self, vector, k, allowed))[1],
    )
    assert_search_is_exact(path)
    assert len(asked) == 20


def damage_nothing_left(path: Path) -> None:
    (path / INDEX_NAME).unlink()


def damage_truncated(path: Path) -> None:
    os.truncate(path / INDEX_NAME, 1000)


def damage_empty(path: Path) -> None:
    os.truncate(path / INDEX_NAME, 0)


def damage_flipped(path: Path) -> None:
    content = bytearray((path / INDEX_NAME).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (path / INDEX_NAME).write_bytes(content)


def damage_sidecar_gone(path: Path) -> None:
    (path / SIDECAR_NAME).unlink()


def damage_sidecar_garbage(path: Path) -> None:
    (path / SIDECAR_NAME).write_bytes(b"\xff\xfe[")


def damage_sidecar_other_shape(path: Path) -> None:
    (path / SIDECAR_NAME).write_text("[1]")


def damage_other_width(path: Path) -> None:
    sidecar = json.loads((path / SIDECAR_NAME).read_text())
    (path / SIDECAR_NAME).write_text(json.dumps(sidecar | {"dimension": 8}))


def damage_of_another_gallery(path: Path) -> None:
    vectors, records = people(seed=5)
    with Gallery.open(path.parent / "other", exact_below=100) as other:
        other.add(vectors, records)
        other.build_index()
    for name in (INDEX_NAME, SIDECAR_NAME):
        os.replace(path.parent / "other" / name, path / name)


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_built_again(path: Path, damage, builds: list[int]) -> None:
    damage(path)
    builds.clear()
    assert_search_is_exact(path)
    assert len(builds) == 1
    assert_search_is_exact(path)  # and was saved
    assert len(builds) == 1


def test_it_follows_additions_replacements_and_deletions(path: Path, builds: list[int]) -> None:
    vectors, records = people()
    more, _ = people(seed=9)
    with Gallery.open(path, exact_below=100) as fast, Gallery.open(path) as exact:
        fast.search(vectors[0])
        exact.add(more[:150], [Record(f"u{i}", "a") for i in range(150)])
        exact.add(more[150:170], records[:20])
        for query in [*vectors[:40:4], *more[:200:20]]:
            assert fast.search(query) == exact.search(query)
        assert builds == []
        exact.forget(camera="b")
        for query in vectors[:40:4]:
            assert fast.search(query) == exact.search(query)
        exact.forget(camera="a")
        exact.forget(camera="c")
        exact.add(more[:40], [Record(f"v{i}", "a") for i in range(40)])
        for query in [*vectors[:40:4], *more[:40:4]]:
            assert fast.search(query) == exact.search(query)
    assert_search_is_exact(path)


def test_mostly_dead_rows_are_a_reason_to_build_again(path: Path, builds: list[int]) -> None:
    vectors, records = people()
    with Gallery.open(path, exact_below=100) as gallery:
        gallery.search(vectors[0])
        gallery.add(vectors[:300], records[:300])  # all replaced: 300 dead, 400 live
        gallery.search(vectors[0])
    assert builds == [N]


def test_deletions_are_known_after_the_file_is_loaded_again(path: Path, builds: list[int]) -> None:
    vectors, records = people()
    with Gallery.open(path, exact_below=100) as gallery:
        gallery.add(vectors[:50], records[:50])
        gallery.add(vectors[:100], [Record(f"u{i}", "a") for i in range(100)])
        gallery.build_index()  # saved with 50 dead rows in it
    assert_search_is_exact(path)
    assert builds == []


def test_more_asked_than_there_are(path: Path) -> None:
    vectors, _ = people()
    with Gallery.open(path, exact_below=100) as gallery:
        assert len(gallery.search(vectors[0], top_k=10_000)) == N
        assert len(gallery.search(vectors[0], top_k=250, cameras={"a"})) == 100


def test_a_disk_without_room_for_it_only_costs_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path / INDEX_NAME).unlink()
    import hnswlib

    class Full(hnswlib.Index):
        """save_index returns normally on a full disk and leaves a short file."""

        def save_index(self, file: str) -> None:
            super().save_index(file)
            os.truncate(file, 500)

    monkeypatch.setattr(hnswlib, "Index", Full)
    assert_search_is_exact(path)
    assert not (path / INDEX_NAME).exists()
    assert not list(path.glob(".*"))


def test_progress_of_a_build_is_reported(tmp_path: Path) -> None:
    vectors, records = people()
    told: list[tuple[int, int | None]] = []
    with Gallery.open(tmp_path / "g", exact_below=100) as gallery:
        gallery.add(vectors, records)
        gallery.build_index(lambda done, total: told.append((done, total)))
    assert told[-1] == (N, N)


def test_small_galleries_have_none(tmp_path: Path) -> None:
    vectors, records = people()
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        gallery.search(vectors[0])
    assert not (tmp_path / "g" / INDEX_NAME).exists()
