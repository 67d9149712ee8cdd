"""The audit log: searches and deletions are in it or not done, and none of it can be changed unseen."""

import getpass
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D, make_people

from reid_toolkit.errors import AuditError, GalleryError
from reid_toolkit.gallery import Filter, Gallery
from reid_toolkit.gallery.local.audit import NAME
from reid_toolkit.records import Record

DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of 40 with its log switched on."""
    with Gallery.open(tmp_path / "g", dimension=D) as gallery:
        gallery.add(*make_people(count=40))
        gallery.switch_audit(True)
    return tmp_path / "g"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / NAME).read_text().splitlines()]


def faults(path: Path) -> tuple[str, ...]:
    with Gallery.open(path) as gallery:
        report = gallery.check()
        assert report.sound == (not report.audit)
        return report.audit


def test_searches_are_in_the_log(path: Path) -> None:
    vectors, records = make_people(count=40)
    with Gallery.open(path) as gallery:
        gallery.search(vectors[3], 5, ["a", "b"], since=2, tags=["hat"], exclude=records[:2], name="door-3")
        gallery.search_batch(vectors[:2], 50, Filter(sources=["/s/3"], until=100.0))
        gallery.search(vectors[0])
        shown = gallery.audit_log()
    begun, one, first, second, plain = lines(path)
    assert shown == [begun, one, first, second, plain]
    assert begun["action"] == "audit on"
    assert abs(datetime.fromisoformat(one["time"]) - datetime.now(UTC)) < timedelta(hours=1)
    assert one["time"].endswith("Z")
    assert one["user"] == pwd.getpwuid(os.getuid()).pw_name
    row = vectors[3].astype(np.float64) / np.linalg.norm(vectors[3].astype(np.float64))
    assert {key: one[key] for key in ("line", "action", "query", "descriptor", "top_k", "filters", "matches")} == {
        "line": 2, "action": "search", "query": "door-3", "top_k": 5,
        "descriptor": hashlib.sha256(row.astype(np.float32).tobytes()).hexdigest(),
        "filters": {"cameras": ["a", "b"], "since": 2, "tags": ["hat"], "exclude": 2}, "matches": 5,
    }  # fmt: skip
    assert (first["filters"], first["top_k"], first["matches"]) == ({"sources": ["/s/3"], "until": 100.0}, 50, 6)
    assert first["descriptor"] != second["descriptor"]
    assert (plain["query"], plain["filters"], plain["matches"]) == ("", {}, 10)
    assert faults(path) == ()


def test_a_page_is_a_line(path: Path) -> None:
    vectors, _ = make_people(count=40)
    with Gallery.open(path) as gallery:
        page = gallery.search_page(vectors[0], 7, Filter(cameras=["a"]), name="who")
        gallery.search_page(vectors[0], 7, Filter(cameras=["a"]), after=page.after)
        gallery.search_page(vectors[0], 3, group="camera")
        gallery.search_page(vectors[0], 4, group="tracklet")
        gallery.search_after(vectors[0], 5)
    found = [(line["query"], line["top_k"], line["matches"]) for line in lines(path)[1:]]
    assert found == [("who", 7, 7), ("", 7, 3), ("", 3, 12), ("", 4, 4), ("", 5, 5)]
    assert len({line["descriptor"] for line in lines(path)[1:]}) == 1
    assert faults(path) == ()


def test_deletions_are_in_the_log(path: Path) -> None:
    _, records = make_people(count=40)
    with Gallery.open(path) as gallery:
        gallery.delete(tracklet="t1")
        gallery.forget(camera="b", source="/s/3", before=1e9, keep_undated=True)
        gallery.delete_records([records[2], records[3]])
        gallery.forget(tracklet="t4")
        gallery.keep_for(DAY)
        list(gallery.records())
        gallery.switch_audit(False)
        gallery.delete(tracklet="t5")
    held = [{key: line[key] for key in line if key not in ("line", "time", "user", "previous")} for line in lines(path)]
    assert held == [
        {"action": "audit on"},
        {"action": "delete", "criteria": {"tracklet": "t1"}, "records": 1},
        {
            "action": "delete", "records": 0,
            "criteria": {"camera": "b", "source": "/s/3", "before": 1e9, "keep_undated": True},
        },
        {"action": "compact"},  # which erases what `delete` has left
        {
            "action": "delete", "records": 2,
            "criteria": {"named": [
                {"tracklet": "t2", "camera": "c", "source": "/s/2"},
                {"tracklet": "t3", "camera": "d", "source": "/s/3"},
            ]},
        },
        {"action": "delete", "criteria": {"tracklet": "t4"}, "records": 1},
        {"action": "compact"},
        {"action": "retention", "seconds": DAY},
        {"action": "read all"},
        {"action": "audit off"},
    ]  # fmt: skip


def test_what_expires_is_in_the_log(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.add(make_people(count=4)[0][:1], [Record("old", "a", 1e9, 1e9)])
        gallery.keep_for(DAY)
        gallery.expire()
        gallery.expire()
    assert [line["action"] for line in lines(path)] == ["audit on", "retention", "delete"]
    assert lines(path)[2]["criteria"].keys() == {"before"}


def test_off_is_the_default_and_leaves_no_file(tmp_path: Path) -> None:
    vectors, records = make_people(count=4)
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.add(vectors, records)
        gallery.search(vectors[0])
        gallery.forget(tracklet="t1")
        gallery.switch_audit(False)
        assert gallery.audit_log() == []
        assert gallery.info().audit is None
        assert gallery.check().sound
    assert not (tmp_path / "g" / NAME).exists()


def test_the_descriptor_is_not_in_the_log_and_names_need_not_be_unicode(path: Path) -> None:
    vectors, _ = make_people(count=4)
    with Gallery.open(path) as gallery:
        gallery.search(vectors[0], name='a\udcff\n"ü" \u2028')
        assert gallery.audit_log()[-1]["query"] == 'a\udcff\n"ü" \u2028'
    content = (path / NAME).read_bytes()
    assert content.count(b"\n") == 2
    assert vectors[0].tobytes() not in content
    assert str(float(vectors[0][0]))[:6].encode() not in content
    assert faults(path) == ()


def test_only_the_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Gallery.open(tmp_path / "g") as gallery:
            gallery.switch_audit(True)
            gallery.add(*make_people(count=4))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "g").iterdir()}
    finally:
        os.umask(before)
    assert modes.keys() == {"gallery.sqlite", "gallery.sqlite-wal", "gallery.sqlite-shm", NAME}
    assert set(modes.values()) == {0o600}


def change(content: list[bytes]) -> list[bytes]:
    return [content[0], content[1].replace(b'"matches": 10', b'"matches": 11'), *content[2:]]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (change, "line 3 does not follow from line 2"),
        (lambda content: [*content[:1], *content[2:]], "line 2 does not follow from line 1"),
        (lambda content: content[1:], "line 1 does not follow from the beginning"),
        (lambda content: [content[0], content[2], content[1], content[3]], "line 2 does not follow"),
        (lambda content: [content[0], content[0], *content[1:]], "line 2 does not follow"),
        (lambda content: content[:-1], "its end is missing: expected 4 lines, got 3"),
        (lambda content: [], "its end is missing: expected 4 lines, got 0"),
        (lambda content: [*content[:3], content[3].replace(b'"top_k": 10', b'"top_k": 99')], "line 4, the last, was"),
        (lambda content: [*content[:3], content[3][:-10]], "line 4"),
        (lambda content: [*content[:2], b"no JSON", content[3]], "line 3 does not follow"),
        (lambda content: [*content[:2], b"[]", content[3]], "line 3 does not follow"),
    ],
)  # fmt: skip
def test_what_was_changed_or_removed_shows(path: Path, harm, message: str) -> None:
    vectors, _ = make_people(count=4)
    with Gallery.open(path) as gallery:
        for vector in vectors[:3]:
            gallery.search(vector)
    assert faults(path) == ()
    content = (path / NAME).read_bytes().split(b"\n")[:-1]
    (path / NAME).write_bytes(b"".join(line + b"\n" for line in harm(content)))
    (fault,) = faults(path)
    assert message in fault


def test_every_flipped_bit_shows(path: Path) -> None:
    with Gallery.open(path) as gallery:
        gallery.search(make_people(count=4)[0][0])
    content = (path / NAME).read_bytes()
    for at in range(0, len(content) - 1, 7):
        (path / NAME).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert len(faults(path)) == 1


@pytest.mark.parametrize("harm", ["missing", "short", "foreign end"])
def test_without_its_line_nothing_is_answered_or_deleted(path: Path, harm: str) -> None:
    vectors, _ = make_people(count=4)
    log = path / NAME
    content = log.read_bytes()
    if harm == "missing":
        log.unlink()
    else:
        log.write_bytes(content[:-3] if harm == "short" else content + b"{}\n")
    broken = log.read_bytes() if log.exists() else None
    with Gallery.open(path) as gallery:
        for call in (
            lambda: gallery.search(vectors[0]),
            lambda: gallery.search_batch(vectors[:2]),
            lambda: gallery.search_after(vectors[0]),
            lambda: gallery.search_page(vectors[0]),
            lambda: gallery.delete(tracklet="t1"),
            lambda: gallery.delete_records(make_people(count=4)[1]),
            lambda: gallery.compact(),
            lambda: gallery.keep_for(DAY),
            lambda: next(gallery.records()),
        ):
            with pytest.raises(AuditError, match=r"audit\.jsonl.*restore the file; or move it away") as caught:
                call()
            assert "\n" not in str(caught.value)
        assert len(gallery) == 40
        assert gallery.retention is None
    assert (log.read_bytes() if log.exists() else None) == broken
    log.write_bytes(content)
    with Gallery.open(path) as gallery:
        assert len(gallery.search(vectors[0])) == 10


def test_a_full_disk_is_named_and_leaves_the_log_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = make_people(count=4)
    content = (path / NAME).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Gallery.open(path) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr("reid_toolkit.gallery.local.audit.os.fsync", full)
            with pytest.raises(AuditError, match=r"not answered, .*cannot be written: No space left"):
                gallery.search(vectors[0])
            with pytest.raises(AuditError, match="No space left"):
                gallery.delete(tracklet="t1")
        assert (path / NAME).read_bytes() == content
        assert len(gallery) == 40
        gallery.search(vectors[0])
    assert faults(path) == ()


def test_a_search_waits_for_a_writer_and_is_then_not_answered(path: Path) -> None:
    import sqlite3

    with Gallery.open(path, wait=0) as gallery:
        other = sqlite3.connect(path / "gallery.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditError, match=r"not answered, .*another process is writing"):
            gallery.search(make_people(count=4)[0][0])
        other.close()


def test_a_line_of_a_process_that_was_killed_is_kept_and_half_a_line_cut(path: Path) -> None:
    vectors, _ = make_people(count=4)
    program = (
        "import os, sys; import numpy as np; from reid_toolkit.gallery import Gallery\n"
        "from reid_toolkit.gallery.local import audit\n"
        "append = audit.append\n"
        "def killed(*given): append(*given); os._exit(9)\n"
        "audit.append = killed\n"
        f"Gallery.open(sys.argv[1]).search(np.eye({D}, dtype=np.float32)[0], name='never answered')\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert len(lines(path)) == 2
    assert faults(path) == ()
    with open(path / NAME, "ab") as file:
        file.write(b'{"line": 3, "time": "20')
    with Gallery.open(path) as gallery:
        gallery.search(vectors[0], name="next")
    assert [line.get("query") for line in lines(path)] == [None, "never answered", "next"]
    assert faults(path) == ()


def test_off_and_on_again_goes_on_and_after_a_loss_begins_anew_and_says_so(path: Path) -> None:
    vectors, _ = make_people(count=4)
    with Gallery.open(path) as gallery:
        gallery.switch_audit(True)
        gallery.switch_audit(False)
        gallery.search(vectors[0])
        gallery.switch_audit(True)
        assert [line["action"] for line in lines(path)] == ["audit on", "audit off", "audit on"]
        head = gallery.info().audit
        last = (path / NAME).read_bytes().splitlines()[-1]
        assert head == {"on": True, "lines": 3, "last": hashlib.sha256(last).hexdigest()}
        (path / NAME).rename(path.parent / "lost.jsonl")
        with pytest.raises(AuditError, match="lines are missing"):
            gallery.search(vectors[0])
        gallery.switch_audit(False)
        assert len(gallery.search(vectors[0])) == 10
        assert gallery.check().audit == ("its end is missing: expected 3 lines, got 0",)
        gallery.switch_audit(True)
        (line,) = gallery.audit_log()
        assert line["lost"] == {"lines": 3, "last": head["last"]}
    assert faults(path) == ()


def test_threads_and_processes_share_one_log(path: Path) -> None:
    vectors, _ = make_people(count=40)
    program = (
        "import sys; from reid_toolkit.gallery import Gallery; import numpy as np\n"
        "with Gallery.open(sys.argv[1], wait=60) as gallery:\n"
        f"    for _ in range(10): gallery.search(np.eye({D}, dtype=np.float32)[0], name='process')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)])
    failures: list[GalleryError] = []

    def work(gallery: Gallery) -> None:
        try:
            for vector in vectors[:10]:
                gallery.search(vector, name="thread")
        except GalleryError as error:
            failures.append(error)

    with Gallery.open(path, wait=60) as gallery:
        threads = [threading.Thread(target=work, args=(gallery,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert process.wait() == 0
    assert failures == []
    queries = [line.get("query") for line in lines(path)]
    assert (queries.count("thread"), queries.count("process"), len(queries)) == (30, 10, 41)
    assert faults(path) == ()


def test_who_is_asked_of_the_system_and_not_of_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody else")
    assert getpass.getuser() == "somebody else"
    with Gallery.open(path) as gallery:
        gallery.search(make_people(count=4)[0][0])
    assert lines(path)[-1]["user"] == pwd.getpwuid(os.getuid()).pw_name
