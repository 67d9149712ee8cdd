"""reid people as a user runs it."""

import csv
import importlib.util
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_site import MIDNIGHT, Site
from own_process import run_command
from three_people import Run, assert_fails

from reid_toolkit.calibration import beside
from reid_toolkit.calibration.calibration import Calibration
from reid_toolkit.calibration.curve import Curve
from reid_toolkit.cli import people_corrections
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery.local import database
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.people.book import Book
from reid_toolkit.records import Record

PEOPLE = 5
ODD = "ha\nll\x1b[2J\x9b\u202e"


@pytest.fixture
def site() -> Site:
    return Site(PEOPLE)


@pytest.fixture
def new(site: Site, tmp_path: Path) -> Path:
    """A gallery in which nobody was grouped yet."""
    with Gallery.open(tmp_path / "g", model="m1") as store:
        site.enroll(store)
    return tmp_path / "g"


@pytest.fixture
def grouped(run: Run, new: Path) -> Path:
    assert run("people", new)[0] == 0
    return new


def mine(site: Site, person: int) -> list[str]:
    return [tracklet for tracklet, one in site.truth.items() if one == person]


def said(run: Run, *arguments: object) -> str:
    status, out, err = run("people", *arguments)
    assert status == 0, err
    return out


def document(run: Run, *arguments: object) -> dict:
    return json.loads(said(run, *arguments, "--json"))


def listed(run: Run, gallery: Path) -> dict[str, int]:
    """Records of each person."""
    return {row["name"]: row["records"] for row in document(run, "list", gallery)["people"]}


def held(gallery: Path) -> object:
    with Gallery.open(gallery) as store:
        people = store.people.read()
        return people.members, people.names, people.corrections, len(store)


def assert_refused(run: Run, *arguments: object, status: int = 2, words: str) -> None:
    """One line for wrong usage."""
    code, out, err = run("people", *arguments)
    assert (code, out) == (status, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in err


def write_calibration(path: Path, model: str, distance: float) -> Path:
    """All limits are ``distance``, for a false-match rate of 0.005 or more."""
    curve = Curve(300, 2000, 5.0, -4.0, 1.2, 0.1, 1.5, (1, 2000), (distance, 1.5))
    Calibration(model, "d", 100, "neighbours", 2.0, curve, curve, {}, {}).save(path)
    return path


def test_group_with_and_without_its_word(run: Run, site: Site, new: Path) -> None:
    done = document(run, new)
    assert done == {
        "gallery": str(new), "calibrated": False, "false_match_rate": None, "least_times": 0, "records": 30,
        "people": PEOPLE, "low": PEOPLE, "high": PEOPLE,
        "grouped": 30, "new_records": 30, "new_people": PEOPLE, "moved": 0, "apart": 0,
    }  # fmt: skip
    assert said(run, "group", new) == f"{new}: 5 people in 30 records (between 5 and 5)\n"
    old = len(site.records)
    for person in (0, 3):
        site.cross(person, "camera-1")
    with Gallery.open(new) as store:
        site.enroll(store, old)
    _, out, err = run("people", "list", new)
    assert "2 records without a person yet: run `reid people" in err
    assert "person-000001" in out
    assert said(run, new) == (
        f"{new}: 5 people in 32 records (between 5 and 5)\n2 new records, 0 new people, 0 records moved to another "
        "person\n"
    )
    assert document(run, new, "--anew")["grouped"] == 32


def test_list_and_show(run: Run, site: Site, grouped: Path, tmp_path: Path) -> None:
    everybody = document(run, "list", grouped)["people"]
    assert [one["number"] for one in everybody] == [1, 2, 3, 4, 5]
    assert everybody[0] == {
        "name": "person-000001", "person": "person-000001", "number": 1, "records": 6,
        "cameras": ["camera-0", "camera-1", "camera-2"], "start": MIDNIGHT, "end": MIDNIGHT + 600,
    }  # fmt: skip
    assert "person-000005" in said(run, "list", grouped)
    shown = document(run, "show", grouped, "person-1")
    assert [visit["tracklets"] for visit in shown["visits"]] == [[name] for name in mine(site, 0)]
    assert shown == {"gallery": str(grouped), **everybody[0], "visits": shown["visits"]}, "the fields of the list"
    page = tmp_path / "p.html"
    text = said(run, "show", grouped, "person-000001", "--html", page)
    assert "person-000001: 6 visits\n" in text
    assert "2026-09-21 14:13:20–14:13:25 UTC" in text
    assert mine(site, 0)[0] in page.read_text()
    (tmp_path / "notes.txt").write_text("notes")
    assert_fails(
        run("people", "show", grouped, "person-1", "--html", tmp_path / "notes.txt"), "exists and is not an HTML page"
    )
    assert (tmp_path / "notes.txt").read_text() == "notes"


def test_count(run: Run, grouped: Path) -> None:
    rows = document(run, "count", grouped, "--by", "day, camera")["counts"]
    assert rows == [
        {"day": "2026-09-21", "camera": f"camera-{n}", "people": 5, "low": 5, "high": 5, "records": 10}
        for n in range(3)
    ]
    assert document(run, "count", grouped)["counts"] == [{"people": 5, "low": 5, "high": 5, "records": 30}]
    assert "2026-09-21 14:00" in said(run, "count", grouped, "--by", "hour")
    for wrong in ("week", "day,day", ",", "day,Camera"):
        assert_refused(run, "count", grouped, "--by", wrong, words="expected some of day, hour, camera, each once")


def test_the_ends_of_a_count_hold_the_people(run: Run, grouped: Path) -> None:
    """Corrections change people, and not the groups of the stricter and the looser grouping."""
    with Gallery.open(grouped) as store:
        was = store.people.read()
        spread = {
            digest: Membership(one.person, number, 1)
            for number, (digest, one) in enumerate(was.members.items(), start=1)
        }
        store.people.write(was, members=spread)
    assert document(run, "count", grouped)["counts"] == [{"people": 5, "low": 1, "high": 30, "records": 30}]


def test_routes_and_their_draft(run: Run, grouped: Path, tmp_path: Path) -> None:
    draft, page = tmp_path / "least.csv", tmp_path / "routes.html"
    found = document(run, "routes", grouped, "--out", draft, "--html", page)["routes"]
    assert found[0] == {
        "start": "camera-0", "end": "camera-1", "moves": 10, "shortest": 30.0, "median": 30.0, "longest": 30.0,
    }  # fmt: skip
    with open(draft, newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["from", "to", "seconds"], ["camera-0", "camera-1", "15.0"],
        ["camera-0", "camera-2", "32.5"],  # by camera-1; from camera-2 to camera-0 everybody takes longer
        ["camera-1", "camera-2", "15.0"],
    ]  # fmt: skip
    assert "camera-0 to camera-1: 10 moves" in page.read_text()
    assert "camera-2" in said(run, "routes", grouped)
    assert "wrote" in run("people", "routes", grouped, "--out", draft)[2]
    assert document(run, grouped, "--anew", "--least-times", draft)["people"] == PEOPLE
    (tmp_path / "file").write_text("")
    assert_fails(run("people", "routes", grouped, "--out", tmp_path / "file" / "x"), "is not a folder")
    assert_refused(run, "routes", grouped, "--out", tmp_path, words="is a folder: expected a file")


def test_cameras_that_see_the_same_place_are_not_in_the_draft(run: Run, tmp_path: Path) -> None:
    """Otherwise the draft would keep apart what both see at once."""
    site = Site(6, cameras=2, visits=0)
    for _ in range(4):
        for person in range(6):
            one = site.cross(person, "a")
            site.cross(person, "b", at=one.start + 1)
            site.cross(person, "c", at=one.start + 100)
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
    draft = tmp_path / "least.csv"
    assert document(run, tmp_path / "g")["people"] == 6
    found = document(run, "routes", tmp_path / "g", "--out", draft)["routes"]
    assert {(one["start"], one["end"]): one["shortest"] for one in found}["a", "b"] == 0
    assert "a,b" not in draft.read_text()
    assert "b,c" in draft.read_text()
    assert document(run, tmp_path / "g", "--anew", "--least-times", draft)["people"] == 6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"from,to\na,b\n", "expected the columns from,to,seconds, got from,to"),
        (b"", "got an empty file"),
        (b"from,to,seconds\ncamera-0,camera-1,-3\n", "row 2: expected two cameras and seconds of 0 or more"),
        (b"from,to,seconds\ncamera-0,camera-1,nan\n", "'nan'"),
        (b"from,to,seconds\ncamera-0,camera-1,1e999\n", "'1e999'"),
        (b"from,to,seconds\ncamera-0,camera-1\n", "row 2"),
        (b"from,to,seconds\ncamera-0,camera-0,3\n", "expected two cameras"),
        (b"from,to,seconds\ncamera-0,camra-1,3\n", "no camera 'camra-1' in it (did you mean 'camera-1'?)"),
        ("from,to,seconds\ncamera-0,ü,3\n".encode("latin-1"), "save it as UTF-8"),
        ("from,to,seconds\ncamera-0,camera-1,3\n".encode("utf-16"), "save it as UTF-8"),
        (b'from,to,seconds\n"camera-0,camera-1,3\n', "not a CSV file"),
        (b"\0\0\0\0", "expected the columns"),
    ],
)
def test_wrong_least_times(run: Run, grouped: Path, tmp_path: Path, content: bytes, words: str) -> None:
    before = held(grouped)
    (tmp_path / "least.csv").write_bytes(content)
    assert_fails(run("people", grouped, "--anew", "--least-times", tmp_path / "least.csv"), "least.csv", words)
    assert held(grouped) == before


