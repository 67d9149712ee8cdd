"""Recordings that were moved, renamed, touched or have grown since they were ingested."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
from drawn_clip import write_clip
from drawn_yard import RedDetector, ScriptedDetector, draw_frame, write_video

from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.footage import frames
from reid_toolkit.footage.extract import Job, Settings
from reid_toolkit.footage.held import Held
from reid_toolkit.footage.ingest import IngestReport, ingest
from reid_toolkit.footage.sources import open_recordings
from reid_toolkit.parallel.pool import ThisProcess


def run(*sources: Path, out: Path, **settings: object) -> IngestReport:
    return ingest(sources, out, **{"detector": ScriptedDetector(), "every": 2, **settings})  # type: ignore[arg-type]


def entries(out: Path) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads((out / "ingest.json").read_text())["recordings"]}


@pytest.mark.parametrize("settings", [{}, {"replace": True}, {"replace": True, "pool": ThisProcess()}])
def test_a_file_that_got_another_name_is_not_lost_to_the_one_that_has_its_name_now(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder, out = tmp_path / "north", tmp_path / "set"
    folder.mkdir()
    write_video(folder / "a.avi")
    run(folder, out=out, camera="north", detector="motion")
    before = {crop.path: crop.path.read_bytes() for crop in read_manifest(out).crops}
    (folder / "a.avi").rename(folder / "b.avi")
    write_video(folder / "a.avi", shade=10, frames=60)
    report = run(folder, out=out, camera="north", detector="motion", **settings)
    assert (report.skipped, report.videos, report.replaced, report.bad) == (1, 1, 0, [])
    assert all(path.read_bytes() == content for path, content in before.items())
    sources = {name: Path(entry["source"]).name for name, entry in entries(out).items()}
    assert sources == {"north-a": "b.avi", "north-a-2": "a.avi"}
    assert len(read_manifest(out).tracklets) == 2
    again = run(folder, out=out, camera="north", detector="motion", **settings)
    assert (again.skipped, again.videos) == (2, 0)


@pytest.mark.parametrize("what", ["renamed", "moved", "touched"])
def test_the_bytes_of_a_file_that_was_moved_or_touched_are_read_once_more(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    out, place = tmp_path / "set", video
    run(video, out=out)
    name = next(iter(entries(out)))
    if what == "touched":
        os.utime(video, (1e9, 1e9))
    else:
        place = tmp_path / ("other.avi" if what == "renamed" else "away/yard.avi")
        place.parent.mkdir(exist_ok=True)
        video.rename(place)
    assert run(place, out=out).skipped == 1
    assert entries(out)[name]["source"] == str(place)
    monkeypatch.setattr(frames, "digest_of", lambda *given: pytest.fail("read again"))
    assert run(place, out=out).skipped == 1


def test_a_copy_leaves_the_place_of_the_first(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    before = entries(out)
    assert run(Path(shutil.copy(video, tmp_path / "copy.avi")), out=out).skipped == 1
    assert entries(out) == before


def test_a_file_that_grew_keeps_the_camera_that_it_had(tmp_path: Path) -> None:
    out, growing = tmp_path / "set", tmp_path / "0900.ts"
    write_clip(growing, [draw_frame(number) for number in range(60)], codec="mpeg4", pixels="yuv420p", b="4000000")
    content = growing.read_bytes()
    growing.write_bytes(content[: 188 * (len(content) * 2 // 3 // 188)])
    run(growing, out=out, camera="gate", detector=RedDetector())
    growing.write_bytes(content)
    report = run(growing, out=out, detector=RedDetector())
    assert (report.replaced, list(report.cameras)) == (1, ["gate"])
    assert read_manifest(out).cameras == ("gate",)
    assert list(entries(out)) == ["gate-0900-2"]
    growing.write_bytes(content[: len(content) // 2])
    report = run(growing, out=out, detector=RedDetector(), camera="door", replace=True)
    assert list(report.cameras) == ["door"], "as the user says"


def test_files_are_asked_for_their_size_once_however_many_recordings_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.jpg"), draw_frame(number))
    (recording,) = open_recordings([str(folder)], 25.0)
    asked: list[Path] = []
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **about: asked.append(path) or real(path, **about))
    entry = {"name": "a", "fingerprint": "0" * 32, "settings": {}}
    others = [entry | {"source": f"/v/{number}", "size": number} for number in range(50)]
    held = Held(SimpleNamespace(root=tmp_path, entries=others))  # type: ignore[arg-type]
    assert held.entry_of(Job(recording, "north", Settings("motion"))) is None
    assert len([path for path in asked if path.suffix == ".jpg"]) == 5
