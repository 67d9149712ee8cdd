import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from drawn_yard import RedDetector, draw_frame, write_video
from tiny_model import DIMENSION, build_model
from watched_yard import PLAIN

from reid_toolkit.calibration import Calibration
from reid_toolkit.calibration.curve import Curve
from reid_toolkit.footage.crops import cut
from reid_toolkit.gallery import open_gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder

OTHERS = 30


class Place:
    """A walker, whom the gallery knows from two other cameras, among other people, once it is made."""

    def __init__(self, reid: Any, folder: Path, gallery: str | None = None) -> None:
        self.reid, self.folder, self.gallery = reid, folder, gallery or folder / "gallery"
        self.model = ("--model", folder / "tiny.onnx", "--gallery", self.gallery)
        self.videos = [folder / f"{name}.avi" for name in "abc"]

    def make(self) -> None:
        onnx.save_model(build_model(), self.model[1])
        for shade, video in enumerate(self.videos):
            write_video(video, 50, shade)
        assert self.reid("watch", *self.videos[:2], *self.model).status == 0

    def group(self, name: str | None = "Anna") -> None:
        """Give the gallery its people: the walker is person 1."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(OTHERS, DIMENSION))
        others = [Record(f"other-{number}", "d", source="/d") for number in range(OTHERS)]
        with open_gallery(str(self.gallery)) as store:
            walker = [record for batch, _ in store.records() for record in batch]
            store.add((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), others)
            people = store.people.read()
            numbered = [(record, 1) for record in walker] + [(one, 2 + at) for at, one in enumerate(others)]
            members = {key_digest(record): Membership(at, at, at) for record, at in numbered}
            store.people.write(people, members=members, names={1: name} if name else {})

    def watch(self, *more: object) -> Any:
        return self.reid("watch", self.videos[2], *self.model, "--every", "1", *more)

    def calibrate(self, pairs: int, farthest: float = 2.0, *, people: int | None = 100_000) -> None:
        """A calibration with so many distances between different people, from 0.5 on, and so many pairs of people."""
        quantiles = tuple(np.linspace(0.5, farthest, pairs).tolist())
        curve = Curve(500, pairs, 20.0, -25.0, 1.2, 0.05, farthest, tuple(range(1, pairs + 1)), quantiles)
        fingerprint = Embedder(self.model[1]).fingerprint
        found = Calibration(fingerprint, "0" * 16, 100, "neighbours", 2.0, curve, curve, {}, {}, None, 0, people)
        found.save(self.folder / "tiny.calibration.json")

    def picture(self) -> Path:
        """A picture of the walker, as the follower cuts it."""
        image = draw_frame(30)
        (box,) = RedDetector()(image)[0]
        crop = cut(image, box, PLAIN.margin)
        path = self.folder / "child.png"
        cv2.imwrite(str(path), crop)
        return path

    def told(self, *more: object) -> list[tuple[str, str | None, str | None]]:
        """Kind, person and state of each event."""
        result = self.watch("--events", "-", *more)
        assert result.status == 0, result.err
        self.said = result.err
        self.events = [json.loads(line) for line in result.out.splitlines()]
        return [(event["kind"], event["person"], event["state"]) for event in self.events]


@pytest.fixture(scope="module")
def made(reid: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a place, not to be changed."""
    folder = tmp_path_factory.mktemp("place")
    Place(reid, folder).make()
    return folder


@pytest.fixture
def place(reid: Any, made: Path, tmp_path: Path) -> Place:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Place(reid, tmp_path)


def test_events_name_the_people_of_the_gallery(place: Place) -> None:
    place.group()
    assert place.told() == [("entered", "Anna", "known"), ("left", "Anna", "known")]
    assert f"{place.gallery}: events name its 31 people\n" in place.said
    entered = place.events[0]
    assert entered["record"].rpartition("-")[0][0] in "ab"
    assert entered["probability"] is None
    assert entered["camera"] == "c"
    assert place.told("--no-people") == [("entered", None, None), ("left", None, None)]
    assert "events name" not in place.said


def test_a_gallery_without_people_says_so(place: Place) -> None:
    assert place.told() == [("entered", None, None), ("left", None, None)]
    assert f"{place.gallery}: has no people yet, so events name none: see `reid people`" in place.said
    assert [state for _, _, state in place.told("--people")] == ["new", "new"]
    (number,) = {event["number"] for event in place.events}
    with open_gallery(str(place.gallery)) as store:
        members = store.people.read().members
    assert [f"person-{one.person:06d}" for one in members.values()] == [number], "stored at the end"
    assert f"{place.gallery}: events name its 0 people: run `reid people` beside the watch" in place.said