def test_other_forms_of_least_times(run: Run, site: Site, new: Path, tmp_path: Path) -> None:
    least = tmp_path / "least.csv"
    least.write_bytes(b"\xef\xbb\xbffrom, to,seconds\r\ncamera-0,camera-1,3\r\n")
    assert_fails(run("people", new, "--least-times", least), "got from, to,seconds")
    least.write_bytes(b"\xef\xbb\xbffrom,to,seconds,note\r\ncamera-1, camera-0 ,3,stairs\r\n")
    assert document(run, new, "--least-times", least)["people"] == PEOPLE
    least.write_text("from,to,seconds\n")
    assert "has no times, so it keeps no records apart" in run("people", new, "--least-times", least)[2]
    assert_refused(run, new, "--least-times", tmp_path, words="is a folder: expected a file")
    assert_fails(run("people", new, "--least-times", tmp_path / "no.csv"), "no.csv: cannot be read")


def test_least_times_are_stored_shown_and_taken_away(run: Run, site: Site, grouped: Path, tmp_path: Path) -> None:
    assert document(run, "least-times", grouped) == {"gallery": str(grouped), "least_times": []}
    assert "no least times are stored" in run("people", "least-times", grouped)[2]
    assert "no least times are stored" in run("people", "least-times", grouped, "--none")[2]
    least = tmp_path / "least.csv"
    least.write_text("from,to,seconds\ncamera-1,camera-0,60.5\n")
    apart = document(run, grouped, "--anew", "--least-times", least)
    assert apart["people"] > PEOPLE
    assert apart["least_times"] == 1
    rows = [{"from": "camera-0", "to": "camera-1", "seconds": 60.5}]
    assert document(run, "least-times", grouped)["least_times"] == rows
    assert "camera-0  camera-1  60.5" in said(run, "least-times", grouped)
    before = listed(run, grouped)
    assert document(run, grouped, "--anew")["apart"] == apart["apart"], "without the option, the stored times count"
    assert listed(run, grouped) == before
    copied = tmp_path / "copied"
    assert run("gallery", "copy", grouped, copied)[0] == 0
    assert document(run, "least-times", copied)["least_times"] == rows
    assert "least times of 1 pair of cameras are taken away" in said(run, "least-times", grouped, "--none")
    assert document(run, grouped, "--anew")["people"] == PEOPLE
    said(run, copied, "--least-times", least)
    least.write_text("from,to,seconds\n")
    assert "times that were stored before are taken away" in run("people", copied, "--least-times", least)[2]
    assert document(run, "least-times", copied)["least_times"] == []


