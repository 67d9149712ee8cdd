import json
import runpy
import sys
from pathlib import Path

import onnx
import pytest
from drawn_yard import write_video
from tiny_model import build_model

TOOL = Path(__file__).parents[2] / "tools" / "bench_edge.py"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory and processor in /proc")
def test_it_measures_starts_and_watching(tmp_path: Path, monkeypatch, capsys) -> None:
    onnx.save_model(build_model(), tmp_path / "tiny.onnx")
    video = write_video(tmp_path / "yard.avi", 50)
    arguments = [
        tmp_path / "tiny.onnx",
        video,
        "--starts",
        1,
        "--loop",
        2,
        "--cores",
        1,
        "--out",
        tmp_path / "edge.json",
    ]
    monkeypatch.setattr(sys, "argv", ["bench_edge.py", *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name="__main__")
    result = json.loads((tmp_path / "edge.json").read_text())
    assert result["command"].startswith("python tools/bench_edge.py tiny.onnx yard.avi --starts 1 --loop 2")
    steps = result["cold_start_seconds"]
    assert steps["whole"]["median"] > sum(steps[name]["median"] for name in ("import", "load", "first crop"))
    assert (result["watch"]["frames"], result["watch"]["enrolled"]) == (100, 2)
    assert len(result["watch"]["resident_mb"]) == 10
    assert max(result["watch"]["resident_mb"]) > 20
    assert "100 frames" in capsys.readouterr().out
