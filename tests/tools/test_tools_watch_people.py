import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_model import build_model

from reid_toolkit.demo.day import Day, draw_day

TOOL = Path(__file__).parents[2] / "tools" / "bench_watch_people.py"


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``measure(part, *more)`` runs the tool and gives that part of its JSON."""
    monkeypatch.syspath_prepend(TOOL.parent)

    def run(part: str, *more: object) -> Any:
        given = ["--days", tmp_path, "--models", tmp_path, "--seeds", 0, "--json", tmp_path / "out.json"]
        words = map(str, [*given, "--parts", part, *more])
        monkeypatch.setattr(sys, "argv", ["bench_watch_people.py", *words])
        runpy.run_path(str(TOOL), run_name="__main__")
        return json.loads((tmp_path / "out.json").read_text())[part]

    onnx.save_model(build_model(), tmp_path / "day-0.onnx")
    return run


def test_a_day_is_played_and_compared_with_grouping(measure: Any, tmp_path: Path) -> None:
    draw_day(tmp_path / "day-0", Day(people=4, seed=0, stays=(1, 1), places=(2, 2)), crops=5)
    (row,) = measure("identity", "--group-every", 60)
    assert 0 < row["idf1 live"] <= 1
    assert 0 < row["idf1 grouped afterwards"] <= 1
    assert row["visits"] == row["tracklets"] == 8
    assert 0 < row["idf1 corrected"] == row["idf1 grouped as it came"]
    assert row["entered per visit"] > 0
    kept = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "out.json").write_text(json.dumps(kept | {"latency": ["before"]}))
    measure("identity", "--group-every", 60)
    assert json.loads((tmp_path / "out.json").read_text())["latency"] == ["before"]
    for wrong in (["alerts"], ["alert"]):
        with pytest.raises(SystemExit):
            measure(*wrong)


def test_identification_counts_the_best_match_of_each_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOL.parent)
    tool = runpy.run_path(str(TOOL))
    assert tool["idf1"](list("aabb"), list("xxyy")) == 1
    assert tool["idf1"](list("aabb"), list("xxxx")) == 0.5
    assert tool["idf1"](list("aaab"), list("xyzz")) == 0.5
    monkeypatch.setitem(tool["drawn_frames"].__globals__, "SECONDS", 1)
    one, two = (tool["drawn_frames"]("hall", seed, 12) for seed in (0, 0))
    assert one == two
    assert len(one) == 10
    assert np.asarray(tool["decoded"](one[0])).shape == (288, 512, 3)