def test_corrections(run: Run, site: Site, grouped: Path) -> None:
    one, other = mine(site, 0)[0], mine(site, 1)[0]
    assert "c-1: person-1 and person-2 are one person; `reid people undo" in said(
        run, "same", grouped, "person-1", "person-2"
    )
    assert sorted(listed(run, grouped).values()) == [6, 6, 6, 12]
    assert_fails(run("people", "same", grouped, one, other), "nothing to store, because it is known: c-1: ")
    assert_fails(
        run("people", "not", grouped, one, f"{other}@camera-0"),
        "cannot be different people: c-1: ", "undo one of these first",
    )  # fmt: skip
    (row,) = document(run, "corrections", grouped)["corrections"]
    assert (row["name"], row["kind"], row["first"], row["second"]) == (
        "c-1", "same", f"{one}@camera-0", f"{other}@camera-0",
    )  # fmt: skip
    assert row["who"]
    assert said(run, "corrections", grouped).startswith(f"c-1: {one}@camera-0 is the same person as {other}@camera-0 (")
    assert_fails(run("people", "undo", grouped, "c-11"), "no correction is called 'c-11' (did you mean 'c-1'?)")
    assert said(run, "undo", grouped, "c-1", "c-1") == f"{grouped}: 1 correction undone\n"
    assert sorted(listed(run, grouped).values()) == [6] * 5
    assert said(run, "corrections", grouped) == ""
    assert_fails(run("people", "same", grouped, one, f"{one}@camera-0"), "are the same record: name two people or")
    assert_fails(run("people", "not", grouped, "person-1", "person-000001"), "are the same person: name two people or")


def test_not_separates_at_once(run: Run, site: Site, grouped: Path) -> None:
    first, second = mine(site, 2)[:2]
    assert "c-1: " in said(run, "not", grouped, first, second)
    assert_fails(run("people", "not", grouped, first, second), "nothing to store, because it is known: c-1: ")
    found = {one: person for person in listed(run, grouped) for one in tracklets(run, grouped, person)}
    assert found[first] != found[second]
    assert said(run, "undo", grouped, "c-1") == f"{grouped}: 1 correction undone\n"
    assert sorted(listed(run, grouped).values()) == [6] * 5


@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("turned", [False, True])
def test_a_person_keeps_the_name_when_a_tracklet_is_somebody_else(
    run: Run, site: Site, grouped: Path, place: int, turned: bool
) -> None:
    """Whichever tracklet it is, and also if most of the person's records go with the tracklet."""
    wrong = mine(site, 2)[place]
    said(run, "name", grouped, "person-3", "Ana")
    said(run, "not", grouped, *([wrong, "Ana"] if turned else ["Ana", wrong]))
    assert wrong not in tracklets(run, grouped, "Ana")
    said(run, grouped, "--anew")
    assert wrong not in tracklets(run, grouped, "Ana")
    said(run, "undo", grouped, "c-1")
    assert sorted(tracklets(run, grouped, "Ana")) == sorted(mine(site, 2))


@pytest.mark.parametrize("words", [("Ana", "person-2"), ("person-2", "Ana")])
def test_a_person_keeps_the_name_when_a_merge_is_undone(
    run: Run, site: Site, grouped: Path, words: tuple[str, str]
) -> None:
    """Also if the other person has more records."""
    hers = mine(site, 0)
    said(run, "split", grouped, "person-1", *hers[2:])
    said(run, "name", grouped, "person-1", "Ana")
    before = listed(run, grouped)
    name = said(run, "same", grouped, *words).split(":")[0]
    assert sorted(tracklets(run, grouped, "Ana")) == sorted([*hers[:2], *mine(site, 1)])
    said(run, "undo", grouped, name)
    assert sorted(tracklets(run, grouped, "Ana")) == sorted(hers[:2])
    assert sorted(listed(run, grouped).values()) == sorted(before.values())


def test_numbers_of_people_who_were_merged(run: Run, grouped: Path) -> None:
    said(run, "same", grouped, "person-1", "person-2")
    for words in (["show", grouped, "person-2"], ["not", grouped, "person-1", "person-2"]):
        assert_fails(run("people", *words), "person-2 has no records any more: they were merged into another person")
    assert_fails(run("people", "not", grouped, "person-1", "person-77"), "nobody is called 'person-77'")


def tracklets(run: Run, gallery: Path, person: str) -> list[str]:
    visits = document(run, "show", gallery, person)["visits"]
    return [tracklet for visit in visits for tracklet in visit["tracklets"]]


def test_what_agrees_with_the_groups_is_stored_too(run: Run, site: Site, grouped: Path) -> None:
    """So every question of `review` can be answered."""
    first, second = mine(site, 0)[:2]
    assert "c-1: " in said(run, "same", grouped, first, second)
    assert "c-2: " in said(run, "not", grouped, first, mine(site, 1)[0])
    assert sorted(listed(run, grouped).values()) == [6] * 5
    asked = document(run, "review", grouped, "--top-k", 100)["questions"]
    assert {first, second} not in [{one["first"].split("@")[0], one["second"].split("@")[0]} for one in asked]
    for one in asked[:3]:
        assert said(run, "same" if one["now"] == "same" else "not", grouped, one["first"], one["second"])
    again = document(run, "review", grouped, "--top-k", 100)["questions"]
    assert len(again) < len(asked)


