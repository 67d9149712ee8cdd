"""The study of camera statistics and its benchmark, as they are typed, on pictures and records made here."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from tiny_model import HEIGHT, WIDTH, build_model

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    runpy.run_path(str(TOOLS / name), run_name="__main__")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty people before two cameras of other light, two crops each, called as CUHK03 calls them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    light = rng.uniform(-60, 60, (2, HEIGHT, 1, 3))
    for person in range(40):
        looks = rng.uniform(60, 200, (HEIGHT, 1, 3))
        for number in (0, 1, 5, 6):
            image = looks + light[number // 5] + rng.normal(0, 8, (HEIGHT, 1, 3))
            image = np.broadcast_to(image, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}_{number:02d}.jpg"), image)
    return folder


def test_the_study_has_every_row(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    model, out = tmp_path / "tiny.onnx", tmp_path / "s.json"
    onnx.save(build_model(), str(model))
    run_tool("study_camera_statistics.py", monkeypatch, "--pictures", pictures, "--models", model, "--json", out)
    found = json.loads(out.read_text())
    assert found["crops"] == 160
    rows = {row["set"]: row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 33
    assert rows["all, fitted to tracklets"]["freed_mAP"] > rows["all, fitted to tracklets"]["mAP"] + 0.1
    alone = rows["each tracklet a camera of its own"]
    assert alone["freed_mAP"] == pytest.approx(alone["mAP"])
    few = rows["5 tracklets a camera"]
    assert few["freed_mAP"] == pytest.approx(few["mAP"])
    assert rows["40 tracklets a camera"]["least"] <= rows["40 tracklets a camera"]["freed_mAP"] + 1e-9
    assert 0.5 < rows["it is guessed by the nearest mean"]["guessed_right"] <= 1
    assert "mean gain" in capsys.readouterr().out


def test_pictures_that_are_not_there_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "tiny.onnx"
    onnx.save(build_model(), str(model))
    words = ("--pictures", tmp_path, "--models", model, "--json", tmp_path / "s.json")
    with pytest.raises(SystemExit, match=r"error: .*no pictures: expected files named IIII_KK\.jpg"):
        run_tool("study_camera_statistics.py", monkeypatch, *words)


def test_the_benchmark_asks_both_galleries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "b.json"
    words = ("--folder", tmp_path / "bench", "--rows", 2000, "--dimension", 16, "--json", out)
    run_tool("bench_camera_statistics.py", monkeypatch, *words)
    (size,) = json.loads(out.read_text())["sizes"]
    assert (size["rows"], size["dimension"]) == (2000, 16)
    assert size["refresh"].keys() == {"fit_s", "build_s", "build_processor_s"}
    for times in size["queries"].values():
        assert times["ratio_of_medians"] == pytest.approx(times["p50_ms"] / times["plain_p50_ms"])
    assert size["index"]["rows"] == size["plain_index"]["rows"] == 2000
    # A folder of a run that was interrupted: the descriptors are kept, and the galleries are made anew.
    shutil.rmtree(tmp_path / "bench" / "2000" / "freed")
    (tmp_path / "bench" / "2000" / "freed").mkdir()
    (tmp_path / "bench" / "2000" / "plain" / "of-the-last-run").touch()
    run_tool("bench_camera_statistics.py", monkeypatch, *words)
    assert json.loads(out.read_text())["sizes"][0]["index"]["rows"] == 2000
    assert not (tmp_path / "bench" / "2000" / "plain" / "of-the-last-run").exists()
