"""tools/bench_detectors.py gives a whole table of a small recording, and a sheet to count on."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_clip import write_clip
from drawn_detectors import SQUARE, save, ssd_rows

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def bench() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        import bench_detectors

        yield bench_detectors


def test_it_counts_and_times_each_detector(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    video = write_clip(tmp_path / "yard.avi", [noise] * 30)
    detectors = ["motion", str(save(tmp_path / "ssd.onnx", SQUARE, {"o": ssd_rows((0, 0, 0.9))}, names="person"))]
    monkeypatch.setattr(sys, "argv", ["bench_detectors.py", str(video), "--frames", "5"])
    asked = Namespace(
        video=video, detectors=detectors, folder=tmp_path / "made", frames=5, changed=[0, 1],
        json=tmp_path / "table.json",
    )  # fmt: skip
    bench.main(asked)
    written = json.loads(asked.json.read_text())
    assert written["command"] == "python tools/bench_detectors.py yard.avi --frames 5"
    motion, ssd = written["rows"]
    assert (motion["detector"], motion["tracklets"]) == ("motion", 0)
    assert (ssd["tracklets"], ssd["dropped"], ssd["crops"], ssd["change_person_by_eye"]) == (1, 0, 6, 1)
    assert motion["times_the_first"] == 1
    assert cv2.imread(str(tmp_path / "made" / "ssd.onnx.png")).shape[0] > 0