def test_people_who_become_one_obey_what_keeps_their_records_apart(run: Run, site: Site, grouped: Path) -> None:
    one, other = mine(site, 0), mine(site, 1)
    said(run, "not", grouped, one[0], other[0])
    said(run, "same", grouped, one[1], other[1])  # all other records of both
    found = {name: person for person in listed(run, grouped) for name in tracklets(run, grouped, person)}
    assert found[one[1]] == found[other[1]]
    assert found[one[0]] != found[other[0]]


def test_split(run: Run, site: Site, grouped: Path) -> None:
    four = mine(site, 3)
    assert_fails(run("people", "split", grouped, "person-4", mine(site, 1)[0]), "is not a record of person-000004")
    assert_fails(run("people", "split", grouped, "person-4", *four), "these are all its records: expected some")
    assert_refused(run, "split", grouped, "person-4", words="missing argument")
    told = said(run, "split", grouped, "person-4", four[0], four[1], four[0])
    assert told == (f"2 tracklets of person-4 are now person-000006; `reid people undo {grouped} c-1..c-5` undoes it\n")
    assert tracklets(run, grouped, "person-6") == four[:2]
    assert listed(run, grouped)["person-000004"] == 4
    said(run, grouped, "--anew")
    assert tracklets(run, grouped, "person-6") == four[:2]
    assert_fails(run("people", "undo", grouped, "c-7..c-9"), "no correction is called 'c-7..c-9'")
    assert said(run, "undo", grouped, "c-1..c-5") == f"{grouped}: 5 corrections undone\n"
    assert sorted(listed(run, grouped).values()) == [6] * 5


def test_a_split_that_corrections_forbid_names_those_that_are_stored(run: Run, site: Site, grouped: Path) -> None:
    four = mine(site, 3)
    said(run, "same", grouped, four[1], four[5])
    before = held(grouped)
    assert_fails(run("people", "split", grouped, "person-4", four[0], four[1]), "cannot be different people: c-1: ")
    assert held(grouped) == before
    said(run, "undo", grouped, "c-1")
    said(run, "split", grouped, "person-4", four[0])
    assert_fails(run("people", "split", grouped, "person-6", four[0]), "these are all its records")


def test_name(run: Run, site: Site, grouped: Path) -> None:
    assert said(run, "name", grouped, "person-1", "Ana") == "person-1 is now called Ana\n"
    assert listed(run, grouped)["Ana"] == 6
    assert_fails(run("people", "show", grouped, "Anna"), "nobody is called 'Anna' (did you mean 'Ana'?)")
    assert_fails(run("people", "same", grouped, "Anna", "person-2"), "no person and no tracklet is called 'Anna' (did")
    for name, words in (
        ("Ana", "is the name of person-000001 already"),
        ("person-9", "looks like a number that reid gives"),
        ("c-3", "looks like a number that reid gives"),
        ("", "expected 1 to 100 printable characters"),
        ("x" * 101, "expected 1 to 100 printable characters"),
        (ODD, r"name 'ha\nll\x1b[2J\x9b\u202e': expected"),
        ("a\udcff", r"a\udcff"),
    ):
        assert_fails(run("people", "name", grouped, "person-2", name), words)
    assert_refused(run, "name", grouped, "person-2", words="expected a NAME, or --none")
    assert_refused(run, "name", grouped, "person-2", "Ben", "--none", words="expected a NAME, or --none")
    assert said(run, "name", grouped, "person-000002", "Ben") == "person-000002 is now called Ben\n"
    assert_fails(run("people", "same", grouped, "Ana", "Ben"), "Ana and Ben both have a name: take one away first")
    assert said(run, "name", grouped, "Ben", "--none") == "Ben is now called person-000002\n"
    said(run, "same", grouped, "person-2", "Ana")
    assert listed(run, grouped)["Ana"] == 12


def test_names_are_found_however_they_were_typed(run: Run, grouped: Path) -> None:
    said(run, "name", grouped, "person-1", " Ame\u0301lie ")
    assert document(run, "show", grouped, "Am\xe9lie")["person"] == "Am\xe9lie"
    assert document(run, "show", grouped, "Ame\u0301lie")["number"] == 1
    assert_fails(run("people", "name", grouped, "person-2", "Am\xe9lie"), "is the name of person-000001 already")


