import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawn_yard import write_video
from tiny_model import DIMENSION, build_model

from reid_toolkit.gallery import open_gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Record

OTHERS = 30


class Place:
    """A walker, whom the gallery knows from two other cameras, among other people."""

    def __init__(self, reid: Any, folder: Path, gallery: str | None = None) -> None:
        self.reid, self.folder, self.gallery = reid, folder, gallery or folder / "gallery"
        onnx.save_model(build_model(), folder / "tiny.onnx")
        self.model = ("--model", folder / "tiny.onnx", "--gallery", self.gallery)
        self.videos = [write_video(folder / f"{name}.avi", 50, shade) for shade, name in enumerate("abc")]
        assert reid("watch", *self.videos[:2], *self.model).status == 0

    def group(self, name: str | None = "Anna") -> None:
        """Give the gallery its people: the walker is person 1."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(OTHERS, DIMENSION))
        others = [Record(f"other-{number}", "d", source="/d") for number in range(OTHERS)]
        with open_gallery(self.gallery) as store:
            walker = [record for batch, _ in store.records() for record in batch]
            store.add((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), others)
            people = store.people.read()
            numbered = [(record, 1) for record in walker] + [(one, 2 + at) for at, one in enumerate(others)]
            members = {key_digest(record): Membership(at, at, at) for record, at in numbered}
            store.people.write(people, members=members, names={1: name} if name else {})

    def watch(self, *more: object) -> Any:
        return self.reid("watch", self.videos[2], *self.model, "--every", "1", *more)

    def told(self, *more: object) -> list[tuple[str, str | None, str | None]]:
        """Kind, person and state of each event."""
        result = self.watch("--events", "-", *more)
        assert result.status == 0, result.err
        self.said = result.err
        self.events = [json.loads(line) for line in result.out.splitlines()]
        return [(event["kind"], event["person"], event["state"]) for event in self.events]


@pytest.fixture
def place(reid, tmp_path: Path) -> Place:
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
    assert any(event["action"] == "search" and event["query"].startswith("watch: c-") for event in log)


def test_a_gallery_in_milvus(reid: Any, tmp_path: Path) -> None:
    if not all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite")):
        pytest.skip("needs milvus-lite: pip install '.[milvus]'")
    place = Place(reid, tmp_path, f"milvus-lite://{tmp_path}/lite.db/people")
    place.group()
    wanted = ("--alert", "Anna", "--alert-reason", "lost her bag")
    assert place.told(*wanted) == [("entered", "Anna", "known"), ("alert", "Anna", "known"), ("left", "Anna", "known")]
    assert f"{place.gallery}: events name its 31 people\n" in place.said
    assert "a gallery in Milvus has no audit log, so the reason of the alerts is not kept" in place.said


def test_a_calibration_gives_probabilities(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_toolkit.calibration import Calibration
    from reid_toolkit.calibration.curve import Curve
    from reid_toolkit.runtime import Embedder

    place.group()
    fingerprint = Embedder(place.model[1]).fingerprint
    ranks = tuple(range(1, 1001))
    curve = Curve(500, 1000, 20.0, -25.0, 1.2, 0.05, 2.0, ranks, tuple(np.linspace(0.5, 2, 1000).tolist()))
    path = place.folder / "tiny.calibration.json"
    Calibration(fingerprint, "0" * 16, 100, "neighbours", 2.0, curve, curve, {}, {}).save(path)
    assert place.told()[0] == ("entered", "Anna", "known")
    assert 0.5 < place.events[0]["probability"] <= 1
    few = Curve(500, 20, 20.0, -25.0, 1.2, 0.05, 2.0, tuple(range(1, 21)), tuple(np.linspace(0.5, 2, 20).tolist()))
    Calibration(fingerprint, "0" * 16, 100, "neighbours", 2.0, few, few, {}, {}).save(path)
    assert place.told()[0] == ("entered", "Anna", "known")
    assert place.events[0]["probability"] > 0.5
    assert "the calibration gives probabilities, but not the distances of neighbours" in place.said
    path.write_text("{}")
    assert place.told()[0] == ("entered", "Anna", "known")
    assert place.events[0]["probability"] is None
    assert "the calibration is not used" in place.said


def test_bad_input_is_one_line(place: Place) -> None:
    place.group()
    events = ("--events", place.folder / "events.jsonl")
    why = ("--alert-reason", "a reason")
    assert "--alert needs --alert-reason TEXT" in place.watch(*events, "--alert", "Anna").error
    assert "--alert needs --alert-reason TEXT" in place.watch(*events, "--alert", "Anna", "--alert-reason", " ").error
    assert "--alert-reason is about alerts" in place.watch(*events, *why).error
    assert "leave --no-people out" in place.watch(*events, *why, "--alert", "Anna", "--no-people").error
    assert "--people is about events" in place.watch("--people").error
    assert "--alert is about events" in place.watch("--alert", "Anna", *why).error
    assert "printable characters" in place.watch(*events, "--alert", "Anna", "--alert-reason", "a\nb").error
    unknown = place.watch(*events, "--alert", "Ana", *why).error
    assert "nobody is called 'Ana' (did you mean 'Anna'?)" in unknown
