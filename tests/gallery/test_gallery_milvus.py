"""What only a gallery of Milvus can get wrong: addresses, limits of the engine, other people's collections."""

from pathlib import Path

import numpy as np
import pytest
from galleries import address_of
from gallery_people import D, make_people

from reid_toolkit.cli import main
from reid_toolkit.errors import GalleryError, InputError, UnavailableError
from reid_toolkit.gallery import open_gallery
from reid_toolkit.gallery.milvus.address import parse_address
from reid_toolkit.gallery.milvus.rows import LONGEST
from reid_toolkit.records import Record

AWAY = "milvus://127.0.0.1:1/people"


@pytest.fixture
def where(tmp_path: Path) -> str:
    return address_of("milvus-lite", tmp_path)


@pytest.mark.parametrize(
    ("text", "uri", "name"),
    [
        ("milvus://centre/people", "http://centre:19530", "people"),
        ("milvus://centre:1234/site_a", "http://centre:1234", "site_a"),
        ("milvus://[::1]:1234/a", "http://[::1]:1234", "a"),
        ("milvus-lite:///srv/people.db/door", "/srv/people.db", "door"),
    ],
)
def test_addresses(text: str, uri: str, name: str) -> None:
    address = parse_address(text)
    assert (address.uri, address.name, address.lite) == (uri, name, text.startswith("milvus-lite"))


@pytest.mark.parametrize(
    "text",
    [
        "milvus://centre", "milvus:///people", "milvus://centre:port/people", "milvus://centre:1/a-b", "milvus://h:1/1a",
        "milvus://root:secret@centre/people", "milvus://centre/x/people", "milvus-lite://srv/people.db/door",
        "milvus-lite:///srv/people/door", "milvus-lite:///srv/people.db/", "milvus://centre:99999/people",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse_address(text)


def test_a_server_that_is_away_is_one_line(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["gallery", "info", AWAY])
    assert stop.value.code == 1
    shown = capsys.readouterr()
    assert "no Milvus server answers" in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out
    with pytest.raises(UnavailableError):
        open_gallery(AWAY)


def test_a_collection_of_another_program_or_metric_is_refused(where: str) -> None:
    from pymilvus import MilvusClient

    with open_gallery(where, dimension=D) as gallery:
        gallery.add(*make_people(count=4))
    address = parse_address(where)
    client = MilvusClient(address.uri)
    client.create_collection("other", dimension=D)
    with pytest.raises(GalleryError, match="another program"):
        open_gallery(where.replace("/people", "/other"))
    client.release_collection("people")
    client.drop_index("people", "vector")
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_index("people", params)
    client.load_collection("people")
    with pytest.raises(GalleryError, match="metric 'COSINE', expected 'L2'"):
        open_gallery(where)
    client.close()


def test_a_gallery_left_without_an_index_gets_one(where: str) -> None:
    from pymilvus import MilvusClient

    vectors, records = make_people(count=4)
    with open_gallery(where) as gallery:
        gallery.add(vectors, records)
    client = MilvusClient(parse_address(where).uri)
    client.release_collection("people")
    client.drop_index("people", "vector")
    client.close()
    with open_gallery(where) as gallery:
        assert gallery.search(vectors[2])[0].record == records[2]


def test_a_damaged_record_is_reported_and_the_rest_is_given_out(where: str) -> None:
    from pymilvus import MilvusClient

    vectors, records = make_people(count=8)
    with open_gallery(where) as gallery:
        gallery.add(vectors, records)
    client = MilvusClient(parse_address(where).uri)
    client.load_collection("people")
    row = client.query("people", 'tracklet == "t5"', output_fields=["*"])[0]
    client.upsert("people", [{**row, "camera": "z"}])
    client.close()
    with open_gallery(where) as gallery:
        report = gallery.check()
        assert (report.count, report.whole, report.missing, report.sound) == (8, 7, 0, False)
        assert [(row.tracklet, row.camera) for row in report.damaged] == [("t5", "z")]
        assert {record for rows, _ in gallery.records() for record in rows} == set(records) - {records[5]}


def test_more_matches_than_milvus_gives_in_one_answer(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_toolkit.gallery.milvus import collection as milvus_collection
    from reid_toolkit.gallery.milvus import search as milvus_search

    monkeypatch.setattr(milvus_search, "WINDOW", 32)
    monkeypatch.setattr(milvus_collection, "PAGE", 10)
    vectors, records = make_people(count=120)
    vectors[30:80] = vectors[2]  # more at one distance than the window holds
    with open_gallery(where) as gallery:
        gallery.add(vectors, records)
        exact = np.linalg.norm(vectors.astype(np.float16).astype(np.float64) - vectors[2], axis=1)
        order = np.lexsort((np.arange(120), exact.round(6)))
        for k in (3, 31, 32, 100, 500):
            assert [m.record for m in gallery.search(vectors[2], top_k=k)] == [records[at] for at in order[:k]]


def test_what_milvus_cannot_hold_is_refused(where: str) -> None:
    vectors, _ = make_people(count=4)
    with open_gallery(where) as gallery:
        for record, what in (
            (Record("t", "c", image="x" * (LONGEST + 1)), "image"),
            (Record("t", "ü" * LONGEST), "camera"),
            (Record("t", "c", thumbnail=bytes(LONGEST)), "thumbnail"),
            (Record("t", "c", tags=("x" * LONGEST,)), "tags"),
        ):
            with pytest.raises(InputError, match=f"its {what} takes"):
                gallery.add(vectors[:1], [record])
        gallery.add(vectors[:1], [Record("t", "c", image="x" * LONGEST, thumbnail=bytes(49_000))])
        assert len(gallery) == 1


@pytest.mark.milvus_server
def test_a_real_server_wants_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = address_of("milvus", tmp_path)
    monkeypatch.setenv("REID_MILVUS_TOKEN", "root:wrong")
    with pytest.raises(GalleryError, match="REID_MILVUS_TOKEN"):
        open_gallery(where)


@pytest.mark.milvus_server
def test_a_real_server_indexes_a_large_gallery_and_answers_the_same(tmp_path: Path) -> None:
    where = address_of("milvus", tmp_path)  # skips where pymilvus is missing, which the next line needs
    from reid_toolkit.gallery.milvus.gallery import MilvusGallery

    vectors, records = make_people(count=400)
    with MilvusGallery.open(where, exact_below=400) as gallery:
        gallery.add(vectors, records)
        before = gallery.search_batch(vectors[:20], 5)
        assert gallery.info().index is None
        gallery.build_index()
        index = gallery.info().index
        assert index is not None
        assert (index["M"], index["ef"]) == (16, 256)
        assert gallery.search_batch(vectors[:20], 5) == before
