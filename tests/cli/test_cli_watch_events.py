import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import onnx
import pytest
from drawn_yard import write_video
from model_server import running
from tiny_model import build_model

from reid_toolkit.gallery import Gallery
from reid_toolkit.live.events import sender


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A command that watches a walker."""
    onnx.save_model(build_model(), tmp_path / "tiny.onnx")
    video = write_video(tmp_path / "yard.avi", 50)
    return ["watch", video, "--model", tmp_path / "tiny.onnx", "--gallery", tmp_path / "gallery"]


def read(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_go_to_a_file_and_into_the_report(reid, words: list[object], tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    report = reid(*words, "--events", path, "--seen-every", "1", "--left-after", "5", "--json").json
    told = read(path.read_text())
    assert [event["kind"] for event in told] == ["entered", "seen", "seen", "left"]
    assert report["events"] == [{"destination": str(path), "sent": 4, "waiting": 0, "dropped": 0, "refused": 0}]
    reid(*words, "--events", path, "--seen-every", "1", "--left-after", "5")
    again = read(path.read_text())
    assert again == told * 2, "the same keys, because the file is the same"
    assert "events" not in reid(*words, "--json").json


def test_events_go_to_stdout_and_words_to_stderr(reid, words: list[object], tmp_path: Path) -> None:
    done = reid(*words, "--events", "-", "--events", tmp_path / "events.jsonl")
    assert done.status == 0
    assert [event["kind"] for event in read(done.out)] == ["entered", "left"]
    assert " 1 enrolled, " in done.err
    assert (tmp_path / "events.jsonl").read_text() == done.out


def test_cameras_have_events_of_their_own(reid, words: list[object], tmp_path: Path) -> None:
    other = write_video(tmp_path / "gate.avi", 50, shade=9)
    done = reid(*words, other, "--camera", "A", "--camera", "B", "--events", "-", "--start", "2026-11-22T12:00:00Z")
    told = read(done.out)
    assert [(event["kind"], event["camera"]) for event in told] == [
        ("entered", "A"), ("entered", "B"), ("left", "A"), ("left", "B"),
    ]  # fmt: skip
    assert all(event["time"] > 1.7e9 for event in told)
    assert "A: 50 frames" in done.err


def test_events_are_posted(reid, words: list[object], tmp_path: Path) -> None:
    got: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with running(Handler) as address:
        report = reid(*words, "--events", f"{address}/hook", "--events-queue", tmp_path / "q", "--json").json
    assert [event["kind"] for event in got] == ["entered", "left"]
    assert report["events"][0]["destination"] == f"{address}/..."
    assert report["events"][0]["sent"] == 2


def test_what_cannot_be_sent_waits_for_the_next_watch(
    reid, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "CLOSE_SECONDS", 0.5)
    done = reid(*words, "--events", "http://127.0.0.1:9/hook", "--events-queue", tmp_path / "q", "--json")
    assert done.json["events"][0]["waiting"] == 2
    first, last = (line for line in done.err.splitlines() if line.startswith("warning: "))
    assert first.startswith("warning: http://127.0.0.1:9/...: events cannot be sent now: ")
    assert f"2 events wait in {tmp_path / 'q'}" in last


def test_events_that_are_lost_are_an_error_at_the_end(
    reid, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reid_toolkit.live.events.lines.FileSink._append", full)
    done = reid(*words, "--events", tmp_path / "events.jsonl", "--json")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: events are lost, ")
    assert json.loads(done.out)["events"][0]["dropped"] == 2


def test_bad_destinations_are_one_line_before_anything_is_watched(reid, words: list[object], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")

    def error(*more: object) -> str:
        return reid(*words, *more).error

    assert "holds no events" in error("--events", tmp_path / "notes.txt")
    assert "is not a file" in error("--events", tmp_path)
    assert "cannot be written" in error("--events", tmp_path / "gone" / "events.jsonl")
    assert "unknown kind of address 'ftp'" in error("--events", "ftp://host/x")
    assert "expected mqtt://HOST" in error("--events", "mqtt://host")
    assert "has a user or a password" in error("--events", "https://me:hunter2@host/x")
    assert "named twice" in error("--events", "-", "--events", "-")
    assert "both write to stdout" in error("--events", "-", "--json")
    assert "give --events too" in error("--left-after", "5")
    assert "for brokers and webhooks" in error("--events", tmp_path / "e.jsonl", "--events-queue", tmp_path / "q")
    hook = ("--events", "http://127.0.0.1:9/", "--events-queue")
    assert "choose another --events-queue" in error(*hook, tmp_path / "notes.txt" / "queue")
    assert reid(*words, *hook, tmp_path / "notes.txt").status == 2
    assert not (tmp_path / "gallery").exists()
    assert (tmp_path / "notes.txt").read_text() == "buy milk"


@pytest.fixture
def start(words: list[object]) -> Iterator:
    started: list[subprocess.Popen] = []

    def run(*more: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "reid_toolkit", *map(str, [*words, *more])]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
        time.sleep(0.05)


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_between_two_events_it_goes_on_with_whole_lines(start, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    process = start("--events", path, "--loop", "100000")
    wait_for(lambda: lines_of(path) >= 3, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read(path.read_text())
    with open(path, "ab") as file:
        file.write(b'{"kind": "ente')  # as if it was killed in the middle of a line
    process = start("--events", path)
    assert process.wait(timeout=60) == 0, process.stderr.read().decode()
    after = read(path.read_text())
    assert after[: len(before)] == before
    assert [event["kind"] for event in after[len(before) :]] == ["entered", "left"]
    assert after[len(before)]["key"] == before[0]["key"], "the event is known by its key"


def test_two_watches_share_a_gallery_and_a_file_of_events(start, tmp_path: Path) -> None:
    """As on a box with many cameras (docs/deploy.md). Both start at once, and the gallery is not there yet."""
    path = tmp_path / "events.jsonl"
    both = [start("--events", path, "--camera", name, "--loop", "20") for name in ("hall", "gate")]
    for process in both:
        assert process.wait(timeout=120) == 0, process.stderr.read().decode()
    told = read(path.read_text())
    for name in ("hall", "gate"):
        mine = [event["kind"] for event in told if event["camera"] == name]
        assert (mine.count("entered"), mine.count("left")) == (20, 20)
    with Gallery.open(tmp_path / "gallery", create=False) as gallery:
        assert gallery.info().cameras == {"hall": 20, "gate": 20}


def test_ctrl_c_lets_everybody_leave(start, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    process = start("--events", path, "--loop", "100000")
    wait_for(lambda: lines_of(path) >= 3, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    told = read(path.read_text())
    entered, left = ([e["visit"] for e in told if e["kind"] == kind] for kind in ("entered", "left"))
    assert sorted(entered) == sorted(left)