def test_an_alert_comes_once_a_visit_and_its_reason_is_kept(place: Place) -> None:
    place.group()
    wanted = ("--alert", "Anna", "--alert-reason", "lost her bag")
    assert place.told(*wanted) == [("entered", "Anna", "known"), ("alert", "Anna", "known"), ("left", "Anna", "known")]
    assert "the audit log is off, so it does not keep the reason" in place.said
    place.reid("gallery", "audit", place.gallery, "on")
    place.told(*wanted, "--alert", "person-000002")
    assert "audit log is off" not in place.said
    log = place.reid("gallery", "audit", place.gallery, "show", "--json").json["events"]
    (kept,) = [event for event in log if event["action"] == "watch list"]
    assert (kept["people"], kept["cameras"], kept["reason"]) == (["Anna", "person-000002"], ["c"], "lost her bag")


def test_a_gallery_in_milvus(reid: Any, tmp_path: Path) -> None:
    if not all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite")):
        pytest.skip("needs milvus-lite: pip install '.[milvus]'")
    place = Place(reid, tmp_path, f"milvus-lite://{tmp_path}/lite.db/people")
    place.make()
    place.group()
    wanted = ("--alert", "Anna", "--alert-reason", "lost her bag")
    assert place.told(*wanted) == [("entered", "Anna", "known"), ("alert", "Anna", "known"), ("left", "Anna", "known")]
    assert f"{place.gallery}: events name its 31 people\n" in place.said
    assert "a gallery in Milvus has no audit log, so the reason of the alerts is not kept" in place.said


def test_the_audit_log_tells_of_a_watch_in_few_lines(place: Place) -> None:
    place.group()
    place.reid("gallery", "audit", place.gallery, "on")
    place.told("--alert", "Anna", "--alert-reason", "lost her bag")
    log = place.reid("gallery", "audit", place.gallery, "show", "--json").json["events"]
    told = [event for event in log if event["action"] not in ("audit on", "read all", "delete")]
    assert [event["action"] for event in told] == ["watch", "watch list", "recognised", "alert", "watch ended"]
    begun, _, recognised, alert, ended = told
    assert begun["cameras"] == ["c"]
    assert (recognised["person"], recognised["query_camera"], recognised["searches"]) == ("person-000001", "c", 1)
    assert len(recognised["descriptor"]) == 64
    assert (alert["watched"], alert["tracklet"]) == ("Anna", recognised["tracklet"])
    assert ended["tracklets"] == 1
    assert ended["searches"] > 3, "all are counted"


def test_a_picture_raises_an_alert_without_any_people(place: Place) -> None:
    place.calibrate(8000)
    picture = place.picture()
    place.reid("gallery", "audit", place.gallery, "on")
    assert place.told("--alert", picture, "--alert-reason", "a lost child") == [
        ("entered", None, None), ("alert", None, None), ("left", None, None),
    ]  # fmt: skip
    alert = place.events[1]
    assert (alert["watched"], alert["record"]) == (str(picture), None)
    assert 0 < alert["probability"] <= 1
    assert (
        "alerts: at most 1 false a day are expected. 2,400 tracklets a day (assumed until an hour was seen), each "
        "compared up to 3 times with 1 picture, make 7,200 comparisons; so the limit is the distance that different "
        "people come under in 1 of 7,200 comparisons: c 0.500"
    ) in place.said
    log = place.reid("gallery", "audit", place.gallery, "show", "--json").json["events"]
    told = [event for event in log if event["action"].startswith(("watch", "alert"))]
    assert [event["action"] for event in told] == ["watch", "watch list", "alert", "watch ended"]
    assert (told[1]["pictures"], told[1]["people"], told[1]["alerts_per_day"]) == ([str(picture)], [], 1)
    assert told[-1]["comparisons"] == 3


def test_a_folder_of_crops_and_a_person_share_the_allowance(place: Place) -> None:
    place.group()
    place.calibrate(8000)
    folder = place.folder / "child"
    folder.mkdir()
    place.picture().rename(folder / "1.png")
    wanted = ("--alert", folder, "--alert", "Anna", "--alert-reason", "lost", "--alerts-per-day", "4")
    told = place.told(*wanted)
    assert told[0] == ("entered", "Anna", "known")
    assert sorted(event["watched"] for event in place.events if event["kind"] == "alert") == sorted(
        ["Anna", str(folder)]
    )
    assert "at most 4 false a day are expected" in place.said
    assert "with 1 picture and 2 records of people, make" in place.said
    place.told(*wanted[:-2])
    assert {event["watched"] for event in place.events if event["kind"] == "alert"} == {"Anna", str(folder)}
    assert "with 1 picture, make" in place.said, "without the option, nothing is promised for people"
    assert place.told(*wanted[:2], *wanted[4:], "--no-people")[1] == ("alert", None, None)