def test_forget(run: Run, site: Site, grouped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(run, "name", grouped, "person-1", "Ana Secret")
    said(run, "not", grouped, "Ana Secret", "person-2")
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    status, out, err = run("people", "forget", grouped, "Ana Secret")
    assert (status, out) == (0, "")
    assert "nothing was deleted" in err
    with closing(sqlite3.connect(grouped / "gallery.sqlite")) as db, db:  # damaged records are forgotten too
        db.execute("UPDATE record SET vector = zeroblob(length(vector)) WHERE tracklet = ?", (mine(site, 0)[0],))
    assert said(run, "forget", grouped, "Ana Secret", "--yes") == f"{grouped}: 6 records forgotten\n"
    assert sorted(listed(run, grouped)) == [f"person-00000{n}" for n in range(2, 6)]
    assert said(run, "corrections", grouped) == ""
    status, out, err = run("people", "forget", grouped, "Ana Secret", "--yes")
    assert (status, out) == (1, "")
    assert "nobody is called 'Ana Secret'" in err
    assert "still in files" not in err
    with Gallery.open(grouped) as store:
        assert all(store.block_list.has([one for one in site.records if one.tracklet in mine(site, 0)]))
    assert b"Ana Secret" not in b"".join(file.read_bytes() for file in grouped.iterdir())


def test_forget_again_finishes_what_was_killed(
    run: Run, site: Site, grouped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def on_the_disk() -> bool:
        return vector in b"".join(file.read_bytes() for file in grouped.iterdir())

    with Gallery.open(grouped) as watch:  # another process has the gallery open
        found = {
            record.tracklet: row for records, rows in watch.records() for record, row in zip(records, rows, strict=True)
        }
        vector = found[mine(site, 0)[0]].astype(np.float16).tobytes()
        with Gallery.open(grouped) as store, monkeypatch.context() as context:
            context.setattr(store, "compact", killed)
            with pytest.raises(KeyboardInterrupt):
                Book(store, "G", time.time()).forget(1)
        assert on_the_disk()
        status, _, err = run("people", "forget", grouped, "person-1", "--yes")
        assert status == 1
        assert "what was deleted before was still in files of the gallery, and is gone from them" in err
        assert not on_the_disk()
        assert len(watch) == len(site.records) - 6


def test_review(run: Run, grouped: Path) -> None:
    (asked,) = document(run, "review", grouped, "--top-k", 1)["questions"]
    assert set(asked) == {"first", "second", "ids", "now", "cost", "records"}
    lines = said(run, "review", grouped).splitlines()
    assert lines[0].startswith(f"{asked['first']}  {asked['second']}  ")
    assert lines[0].endswith(" record")
    assert " people now (person-0" in lines[0] or " person now (person-0" in lines[0]
    assert_refused(run, "review", grouped, "--top-k", 0, words="0 is not in the range")


def test_no_gallery_and_empty_galleries(run: Run, tmp_path: Path) -> None:
    empty, folder, file = tmp_path / "empty", tmp_path / "folder", tmp_path / "file"
    Gallery.open(empty).close()
    folder.mkdir()
    file.write_text("text")
    commands = (
        ("group",), ("list",), ("count",), ("routes",), ("corrections",), ("review",), ("show", "p"),
        ("same", "p", "q"), ("not", "p", "q"), ("split", "p", "t"), ("name", "p", "Ana"), ("forget", "p", "--yes"),
        ("undo", "c-1"),
    )  # fmt: skip
    for command, *rest in commands:
        assert_fails(run("people", command, tmp_path / "no", *rest), "no: no gallery there: make one with")
        assert_fails(run("people", command, folder, *rest), "folder: no gallery there: make one with")
        assert_fails(run("people", command, file, *rest), "file: is a file: expected a gallery folder")
    assert_fails(run("people", empty), "empty: the gallery is empty: enroll people first")
    for command in ("list", "count", "routes", "review"):
        assert_fails(run("people", command, empty), "empty: nobody was grouped yet: run `reid people")
    assert_fails(run("people", "undo", empty, "c-1"), "empty: no correction is called 'c-1'")
    assert not (tmp_path / "no").exists()
    assert_refused(run, "counts", words="no such command and no such gallery: 'counts' (did you mean 'count'?)")
    assert_refused(run, "--json", empty, words="no such option '--json'")
    assert_fails(run("people", "ftp://x"), "no gallery of kind 'ftp'")


def test_nobody_was_grouped_yet(run: Run, site: Site, new: Path) -> None:
    one, other = mine(site, 0)[0], mine(site, 1)[0]
    for command, *rest in (
        ("list",), ("count",), ("routes",), ("review",), ("show", "p"), ("split", "p", "t"), ("name", "p", "Ana"),
        ("forget", "p", "--yes"),
    ):  # fmt: skip
        assert_fails(run("people", command, new, *rest), f"{new}: nobody was grouped yet: run `reid people {new}`")
    said(run, "same", new, one, other)  # obeyed by the first grouping
    assert document(run, new)["people"] == PEOPLE - 1


def test_tracklets_of_one_name(run: Run, site: Site, grouped: Path) -> None:
    record = site.records[0]
    alike = [replace(record, camera="camera-9"), replace(record, source="/another")]
    with Gallery.open(grouped) as store:
        store.add(np.stack([site.rows[0], site.rows[0]]), alike)
    said(run, grouped)
    name, other = record.tracklet, mine(site, 1)[0]
    assert_fails(
        run("people", "not", grouped, name, other),
        f"3 records are called {name!r}: expected one; give TRACKLET@CAMERA@SOURCE, such as",
    )
    assert_fails(
        run("people", "not", grouped, f"{name}@camera-0", other), "2 records", f"such as '{name}@camera-0@/footage'"
    )
    assert "c-1" in said(run, "not", grouped, f"{name}@camera-9", other)
    assert "c-2" in said(run, "not", grouped, f"{name}@camera-0@/another", other)


def test_crops_that_were_enrolled_singly_are_one_tracklet(run: Run, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "g"
    with Gallery.open(folder) as store:
        for row, record in zip(site.rows, site.records, strict=True):
            paths = [f"/crops/{record.tracklet}-{n}.jpg" for n in range(2)]
            store.add(np.stack([row, row]), [replace(record, source=path, image=path) for path in paths])
    assert document(run, folder)["people"] == PEOPLE
    four = mine(site, 3)
    assert f"1 tracklet of person-4 is now person-000006; `reid people undo {folder} c-1..c-5`" in said(
        run, "split", folder, "person-4", four[0]
    )
    assert set(tracklets(run, folder, "person-6")) == {four[0]}
    assert listed(run, folder) == {f"person-00000{n}": {4: 10, 6: 2}.get(n, 12) for n in range(1, 7)}
    crops = [f"{four[1]}@camera-1@/crops/{four[1]}-{n}.jpg" for n in range(2)]
    assert_fails(run("people", "not", folder, *crops), "they are crops of one tracklet")
    assert "c-6" in said(run, "same", folder, four[0], mine(site, 4)[0])


def test_pictures_of_one_name_in_two_folders_are_two_tracklets(run: Run, site: Site, tmp_path: Path) -> None:
    """Such as ana/1.jpg and ben/1.jpg."""
    folder = tmp_path / "g"
    with Gallery.open(folder) as store:
        for row, record in zip(site.rows, site.records, strict=True):
            person = site.truth[record.tracklet]
            number = str(mine(site, person).index(record.tracklet))
            path = f"/person-{person}/{number}.jpg"
            store.add(row[None], [replace(record, tracklet=number, camera="door", source=path, image=path)])
    assert document(run, folder)["people"] == PEOPLE
    one, other = (f"1@door@/person-{number}/1.jpg" for number in (1, 2))
    assert "c-1" in said(run, "not", folder, one, other)


def test_names_that_would_steer_a_terminal(run: Run, site: Site, tmp_path: Path) -> None:
    folder, page = tmp_path / "g", tmp_path / "p.html"
    with Gallery.open(folder) as store:
        odd = [replace(one, tracklet=f"{one.tracklet}{ODD}", camera=f"{one.camera}{ODD}") for one in site.records]
        store.add(np.stack(site.rows), odd)
    name = f"{mine(site, 0)[0]}{ODD}"
    outputs = [
        said(run, folder),
        said(run, "list", folder),
        said(run, "show", folder, "person-1", "--html", page),
        said(run, "count", folder, "--by", "camera"),
        said(run, "routes", folder, "--html", tmp_path / "r.html", "--out", tmp_path / "l.csv"),
        said(run, "not", folder, name, "person-2"),
        said(run, "corrections", folder),
        said(run, "review", folder),
    ]
    for text in outputs:
        assert not set("\x1b\x9b\u202e") & set(text)
    assert document(run, "show", folder, "person-1")["visits"][0]["camera"] == f"camera-0{ODD}"
    assert page.exists()


def test_a_calibration(run: Run, site: Site, new: Path, tmp_path: Path) -> None:
    assert_fails(run("people", new, "--false-match-rate", 0.01), f"{new}: no calibration: make one with")
    assert_fails(run("people", new, "--calibration", tmp_path / "no.json"), "no.json: no calibration: make one with")
    other = write_calibration(tmp_path / "other.json", "m2", 0.1)
    assert_fails(run("people", new, "--calibration", other), "other.json", "m2")
    (tmp_path / "broken.json").write_text("{")
    assert_fails(run("people", new, "--calibration", tmp_path / "broken.json"), "broken.json")
    right = write_calibration(tmp_path / "right.json", "m1", 0.01)
    assert_fails(run("people", new, "--calibration", right, "--false-match-rate", 1e-6), "1e-06")
    for rate in ("1%", "0", "nan", "0.9"):
        assert_refused(run, new, "--false-match-rate", rate, words="--false-match-rate")
    assert not held(new)[0]
    done = document(run, new, "--calibration", right)
    assert (done["calibrated"], done["people"]) == (True, 30)  # no two records are so near


def test_all_commands_that_group_use_the_calibration_beside_the_model(
    run: Run, site: Site, grouped: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    with Gallery.open(grouped) as store:
        store.remember_model_file(model)
    write_calibration(beside(model), "m1", 0.01)
    assert not document(run, "review", grouped)["questions"]
    said(run, "not", grouped, *mine(site, 2)[:2])
    assert sorted(listed(run, grouped).values()) == [1] * 6 + [6] * 4
    write_calibration(beside(model), "m2", 0.01)
    status, _, err = run("people", "undo", grouped, "c-1")
    assert status == 0
    assert "the calibration is not used: " in err


def test_the_rate_of_false_matches_stays(run: Run, site: Site, new: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with Gallery.open(new) as store:
        store.remember_model_file(model)
    curve = Curve(300, 2000, 5.0, -4.0, 1.2, 0.1, 1.5, (1, 200, 2000), (0.01, 0.6, 1.5))
    Calibration("m1", "d", 100, "neighbours", 2.0, curve, curve, {}, {}).save(beside(model))

    def rate_and_people(*more: object) -> tuple[float, int]:
        done = document(run, new, "--anew", *more)
        return done["false_match_rate"], done["people"]

    assert rate_and_people() == (0.005, 30)
    assert not document(run, "review", new)["questions"]
    assert rate_and_people("--false-match-rate", 0.2) == (0.2, PEOPLE)
    assert rate_and_people() == (0.2, PEOPLE)
    said(run, "not", new, *mine(site, 2)[:2])
    assert len(listed(run, new)) == PEOPLE + 1, "a correction groups with the stored rate"
    said(run, "undo", new, "c-1")
    assert len(listed(run, new)) == PEOPLE
    copied = tmp_path / "copy"
    assert run("gallery", "copy", new, copied)[0] == 0
    with Gallery.open(copied) as store:
        assert store.people.read().false_match_rate == 0.2
    assert rate_and_people("--false-match-rate", 0.005) == (0.005, 30)


@pytest.mark.parametrize("times", [(None, None), (0.0, 4.0)])
def test_records_without_dates(run: Run, tmp_path: Path, times: tuple[float | None, float | None]) -> None:
    site = Site(4)
    with Gallery.open(tmp_path / "g") as store:
        records = [replace(one, start=times[0], end=times[1], source=f"/{one.tracklet}") for one in site.records]
        store.add(np.stack(site.rows), records)
    assert document(run, tmp_path / "g")["people"] == 4
    assert said(run, "show", tmp_path / "g", "person-1").startswith("person-000001: 6 visits\n")
    rows = document(run, "count", tmp_path / "g", "--by", "day,hour")["counts"]
    assert [(row["day"], row["hour"], row["people"]) for row in rows] == [("no date", "no date", 4)]
    assert document(run, "routes", tmp_path / "g")["routes"] == []
    assert said(run, "list", tmp_path / "g")
    draft = tmp_path / "draft.csv"
    assert (
        "with 0 pairs of cameras"
        in run("people", "routes", tmp_path / "g", "--out", draft, "--html", tmp_path / "r.html")[2]
    )


def test_one_camera_and_very_few_records(run: Run, tmp_path: Path) -> None:
    site = Site(6, cameras=1, visits=4)
    with Gallery.open(tmp_path / "one") as store:
        site.enroll(store)
    assert document(run, tmp_path / "one")["people"] == 6
    assert document(run, "routes", tmp_path / "one")["routes"] == []
    for count in (1, 2):
        with Gallery.open(tmp_path / f"few{count}") as store:
            store.add(np.stack(site.rows[:count]), site.records[:count])
        assert document(run, tmp_path / f"few{count}")["people"] == count  # a single distance says nothing
        assert document(run, "review", tmp_path / f"few{count}")["questions"] == []
    assert f"{tmp_path / 'few1'}: 1 person in 1 record (between 1 and 1)" in said(run, tmp_path / "few1")


def test_a_gallery_that_may_not_be_written(
    run: Run, site: Site, grouped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(grouped)
    monkeypatch.setattr(database, "can_be_written", lambda _: False)
    assert len(listed(run, grouped)) == PEOPLE
    assert document(run, "count", grouped)["counts"]
    assert document(run, "review", grouped)["questions"]
    for command, *rest in (
        ("group", "--anew"), ("same", "person-1", "person-2"), ("not", "person-1", "person-2"),
        ("name", "person-1", "Ana"), ("split", "person-1", mine(site, 0)[0]), ("forget", "person-1", "--yes"),
    ):  # fmt: skip
        assert_fails(run("people", command, grouped, *rest), "cannot be written: the file or its folder is on a read-")
    monkeypatch.undo()
    assert held(grouped) == before


def test_a_gallery_of_an_older_toolkit(run: Run, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(new / "gallery.sqlite") as file:
        file.execute("PRAGMA user_version = 4")  # the last one that knew of no people
    file.close()
    with monkeypatch.context() as patch:
        patch.setattr(database, "can_be_written", lambda _: False)
        assert_fails(run("people", new), "made by an older toolkit: open it once where it can be written")
    assert document(run, new)["people"] == PEOPLE
    assert len(listed(run, new)) == PEOPLE


def test_a_gallery_in_milvus(run: Run, site: Site, grouped: Path, tmp_path: Path) -> None:
    """Every command does there what it does in a folder."""
    if not all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite")):
        pytest.skip("needs milvus-lite: pip install '.[milvus]'")
    where, page = f"milvus-lite://{tmp_path}/lite.db/people", tmp_path / "p.html"
    with open_gallery(where) as store:
        site.enroll(store)
    assert_fails(run("people", "list", where), "nobody was grouped yet: run `reid people milvus-lite://")
    assert f"{where}: 5 people in 30 records (between 5 and 5)" in said(run, "group", where)
    assert document(run, where)["grouped"] == 0
    assert listed(run, where) == listed(run, grouped)
    for command in (("count", "--by", "day,camera"), ("routes",)):
        folder, milvus = (document(run, command[0], at, *command[1:]) for at in (grouped, where))
        assert {**folder, "gallery": where} == milvus
    visits = document(run, "show", where, "person-2", "--html", page)["visits"]
    shown = {name for name in site.truth if name in page.read_text()}
    (two,) = {site.truth[name] for name in shown}
    assert shown == set(mine(site, two)) == {name for visit in visits for name in visit["tracklets"]}

    said(run, "name", where, "person-2", "Ana")
    assert "c-1: Ana and person-3 are one person" in said(run, "same", where, "Ana", "person-3")
    assert listed(run, where)["Ana"] == 12
    assert "undone" in said(run, "undo", where, "c-1")
    assert len(listed(run, where)) == PEOPLE
    assert "person-000007" in said(run, "split", where, "Ana", mine(site, two)[0])
    said(run, "undo", where, "c-2..c-6")
    said(run, "not", where, "Ana", "person-1")
    (correction,) = document(run, "corrections", where)["corrections"]
    assert correction["kind"] == "different"
    assert isinstance(document(run, "review", where)["questions"], list)
    assert_fails(run("people", "same", where, "Ana", "person-1"), "cannot be the same person: c-7: ")
    assert "6 records forgotten" in said(run, "forget", where, "Ana", "--yes")
    assert_fails(run("people", "show", where, "Ana"), "nobody is called 'Ana'")
    assert document(run, "corrections", where)["corrections"] == []


def test_copies_and_centres(run: Run, site: Site, grouped: Path, tmp_path: Path) -> None:
    copied, centre = tmp_path / "copy", tmp_path / "centre"
    said(run, "name", grouped, "person-1", "Ana")
    said(run, "same", grouped, "person-2", "person-3")
    assert run("gallery", "copy", grouped, copied)[0] == 0
    assert listed(run, copied) == listed(run, grouped)
    with Gallery.open(centre, model="m1") as store:
        site.enroll(store)
    said(run, "not", centre, mine(site, 1)[0], mine(site, 2)[0])
    status, _, err = run("gallery", "sync", grouped, centre)
    assert status == 0
    (line,) = [line for line in err.splitlines() if "warning: " in line]
    assert "warning: corrections c-1 were not sent, because they contradict corrections of the target" in line
    assert len(document(run, "corrections", centre)["corrections"]) == 1


def test_a_change_by_another_process_meanwhile(
    run: Run, site: Site, grouped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's change is kept, and nothing is half done."""
    from reid_toolkit.people import update as module

    said(run, "same", grouped, "person-1", "person-2")
    solve = module.solve

    def slow(*given: object) -> object:
        monkeypatch.setattr(module, "solve", solve)
        said(run, "name", grouped, "person-3", "Ana")
        return solve(*given)

    for command, *rest in (("group", "--anew"), ("undo", "c-1")):
        said(run, "name", grouped, "person-3", "Ben")
        monkeypatch.setattr(module, "solve", slow)
        before = held(grouped)
        assert_fails(
            run("people", command, grouped, *rest), "another process has changed its people meanwhile", "again"
        )
        after = held(grouped)
        assert after[0] == before[0]
        assert (after[1], after[2]) == ({3: "Ana"}, before[2])
    assert said(run, "undo", grouped, "c-1")
    assert sorted(listed(run, grouped).values()) == [6] * 5


def test_a_locked_gallery(run: Run, grouped: Path) -> None:
    with sqlite3.connect(grouped / "gallery.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(listed(run, grouped)) == PEOPLE
        assert_fails(run("people", "name", grouped, "person-1", "Ana", "--wait", 0), "another process")
        other.execute("ROLLBACK")
    other.close()
    said(run, "name", grouped, "person-1", "Ana")


def test_two_processes_at_once(run: Run, site: Site, new: Path, tmp_path: Path, forked: ForkServerContext) -> None:
    both = [
        forked.Process(target=run_command, args=(tmp_path / name, ["people", str(new)])) for name in ("one", "other")
    ]
    for one in both:
        one.start()
    for one, name in zip(both, ("one", "other"), strict=True):
        one.join(300)
        err = (tmp_path / f"{name}.stderr").read_text()
        assert "Traceback" not in err
        assert one.exitcode == 0 or "another process has changed its people meanwhile" in err
    assert sorted(listed(run, new).values()) == [6] * 5
    assert document(run, new)["new_records"] == 0


def test_pictures_of_a_person(run: Run, tmp_path: Path) -> None:
    site = Site(3, cameras=1, visits=2)
    for number, name in enumerate(("kept.png", "gone.png")):
        image = tmp_path / name
        cv2.imwrite(str(image), np.full((64, 32, 3), 200, np.uint8))
        site.records[3 * number] = replace(site.records[3 * number], image=str(image))
    (tmp_path / "gone.png").unlink()
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
    said(run, tmp_path / "g")
    said(run, "show", tmp_path / "g", "person-1", "--html", tmp_path / "p.html")
    assert (tmp_path / "p.html").read_text().count("data:image/jpeg") == 1


def test_the_user_who_said_so(run: Run, site: Site, grouped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_corrections, "user", lambda: f"ana{ODD}")
    said(run, "same", grouped, "person-1", "person-2")
    assert document(run, "corrections", grouped)["corrections"][0]["who"] == f"ana{ODD}"
    assert r"(ana" + r"ha\nll\x1b" in said(run, "corrections", grouped)


def test_records_past_the_retention_are_not_shown(run: Run, site: Site, grouped: Path) -> None:
    old = Record("old", "camera-0", 1e9, 1e9 + 5, "/old")
    with Gallery.open(grouped) as store:
        store.add(site.rows[0][None], [old])
    said(run, grouped)
    assert sum(listed(run, grouped).values()) == 31
    with Gallery.open(grouped) as store:
        store.keep_for(time.time() - 1.5e9)
    assert sum(listed(run, grouped).values()) == 30
    assert_fails(run("people", "same", grouped, "old", "person-2"), "no person and no tracklet is called 'old'")


def test_a_person_of_whom_nothing_is_shown_can_be_forgotten_and_loses_the_name(run: Run, site: Site, new: Path) -> None:
    row = site.rng.normal(size=(1, site.rows[0].size))
    with Gallery.open(new) as store:
        for n in range(3):
            store.add((row / np.linalg.norm(row)).astype(np.float32), [Record(f"old-{n}", f"camera-{n}", 1e9, 1e9)])
    said(run, new)
    old = next(name for name, records in listed(run, new).items() if records == 3)
    said(run, "name", new, old, "Ana")
    with Gallery.open(new) as store:
        store.keep_for(time.time() - 1.5e9)
    hidden = "all records of Ana are damaged or past the retention"
    assert_fails(run("people", "show", new, "Ana"), hidden)
    assert_fails(run("people", "name", new, "Ana", "Eva"), hidden)
    assert_fails(run("people", "same", new, old, "person-1"), hidden)
    other = next(name for name in listed(run, new) if name != old)
    assert_fails(run("people", "name", new, other, "Ana"), f"of {old} already, whose records are all damaged or past")
    assert said(run, "name", new, "Ana", "--none") == f"Ana is now called {old}\n"
    assert said(run, "name", new, other, "Ana") == f"{other} is now called Ana\n"
    assert said(run, "forget", new, old, "--yes") == f"{new}: 3 records forgotten\n"
    with Gallery.open(new) as store:
        assert store.matching("old-0") == 0


def test_the_audit_log_says_who_looked_at_whom(run: Run, grouped: Path) -> None:
    with Gallery.open(grouped) as store:
        store.switch_audit(True)
    said(run, "list", grouped)
    said(run, "show", grouped, "person-1")
    said(run, "count", grouped)
    said(run, "routes", grouped)
    with Gallery.open(grouped) as store:
        looked = [(event["action"], event.get("person")) for event in store.audit_log() if "people " in event["action"]]
        assert looked == [
            ("people list", None), ("people show", "person-000001"), ("people count", None), ("people routes", None),
        ]  # fmt: skip
    (grouped / "audit.jsonl").unlink()
    status, out, err = run("people", "show", grouped, "person-1")
    assert (status, out) == (1, ""), "what cannot be logged is not shown"
    assert "lines are missing from the audit log" in err
