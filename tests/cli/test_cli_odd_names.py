"""Names that would steer a terminal, wherever texts of records reach one; ``--json`` has them as they are."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from three_people import Run, search

from reid_toolkit.gallery import Gallery
from reid_toolkit.records import Record

ODD = "ha\nll\x1b[2J\x9b\u202e"
SHOWN = r"ha\nll\x1b[2J\x9b\u202e"


@pytest.fixture
def odd(gallery: Path) -> Path:
    """Its first record again, under names as odd as SQLite keeps them."""
    with Gallery.open(gallery) as held:
        records, vectors = next(held.records())
        held.add(vectors[:1], [Record(f"t{ODD}", ODD, 1.0, 2.0, f"/s/{ODD}", records[0].image, (f"tag{ODD}",))])
        held.switch_audit(True)
    return gallery


def assert_tame(text: str, *shown: str) -> None:
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    for words in shown:
        assert words in text


def test_everything_that_lists_records(run: Run, odd: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    picture = dataset / "door" / "red-0.png"
    assert_tame(run("gallery", "info", odd)[1], f"  {SHOWN}\n", f"  /s/{SHOWN}\n", f"  tag{SHOWN}\n")
    assert json.loads(run("gallery", "info", odd, "--json")[1])["cameras"][ODD] == 1

    for group in ((), ("--group", "camera"), ("--group", "tracklet")):
        table = run("search", picture, "--gallery", odd, *group)[1]
        assert_tame(table, f"{SHOWN} ", f"t{SHOWN}")
    assert search(run, picture, "--gallery", odd, "--camera", ODD)[0]["tracklet"] == f"t{ODD}"
    status, _, err = run("search", picture, "--gallery", odd, "--camera", "nowhere")
    assert status == 1
    assert_tame(err)

    forgotten = run("gallery", "forget", odd, "--like", picture, "--top-k", "1", "--camera", ODD, "--yes")
    assert forgotten[0] == 0
    assert_tame(forgotten[2], f"{SHOWN} ", f"t{SHOWN}")
    # JSON within a line of the log has escaped some of it already.
    log = run("gallery", "audit", odd, "show")[1]
    assert_tame(log, r"t" + SHOWN.replace(r"\x1b", r"\u001b"))
    events = json.loads(run("gallery", "audit", odd, "show", "--json")[1])["events"]
    (deletion,) = [event for event in events if event["action"] == "delete"]
    assert deletion["criteria"]["named"][0]["tracklet"] == f"t{ODD}"


def test_check(run: Run, odd: Path) -> None:
    with sqlite3.connect(odd / "gallery.sqlite") as database:
        database.execute("UPDATE record SET image = 'x' WHERE tracklet LIKE 't%'")
    database.close()
    status, out, err = run("gallery", "check", odd)
    assert status == 1
    assert_tame(out, f"tracklet t{SHOWN}, camera {SHOWN}\n")
    assert_tame(err)