def test_what_cannot_be_promised_is_refused(place: Place) -> None:
    place.group()
    events = ("--events", place.folder / "events.jsonl")
    wanted = (*events, "--alert", place.picture(), "--alert-reason", "lost")
    assert "no calibration: alerts by pictures and --alerts-per-day need one" in place.watch(*wanted).error
    person = (*events, "--alert", "Anna", "--alert-reason", "lost", "--alerts-per-day", "1")
    assert "no calibration: alerts by pictures and --alerts-per-day need one" in place.watch(*person).error
    place.calibrate(1000)
    error = place.watch(*wanted).error
    assert "--alerts-per-day 1 cannot be promised: 2,400 tracklets a day" in error
    assert "as near in 1 of 7,200; " in error
    assert "people seen at once: allow 8 alerts a day, watch for fewer, or calibrate on more footage" in error
    place.calibrate(8000, people=15)
    assert "comes from 15 pairs of people seen at once: allow 450 alerts a day" in place.watch(*wanted).error
    place.calibrate(8000, people=None)
    assert "made by an older toolkit" in place.watch(*wanted).error
    place.calibrate(1000)
    assert place.watch(*wanted, "--alerts-per-day", "8").status == 0


def test_the_gallery_says_how_many_tracklets_a_day_there_are(place: Place) -> None:
    place.calibrate(8000)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(48, DIMENSION))
    day = [Record(f"c-{at}", "c", 1.79e9 + 1800.0 * at, 1.79e9 + 1800.0 * at + 5, "/c") for at in range(48)]
    with open_gallery(str(place.gallery)) as store:
        store.add((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), day)
    place.told("--alert", place.picture(), "--alert-reason", "lost")
    assert "49 tracklets a day (the busiest day of these cameras in the gallery)" in place.said


def test_a_calibration_gives_probabilities(place: Place) -> None:
    place.group()
    place.calibrate(1000)
    assert place.told()[0] == ("entered", "Anna", "known")
    assert 0.5 < place.events[0]["probability"] <= 1
    place.calibrate(20)
    assert place.told()[0] == ("entered", "Anna", "known")
    assert place.events[0]["probability"] > 0.5
    assert "the calibration gives probabilities, but not the distances of neighbours" in place.said
    with open_gallery(str(place.gallery)) as store:
        store.people.write(store.people.read(), false_match_rate=0.2)  # as `reid people group` stores it
    assert place.told()[0] == ("entered", "Anna", "known")
    assert "but not the distances of neighbours" not in place.said
    (place.folder / "tiny.calibration.json").write_text("{}")
    assert place.told()[0] == ("entered", "Anna", "known")
    assert place.events[0]["probability"] is None
    assert "the calibration is not used" in place.said


def test_bad_input_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.group()
    events = ("--events", place.folder / "events.jsonl")
    why = ("--alert-reason", "a reason")
    assert "--alert needs --alert-reason TEXT" in place.watch(*events, "--alert", "Anna").error
    assert "--alert needs --alert-reason TEXT" in place.watch(*events, "--alert", "Anna", "--alert-reason", " ").error
    assert "--alert-reason is about alerts" in place.watch(*events, *why).error
    assert "--alerts-per-day is about alerts" in place.watch(*events, "--alerts-per-day", "2").error
    assert place.watch(*events, *why, "--alert", "Anna", "--alerts-per-day", "0").status == 2
    twice = place.watch(*events, *why, "--alert", "Anna", "--alert", "Anna").error
    assert "is given twice" in twice
    missing = place.watch(*events, *why, "--alert", "gone/child.png").error
    assert "--alert gone/child.png: no such picture or folder, and nobody in" in missing
    (place.folder / "person-000001").mkdir()
    with monkeypatch.context() as context:
        context.chdir(place.folder)
        both = place.watch(*events, *why, "--alert", "person-000001").error
    assert "write ./person-000001 for the file" in both
    (place.folder / "bad.png").write_bytes(b"no picture")
    place.calibrate(8000)
    assert "bad.png" in place.watch(*events, *why, "--alert", place.folder / "bad.png").error
    assert "leave --no-people out" in place.watch(*events, *why, "--alert", "Anna", "--no-people").error
    assert "--people is about events" in place.watch("--people").error
    assert "--alert is about events" in place.watch("--alert", "Anna", *why).error
    assert "printable characters" in place.watch(*events, "--alert", "Anna", "--alert-reason", "a\nb").error
    unknown = place.watch(*events, "--alert", "Ana", *why).error
    assert "nobody is called 'Ana' (did you mean 'Anna'?)" in unknown
