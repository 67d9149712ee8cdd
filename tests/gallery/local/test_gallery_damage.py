"""Damaged files: no crash, no wrong answer given as if it were right, and what is whole stays usable."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gallery_people import N, make_people

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.database import NAME


def corrupt(indexed: Path, scratch: Path, first: int, last: int) -> Counter[tuple[str, str]]:
    """Run that many corruptions in another process; how often each outcome was seen, by file."""
    script = Path(__file__).with_name("corruptions.py")
    command = [sys.executable, str(script), str(indexed), str(scratch), str(first), str(last)]
    # One thread: small products gain nothing from more, and thousands of them lose much.
    paths = os.pathsep.join([str(script.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == last - first
    return Counter((suffix, " ".join(outcome)) for _, suffix, _, *outcome in lines)


def test_corruptions(indexed: Path, tmp_path: Path) -> None:
    seen = corrupt(indexed, tmp_path / "scratch", 0, 60)
    assert {outcome for _, outcome in seen} == {"exact", "left out", "refused"}
    # A damaged cache costs nothing but time.
    assert {outcome for suffix, outcome in seen if suffix != ".sqlite"} == {"exact"}


@pytest.mark.slow
def test_thousands_of_corruptions(indexed: Path, tmp_path: Path) -> None:
    seen = corrupt(indexed, tmp_path / "scratch", 1000, 5000)
    assert seen.total() == 4000
    assert {outcome for suffix, outcome in seen if suffix != ".sqlite"} == {"exact"}


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path / NAME) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE record SET vector = zeroblob(32) WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET camera = 'x' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET start_time = start_time + 1 WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET start_time = 'noon' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET tags = x'00ff' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET tags = '[' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET tags = '7' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET tags = replace(hex(zeroblob(50000)), '0', '[') WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET checksum = 'text' WHERE id = 3", "does not fit its checksum"),
        ("UPDATE record SET camera = cast(x'ff' AS TEXT) WHERE id = 3", "cannot be read"),
    ],
)
def test_a_record_that_was_changed_is_left_out_and_named(tmp_path: Path, statement: str, why: str) -> None:
    vectors, records = make_people()
    path = tmp_path / "g"
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
    change(path, statement)
    with Gallery.open(path) as gallery:
        found = gallery.search(vectors[2], N)
        assert {match.record.tracklet for match in found} == {record.tracklet for record in records} - {"t2"}
        assert list(gallery.damage) == [3]
        report = gallery.check()
        (one,) = report.damaged
        assert why in one.why
        assert (one.id, one.source, one.tracklet, report.whole, report.missing) == (3, "/s/2", "t2", N - 1, 0)
        assert sum(len(rows) for rows, _ in gallery.records()) == N - 1
        assert gallery.enrolled(records).count(False) == 1
        if "tags" in statement:
            assert gallery.info().tags["bag"] == N // 3 - 1
        if "camera" not in statement:  # its name is as it was: so the same record again takes its place
            gallery.add(vectors[2:3], records[2:3])
            assert gallery.search(vectors[2], 1)[0].record == records[2]
            assert gallery.damage == {}
            assert gallery.check().sound


def test_a_record_that_is_damaged_after_it_was_read_is_not_answered_with(indexed: Path) -> None:
    vectors, _ = make_people()
    with Gallery.open(indexed, exact_below=100) as gallery:
        before = gallery.search(vectors[2], 5)
        change(indexed, "UPDATE record SET camera = 'x' WHERE id = 3")
        assert gallery.search(vectors[2], 4) == [
            type(match)(match.rank - 1, match.distance, match.record) for match in before[1:]
        ]
        assert list(gallery.damage) == [3]


def test_rows_that_vanish_are_missed(tmp_path: Path) -> None:
    vectors, records = make_people()
    path = tmp_path / "g"
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
    change(path, "DELETE FROM record WHERE id IN (5, 6)")
    with Gallery.open(path) as gallery:
        assert len(gallery.search(vectors[0], N)) == N - 2
        assert gallery.damage == {0: "2 records are missing"}
        assert gallery.check().missing == 2


def test_an_index_of_the_file_that_lost_rows_is_not_believed(tmp_path: Path) -> None:
    """Which rows are gone is asked of the table."""
    vectors, records = make_people()
    path = tmp_path / "g"
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
        gallery.search(vectors[0])
        store = gallery._reader
        live = store.live_ids
        store.live_ids = lambda: live()[live() != 8]  # type: ignore[method-assign]
        gallery.delete(tracklet="t0")
        assert len(gallery.search(vectors[0], N)) == N - 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = '32' WHERE key = 'dimension'",
        "UPDATE meta SET value = 'other' WHERE key = 'model'",
        "UPDATE meta SET value = '399' WHERE key = 'count'",
        "UPDATE meta SET value = x'00' WHERE key = 'epoch'",
        "DELETE FROM meta WHERE key = 'seal'",
    ],
)
def test_what_the_file_says_of_itself_is_sealed(tmp_path: Path, statement: str) -> None:
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g", model="m") as gallery:
        gallery.add(vectors, records)
    change(tmp_path / "g", statement)
    with pytest.raises(GalleryError, match="damaged: the checksum of its model, width and count is wrong"):
        Gallery.open(tmp_path / "g")


def test_nothing_left_is_not_called_empty(tmp_path: Path) -> None:
    vectors, records = make_people()
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add(vectors, records)
    change(tmp_path / "g", "UPDATE record SET vector = zeroblob(32)")
    with Gallery.open(tmp_path / "g") as gallery, pytest.raises(GalleryError, match="all 400 records are damaged"):
        gallery.search(vectors[0])


def test_pages_that_cannot_be_read_cost_their_records_only(tmp_path: Path) -> None:
    vectors, records = make_people(count=4000)
    path = tmp_path / "g"
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
        gallery.compact()
    content = bytearray((path / NAME).read_bytes())
    at = content.find(vectors[2000].astype(np.float16).tobytes()) // 32768 * 32768
    content[at : at + 32768] = b"\xff" * 32768
    (path / NAME).write_bytes(content)
    with Gallery.open(path) as gallery:
        found = gallery.search(vectors[0], 4000)
        assert 3000 < len(found) < 4000
        report = gallery.check()
        assert report.whole == len(found)
        assert report.whole + len(report.damaged) == 4000
        assert all(one.tracklet == f"t{one.id - 1}" for one in report.damaged)
        assert report.pages
