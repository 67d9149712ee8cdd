"""forget by a picture, purge, retention and audit as a user runs them, on a gallery of three people."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from three_people import EPOCH, Run, assert_fails, search

from reid_toolkit.cli.options import format_duration, parse_duration
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.audit import NAME
from reid_toolkit.records import Record

DAY = 86_400
LATER = EPOCH + 30 * DAY
"""When the tests of age run: all records of the gallery are of 30 days before, to within two minutes."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """``answer(yes)`` answers all that is asked from then on; gives the questions."""

    def prepare(yes: bool) -> list[str]:
        asked: list[str] = []
        monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question) or yes)
        return asked

    return prepare


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: LATER)


def names(folder: Path) -> set[str]:
    with Gallery.open(folder, create=False) as held:
        return {record.tracklet for records, _ in held.records() for record in records}


def descriptors(folder: Path) -> dict[str, list[bytes]]:
    """What of each tracklet must be in no file any more once it is forgotten."""
    with Gallery.open(folder, create=False) as held:
        return {
            record.tracklet: [vector.tobytes(), vector.astype(np.float16).tobytes()]
            for records, vectors in held.records()
            for record, vector in zip(records, vectors, strict=True)
        }


def is_in_a_file(folder: Path, secrets: list[bytes]) -> bool:
    return any(secret in file.read_bytes() for file in folder.iterdir() for secret in secrets)


# ---- forget --like


def test_who_looks_like_a_picture_is_shown_and_then_forgotten(
    run: Run, gallery: Path, dataset: Path, tmp_path: Path, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    held = descriptors(gallery)
    picture = dataset / "door" / "red-0.png"
    forget = ("gallery", "forget", gallery, "--like", picture, "--within", 0.3, "--html", tmp_path / "page.html")
    asked = answer(False)
    status, out, err = run(*forget)
    assert (status, out) == (0, "")
    assert asked == ["Delete 2 records for good?"]
    lines = [line.split() for line in err.splitlines() if "-red" in line]
    assert [(line[0], line[-1]) for line in lines] == [("1", "door-red"), ("2", "hall-red")]
    assert [line[2] for line in lines] == ["door", "hall"]
    assert float(lines[0][1]) < float(lines[1][1]) <= 0.3
    assert "2026-09-21 14:13:20" in err
    assert "nothing was deleted" in err
    assert (tmp_path / "page.html").read_text().count("<img") == 3
    assert names(gallery) == held.keys()
    answer(True)
    document = json.loads(run(*forget, "--json")[1])
    assert (document["forgotten"], document["count"]) == (2, 4)
    assert [match["tracklet"] for match in document["matches"]] == ["door-red", "hall-red"]
    assert names(gallery) == held.keys() - {"door-red", "hall-red"}
    for name, secrets in held.items():
        assert is_in_a_file(gallery, secrets) == (not name.endswith("red"))


def test_the_nearest_are_forgotten_and_of_one_camera_alone(run: Run, gallery: Path, dataset: Path, model: Path) -> None:
    like = ("gallery", "forget", gallery, "--like", dataset / "door", "--yes", "--json")
    document = json.loads(run(*like, "--top-k", 2, "--camera", "hall", "--model", model)[1])
    assert [match["camera"] for match in document["matches"]] == ["hall", "hall"]
    assert (document["forgotten"], document["count"]) == (2, 4)
    document = json.loads(run(*like, "--within", 2, "--source", dataset)[1])
    assert (document["forgotten"], document["count"]) == (4, 0)


def test_nobody_is_that_near(run: Run, gallery: Path, dataset: Path) -> None:
    like = ("gallery", "forget", gallery, "--like", dataset / "door" / "red-0.png")
    status, out, err = run(*like, "--within", 0, "--camera", "hall")
    assert (status, out) == (0, f"{gallery}: 0 records forgotten, 6 left\n")
    assert "no record is that near" in err


def test_all_within_a_distance_are_found_however_many(
    run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_toolkit.search.query.STEP", 1)
    like = ("gallery", "forget", gallery, "--like", dataset / "door" / "red-0.png", "--within", 2, "--yes", "--json")
    assert json.loads(run(*like)[1])["forgotten"] == 6


def test_like_is_refused_where_it_is_not_clear(run: Run, gallery: Path, dataset: Path, tmp_path: Path) -> None:
    picture = dataset / "door" / "red-0.png"
    forget = ("gallery", "forget", gallery, "--yes")
    for wrong, message in (
        (("--like", picture), "needs --within DISTANCE or --top-k N"),
        (("--like", picture, "--within", 1, "--top-k", 1), "and not both"),
        (("--like", picture, "--top-k", 1, "--tracklet", "door-red"), "expected one of both"),
        (("--within", 1, "--camera", "door"), "go with --like"),
    ):
        status, out, err = run(*forget, *wrong)
        assert (status, out) == (2, "")
        assert message in " ".join(err.replace("│", " ").split())
    assert_fails(run(*forget, "--like", tmp_path / "none.jpg", "--top-k", 1), "none.jpg: no such file")
    assert len(names(gallery)) == 6


# ---- purge


def test_purge(run: Run, gallery: Path, later, answer) -> None:
    with Gallery.open(gallery) as held:
        vectors = next(held.records())[1]
        held.add(vectors[:1], [Record("undated", "door", 1.0, 2.0)])
        held.add(vectors[:1], [Record("new", "door", LATER - 5, LATER)])
    secrets = descriptors(gallery)
    purge = ("gallery", "purge", gallery)
    assert json.loads(run(*purge, "--older-than", "31d", "--yes", "--json")[1])["purged"] == 0
    asked = answer(False)
    status, out, err = run(*purge, "--older-than", "2026-10-15")
    assert (status, out) == (0, "")
    assert "nothing was deleted" in err
    assert asked == ["Delete 6 records for good, last seen or enrolled before 2026-10-15 00:00 UTC?"]
    assert len(names(gallery)) == 8
    document = json.loads(run(*purge, "--older-than", "4w", "--camera", "hall", "--yes", "--json")[1])
    assert document == {
        "gallery": str(gallery), "purged": 3, "undated": 0, "before": LATER - 28 * DAY, "count": 5,
    }  # fmt: skip
    assert run(*purge, "--older-than", "700h", "--yes")[1] == f"{gallery}: 3 records purged, 2 left\n"
    assert names(gallery) == {"undated", "new"}
    assert not any(is_in_a_file(gallery, secrets[f"hall-{name}"]) for name in ("red", "green", "blue"))
    assert is_in_a_file(gallery, secrets["new"])


def test_records_without_a_date_are_as_old_as_their_enrolment(
    run: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch, answer
) -> None:
    with Gallery.open(gallery) as held:
        held.add(next(held.records())[1][:1], [Record("undated", "door", 1.0, 2.0)])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * 365 * DAY)
    purge = ("gallery", "purge", gallery, "--older-than", "30d")
    asked = answer(False)
    run(*purge)
    run(*purge, "--keep-undated")
    assert [question.startswith("Delete 7") for question in asked] == [True, False]
    assert "UTC (1 without a date)?" in asked[0]
    assert "without" not in asked[1]
    assert json.loads(run(*purge, "--keep-undated", "--yes", "--json")[1])["purged"] == 6
    assert names(gallery) == {"undated"}
    assert json.loads(run(*purge, "--yes", "--json")[1])["undated"] == 1
    assert names(gallery) == set()


def test_ages_that_are_none(run: Run, gallery: Path) -> None:
    never = ("30", "d", "0d", "-3d", "30 days", "1y", "yesterday", "2999-01-01", "99999999w", "0001-01-01T00:00+14:00")
    for age in never:
        status, _, err = run("gallery", "purge", gallery, "--yes", "--older-than", age)
        assert status == 2, age
        assert "expected" in err or "in the future" in err
    assert_fails(run("gallery", "purge", gallery, "--yes"), "has no retention to go by", "--older-than")
    assert len(names(gallery)) == 6


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("30d", 30 * DAY), ("4w", 28 * DAY)])
def test_lengths_of_time_are_read_and_written_alike(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == text
    assert parse_duration(format_duration(1.5 * seconds)) == 1.5 * seconds


@pytest.mark.parametrize("command", [("purge", "--older-than", "31d"), ("forget", "--camera", "none")])
def test_what_was_deleted_before_leaves_the_index_files_too(run: Run, gallery: Path, later, command) -> None:
    """Of a `forget` that was killed before it was done, or of what `enroll` and `watch` deleted as too old."""
    secrets = descriptors(gallery)
    with Gallery.open(gallery, exact_below=1) as held:
        held.build_index()
        held.delete(camera="hall")
    gone = {name for name in secrets if name.startswith("hall")}
    assert {name for name in secrets if is_in_a_file(gallery, secrets[name])} == secrets.keys()
    status, out, err = run("gallery", command[0], gallery, *command[1:], "--yes")
    if command[0] == "forget":
        assert (status, out) == (1, "")
        assert "nothing in it is of camera 'none': nothing to delete" in err
    else:
        assert (status, out.split(": ")[1][:9]) == (0, "0 records")
    assert "still in files of the gallery, and is gone from them" in " ".join(err.split())
    assert {name for name in secrets if is_in_a_file(gallery, secrets[name])} == secrets.keys() - gone
    assert "files of the gallery" not in run("gallery", command[0], gallery, *command[1:], "--yes")[2]


# ---- sources


def test_a_stream_is_found_and_forgotten_by_its_address(run: Run, gallery: Path, dataset: Path) -> None:
    with Gallery.open(gallery, create=False) as held:
        vector = next(iter(held.records()))[1][:1]
        held.add(vector, [Record("yard-1", "yard", source="rtsp://camera/stream")])
    for address in ("rtsp://camera/stream", "rtsp://user:secret@camera/stream"):
        there = ("--gallery", gallery, "--source", address)
        found = search(run, dataset / "door" / "red-0.png", *there)
        assert [match["tracklet"] for match in found] == ["yard-1"]
    status, out, _ = run("gallery", "forget", gallery, "--source", "rtsp://user:secret@camera/stream", "--yes")
    assert (status, out) == (0, f"{gallery}: 1 record forgotten, 6 left\n")


def test_no_source_is_not_the_working_directory(
    run: Run, gallery: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a script whose variable is not set."""
    monkeypatch.chdir(dataset)
    for command in (("forget",), ("purge", "--older-than", "1d")):
        status, _, err = run("gallery", command[0], gallery, *command[1:], "--source", "", "--yes")
        assert status == 2
        assert "expected a dataset folder" in err
    assert run("search", dataset / "door" / "red-0.png", "--gallery", gallery, "--source", "")[0] == 2
    assert len(names(gallery)) == 6


