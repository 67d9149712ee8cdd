"""Frigate's events become tracklets; tested against a stub of its documented API."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from drawn_yard import ScriptedDetector, write_video
from frigate_server import BEGIN, BOX, HEIGHT, WIDTH, Frigate, frigate, picture

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DownloadError, InputError
from reid_toolkit.footage.changes import drop
from reid_toolkit.footage.dataset_writer import frame_sizes
from reid_toolkit.footage.frigate import events
from reid_toolkit.footage.frigate.client import FrigateClient, base_of
from reid_toolkit.footage.frigate.ingest import FrigateReport, ingest_frigate
from reid_toolkit.footage.ingest import ingest


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def held() -> Frigate:
    return Frigate()


@pytest.fixture
def address(held: Frigate) -> Iterator[str]:
    with frigate(held) as address:
        yield address


class Pauses(list[float]):
    """Stands for sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(address: str, *login: str, retry_seconds: float = 30.0) -> FrigateClient:
    return FrigateClient(address, *login, retry_seconds=retry_seconds, sleep=Pauses())


def run(address: str, out: Path, **about: object) -> FrigateReport:
    return ingest_frigate(client(address), out, **about)  # type: ignore[arg-type]


def pictures_asked(held: Frigate) -> list[str]:
    return [path for path in held.asked if "/snapshot" in path]


def test_an_event_becomes_a_tracklet(held: Frigate, address: str, tmp_path: Path) -> None:
    held.add("1795000000.123-abc", data={"snapshot_frame_time": BEGIN + 2.5})
    held.add("b-2", camera="gate", data={"score": None})
    held.cameras["gate"] = {}
    report = run(address, tmp_path / "set")
    assert (report.events, report.stored, report.warnings, report.cameras) == (2, 2, [], {"north": 1, "gate": 1})
    gate, north = read_manifest(tmp_path / "set").tracklets
    assert (north.name, north.camera) == ("frigate-north-1795000000.123-abc", "north")
    assert (north.start, north.end) == (BEGIN + 2.5, BEGIN + 2.5)
    assert gate.start == BEGIN + 30  # the begin of the event, if the time of the snapshot is not said
    (crop,) = north.crops
    assert (crop.x, crop.y, crop.width, crop.height, crop.score) == (80, 45, 40, 90, 0.8)
    assert gate.crops[0].score == 0.9
    image = cv2.imread(str(crop.path))
    assert image.shape[:2] == (100, 44)  # 90 x 40 and a margin of a twentieth on each side, rounded to even numbers
    assert abs(int(image[50, 22, 0]) - 11) <= 2
    assert frame_sizes(tmp_path / "set") == dict.fromkeys((crop.recording, gate.crops[0].recording), (WIDTH, HEIGHT))


def test_events_that_are_there_are_not_fetched_again(held: Frigate, address: str, tmp_path: Path) -> None:
    held.add("a")
    held.add("b", end_time=None)
    first = run(address, tmp_path / "set")
    assert (first.stored, first.in_progress) == (1, 1)
    held.events[1]["end_time"] = BEGIN + 50
    held.add("c")
    held.asked.clear()
    second = run(address, tmp_path / "set")
    assert (second.stored, second.skipped) == (2, 1)
    assert not [path for path in pictures_asked(held) if "/a/" in path]
    assert len(read_manifest(tmp_path / "set").tracklets) == 3
    assert run(address, tmp_path / "set").skipped == 3


def test_recordings_and_events_share_a_dataset(held: Frigate, address: str, tmp_path: Path) -> None:
    held.add("a")
    video = write_video(tmp_path / "yard.avi", frames=30)
    for _ in range(2):
        run(address, tmp_path / "set")
        ingest([video], tmp_path / "set", detector=ScriptedDetector(), every=2)
    assert [one.name for one in read_manifest(tmp_path / "set").tracklets] == ["frigate-north-a", "yard-00000"]
    drop(tmp_path / "set", ["frigate-north-a"])
    assert run(address, tmp_path / "set").skipped == 1