# ---- retention


def test_retention(run: Run, gallery: Path, dataset: Path, later, answer) -> None:
    retention = ("gallery", "retention", gallery)
    picture = dataset / "door" / "red-0.png"
    assert run(*retention)[1] == f"{gallery}: records are kept for ever\n"
    asked = answer(False)
    status, out, err = run(*retention, "2w")
    assert (status, out) == (0, "")
    assert "nothing was changed" in err
    assert asked[0].startswith("Hide 6 older records")
    assert len(search(run, picture, "--gallery", gallery)) == 6
    document = json.loads(run(*retention, "2w", "--yes", "--json")[1])
    assert document == {"gallery": str(gallery), "retention": 14 * DAY, "past": 6}
    assert search(run, picture, "--gallery", gallery) == []
    out = run("gallery", "info", gallery)[1]
    assert "records are kept for 2w; 6 records are past it: they are hidden, and not deleted yet" in out
    held = json.loads(run("gallery", "info", gallery, "--json")[1])
    assert (held["count"], held["retention"], held["past"]) == (6, 14 * DAY, 6)
    status, out, err = run("gallery", "forget", gallery, "--like", picture, "--top-k", 1, "--yes")
    assert (status, out) == (0, f"{gallery}: 0 records forgotten, 6 left\n")
    assert "6 records are past the retention" in " ".join(err.split())
    assert run("gallery", "copy", gallery, gallery.with_name("copy"))[1].endswith(
        f"; 6 past the retention of {gallery} left out\n"
    )
    assert names(gallery.with_name("copy")) == set()
    out = run("gallery", "sync", gallery, gallery.with_name("centre"))[1]
    assert out.endswith(f": 0 sent, 0 forgotten, 0 unchanged; 6 past the retention of {gallery} not sent\n")
    assert names(gallery.with_name("centre")) == set()
    assert "kept for ever" in run(*retention, "off")[1]
    assert len(search(run, picture, "--gallery", gallery)) == 6
    assert run(*retention, "31d")[0] == 0
    assert len(asked) == 1  # nothing is hidden, so nothing is asked
    assert run(*retention, "soon")[0] == 2
    run(*retention, "2w", "--yes")
    assert json.loads(run("gallery", "purge", gallery, "--yes", "--json")[1])["purged"] == 6


def test_enroll_leaves_out_what_is_too_old_and_deletes_what_became_so(
    run: Run, gallery: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("gallery", "retention", gallery, "2w", "--yes")
    secrets = descriptors(gallery)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: LATER)
        enroll = ("enroll", dataset, "--model", model, "--gallery", gallery)
        status, out, err = run(*enroll, "--json")
        first = json.loads(out)
        second = json.loads(run(*enroll, "--json")[1])
    assert (first["already"], first["expired"], first["count"]) == (6, 6, 0)
    assert "deleted 6 records past the gallery's retention" in err
    assert (second["enrolled"], second["too_old"], second["expired"], second["count"]) == (0, 6, 0, 0)
    assert not any(is_in_a_file(gallery, secret) for secret in secrets.values())
    assert status == 0


# ---- audit


def test_audit(run: Run, gallery: Path, dataset: Path, answer) -> None:
    audit = ("gallery", "audit", gallery)
    answer(True)
    assert run(*audit, "show")[1] == f"{gallery}: audit log off, 0 lines\n"
    head = json.loads(run(*audit, "on", "--json")[1])
    assert (head["on"], head["lines"]) == (True, 1)
    search(run, dataset / "door" / "red-0.png", "--gallery", gallery, "--camera", "hall", "--top-k", 2)
    run("gallery", "forget", gallery, "--like", dataset / "door" / "red-0.png", "--top-k", 1)
    run("gallery", "purge", gallery, "--older-than", "2026-01-01T00:00Z")
    document = json.loads(run(*audit, "show", "--json")[1])
    events = document["events"]
    assert [event["action"] for event in events] == ["audit on", "search", "search", "delete", "compact"]
    assert (events[1]["query"], events[1]["filters"], events[1]["matches"]) == ("red-0", {"cameras": ["hall"]}, 2)
    assert events[3]["criteria"]["named"][0]["tracklet"] == "door-red"
    lines = run(*audit, "show")[1].splitlines()
    assert len(lines) == 6
    assert lines[1].startswith(events[1]["time"])
    assert "search  query red-0, descriptor " in lines[1]
    assert '"cameras": ["hall"]' in lines[1]
    assert lines[-1] == f"{gallery}: audit log on, 5 lines, the last {document['last']}"
    assert "audit    on, 5 lines" in run("gallery", "info", gallery)[1]
    assert run("gallery", "audit", gallery, "off")[1].startswith(f"{gallery}: audit log off, 6 lines")