def test_pages_follow_each_other(held: Frigate, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    for number in range(8):
        held.add(f"e{number}")
    for number in range(5):  # more than a page began at once
        held.add(f"same{number}", start_time=BEGIN + 95)
    report = run(address, tmp_path / "set")
    assert (report.events, report.stored) == (13, 13)
    assert len(read_manifest(tmp_path / "set").tracklets) == 13
    assert len({name for path in pictures_asked(held) for name in [path.split("/")[3]]}) == 13


def test_only_what_was_asked_for(held: Frigate, address: str, tmp_path: Path) -> None:
    held.cameras["gate"] = held.cameras["north"]
    for number in range(4):
        held.add(f"n{number}")
    held.add("g", camera="gate")
    held.add("car", label="car")
    held.add("without", has_snapshot=False)
    report = run(address, tmp_path / "set", cameras=["north"], after=BEGIN + 10, before=BEGIN + 70)
    assert report.cameras == {"north": 2}
    assert [one.name[-2:] for one in read_manifest(tmp_path / "set").tracklets] == ["n1", "n2"]
    with pytest.raises(InputError, match=r"no camera 'nort' in it \(did you mean 'north'\?\)"):
        run(address, tmp_path / "set", cameras=["nort"])
    with pytest.raises(InputError, match="an earlier time for after"):
        run(address, tmp_path / "set", after=BEGIN, before=BEGIN)


def test_the_best_picture_is_taken(held: Frigate, address: str, tmp_path: Path) -> None:
    held.add("new", clean="snapshot-clean.webp")
    held.pictures["new/snapshot-clean.webp"] = picture(50, suffix=".webp")
    held.add("drawn", clean="snapshot.jpg")
    held.add("said-clean", clean="snapshot.jpg", data={"snapshot_clean": True})
    held.add("small", clean="snapshot.jpg")
    held.pictures["small/snapshot.jpg"] = picture(60, 640, 360, ".jpg")  # in another resolution
    held.add("cropped", clean="snapshot.jpg")
    held.pictures["cropped/snapshot.jpg"] = picture(60, 300, 300, ".jpg")
    held.add("damaged")
    held.pictures["damaged/snapshot-clean.png"] = b"no picture"
    held.add("gone", clean="")
    held.add("no-box", data={"box": None})
    held.add("tiny", data={"box": [0.5, 0.5, 0.01, 0.01]})
    held.add("odd", data={"box": [0.5, "x", 0.01, 0.01]})
    report = run(address, tmp_path / "set")
    assert (report.stored, report.drawn, report.cropped, report.without, report.small) == (4, 2, 1, 4, 1)
    assert [warning.partition(" ")[0] for warning in report.warnings] == ["4", "1", "1", "2"]
    assert not [path for path in pictures_asked(held) if "no-box" in path or "tiny" in path]
    assert "/api/events/drawn/snapshot.jpg?bbox=0&timestamp=0&crop=0" in held.asked
    sizes = {crop.tracklet: (crop.width, crop.height) for crop in read_manifest(tmp_path / "set").crops}
    assert sizes["frigate-north-small"] == (BOX[2] * 640, BOX[3] * 360)
    assert frame_sizes(tmp_path / "set") == {}  # not one size for all of them


def test_what_may_pass_is_tried_again(held: Frigate, address: str, tmp_path: Path) -> None:
    held.add("a")
    held.fail, held.cut = [503, 500, 429], 1
    asking = client(address)
    assert ingest_frigate(asking, tmp_path / "set").stored == 1
    assert asking.sleep == [0.5, 1.0, 2.0, 0.5]
    assert cv2.imread(str(read_manifest(tmp_path / "set").crops[0].path)) is not None


def test_it_gives_up_after_the_time_limit(held: Frigate, address: str, tmp_path: Path) -> None:
    held.fail = [503] * 9
    with pytest.raises(DownloadError, match=r"api/config: Frigate answers 503, also after 0\.4 s of trying"):
        ingest_frigate(client(address, retry_seconds=0.4), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_no_network() -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        client("http://127.0.0.1:9", retry_seconds=0).get_json("/config")


def test_what_was_fetched_is_stored_when_it_breaks_off(held: Frigate, address: str, tmp_path: Path) -> None:
    for name in "abc":
        held.add(name)
    answer = held.answer

    def break_off(path: str, query: dict[str, str]) -> object:
        if "/b/" in path:
            held.fail = [500] * 99
        return answer(path, query)

    held.answer = break_off  # type: ignore[method-assign]
    with pytest.raises(DownloadError, match="answers 500"):
        ingest_frigate(client(address, retry_seconds=0), tmp_path / "set")
    assert [one.name[-1] for one in read_manifest(tmp_path / "set").tracklets] == ["b", "c"]
    held.fail, held.answer = [], answer  # type: ignore[method-assign]
    assert run(address, tmp_path / "set").stored == 1


@pytest.mark.parametrize("status", [400, 410, 500, 503])
def test_a_picture_that_frigate_fails_to_give_holds_up_no_other_event(
    held: Frigate, address: str, tmp_path: Path, status: int
) -> None:
    for name in "abcde":
        held.add(name)
    held.pictures["c/snapshot.jpg"] = picture(40, suffix=".jpg")
    held.refused = {"c/snapshot-clean.png": status, **{f"b/{name}": status for name, _ in events.SNAPSHOTS}}
    asking = client(address, retry_seconds=0.6)
    for stored in (4, 0):
        report = ingest_frigate(asking, tmp_path / "set")
        assert (report.stored, report.without) == (stored, 1)
    names = [one.name[-1] for one in read_manifest(tmp_path / "set").tracklets]
    assert names == ["a", "c", "d", "e"]
    del held.refused["b/snapshot-clean.png"]
    assert ingest_frigate(asking, tmp_path / "set").stored == 1, "and the next run tries it again"


def test_pictures_that_all_fail_cost_the_time_limit_once(held: Frigate, address: str, tmp_path: Path) -> None:
    for name in "abcd":
        held.add(name)
    held.refused = {f"{event}/{name}": 500 for event in "abcd" for name, _ in events.SNAPSHOTS}
    asking = client(address, retry_seconds=0.6)
    assert ingest_frigate(asking, tmp_path / "set").without == 4
    tries = [path for path in held.asked if path == "/api/events/d/snapshot-clean.webp"]
    others = [path for path in pictures_asked(held) if path not in tries]
    assert len(tries) > 1, "the newest event is tried again"
    assert len(others) == len(set(others)) == 11


def test_a_login(held: Frigate, address: str, tmp_path: Path) -> None:
    held.login = ("ann", "secret")
    held.add("a")
    with pytest.raises(DownloadError, match=r"Frigate asks for a login \(401\): give --user"):
        run(address, tmp_path / "set")
    with pytest.raises(DownloadError, match=r"Frigate refuses the user 'ann' or the password \(401\)") as refused:
        ingest_frigate(client(address, "ann", "wrong"), tmp_path / "set")
    assert "wrong" not in str(refused.value)
    assert ingest_frigate(client(address, "ann", "secret"), tmp_path / "set").stored == 1
    assert held.asked.count("/api/login") == 2
    assert set(held.tokens) == {"Bearer the.token"}
    assert "secret" not in (tmp_path / "set" / "ingest.json").read_text()
    with pytest.raises(InputError, match="a user of Frigate without a password"):
        FrigateClient(address, "ann")


def test_it_is_not_led_elsewhere(held: Frigate, address: str) -> None:
    held.fail = [302]
    with pytest.raises(DownloadError, match=r"redirects to http://elsewhere\.example/login: give the address"):
        client(address).get_json("/config")


@pytest.mark.parametrize(
    ("path", "found", "said"),
    [
        ("/api/config", b"<html>", "answers without JSON"),
        ("/api/config", ["x"], "names no cameras"),
        ("/api/config", None, "not found"),
        ("/api/events", {"x": 1}, "expected Frigate's events"),
        ("/api/events", ["x"], "expected Frigate's events"),
        ("/api/events", "bad id", "answers with '../../x'"),
        ("/api/events", "bad time", "answers with '-3.0'"),
        ("/api/events", "no time", "answers with 'None'"),
    ],
)
def test_other_servers_are_refused(
    path: str, found: object, said: str, held: Frigate, address: str, tmp_path: Path
) -> None:
    event = {"id": "a", "camera": "north", "label": "person", "has_snapshot": True, "start_time": BEGIN}
    changes = {"bad id": {"id": "../../x"}, "bad time": {"start_time": -3}, "no time": {"start_time": None}}
    shown = [event | changes[found]] if isinstance(found, str) else found
    answer = held.answer
    held.answer = lambda asked, query: shown if asked == path else answer(asked, query)  # type: ignore[method-assign]
    with pytest.raises(DownloadError, match=said):
        run(address, tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.csv").exists()


def test_addresses() -> None:
    assert base_of("frigate://nvr") == base_of("nvr") == "http://nvr:5000"
    assert base_of("frigate://[::1]:80") == "http://[::1]:80"
    assert base_of("https://nvr:8971/proxied/") == "https://nvr:8971/proxied"
    wrong_ones = ("ftp://nvr", "frigate://", "http://nvr:99999", "http://nvr/?x=1", "http://a b", "http://[::1", "[::1")
    for wrong in wrong_ones:
        with pytest.raises(InputError, match="expected Frigate's address"):
            base_of(wrong)
    with pytest.raises(InputError, match="must not hold a user and password") as refused:
        base_of("http://ann:secret@nvr")
    assert "secret" not in str(refused.value)


def test_a_host_that_cannot_be_is_refused_at_once() -> None:
    pauses = Pauses()
    with pytest.raises(DownloadError, match="cannot be the name of a host"):
        FrigateClient("http://nvr..local:5000", retry_seconds=30.0, sleep=pauses).ask("http://nvr..local:5000/api")
    assert not pauses