def test_a_log_that_was_changed_is_named_by_check_and_one_that_is_away_stops_searches(
    run: Run, gallery: Path, dataset: Path
) -> None:
    query = ("search", dataset / "door" / "red-0.png", "--gallery", gallery)
    run("gallery", "audit", gallery, "on")
    assert run(*query)[0] == run(*query)[0] == 0
    assert run("gallery", "check", gallery)[0] == 0
    log = gallery / NAME
    content = log.read_bytes()
    log.write_bytes(content.replace(b'"matches": 6', b'"matches": 1', 1))
    status, out, err = run("gallery", "check", gallery)
    assert status == 1
    assert "audit log: line 3 does not follow from line 2" in out
    assert "its records are undamaged, but its audit log is not" in err
    assert json.loads(run("gallery", "check", gallery, "--json")[1])["sound"] is False
    first, _, rest = content.partition(b"\n")
    for wrong in (b"[1, 2]", b"7", b"{}", b"\xff", b"[" * len(rest)):
        log.write_bytes(first + b"\n" + wrong.ljust(len(rest)))
        assert "audit log: line 2 does not follow from line 1" in run("gallery", "check", gallery)[1]
        status, out, _ = run("gallery", "audit", gallery, "show")
        assert status == 0
        assert len(out.splitlines()) == 2
    log.unlink()
    assert_fails(run(*query), "not answered", "lines are missing from the audit log")
    assert_fails(run("gallery", "forget", gallery, "--camera", "door", "--yes"), "lines are missing")
    assert json.loads(run("gallery", "info", gallery, "--json")[1])["count"] == 6
    log.write_bytes(content)
    assert run("gallery", "check", gallery)[0] == run(*query)[0] == 0


def test_a_gallery_in_milvus_keeps_no_log(run: Run) -> None:
    assert_fails(run("gallery", "audit", "milvus://centre/people", "on"), "expected a folder", "access log")
