"""The bench of the demo, with a demo that is only a table."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
SCORE = {"rank-1": 0.5, "mAP": 0.4}


def test_each_seed_is_written_and_a_demo_that_was_there_has_no_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(TOOLS)
    import bench_demo

    asked: list[int] = []

    def reid(_: str, __: str, seed: int, ___: str, demo: Path) -> dict[str, Any]:
        asked.append(seed)
        if seed == 3:
            raise KeyboardInterrupt
        (demo / "run").mkdir(parents=True, exist_ok=True)
        (demo / "run" / "model.json").write_text('{"stage": 0}')
        names = ("before", "before_plain", "after", "after_plain")
        return {"seed": seed, "seconds": 9.5, "tracklets": 4, "report": ""} | dict.fromkeys(names, SCORE)

    monkeypatch.setattr(bench_demo, "reid", reid)
    monkeypatch.setattr(bench_demo, "stages", lambda _: [{"stage": 0, "true_rank-1": 0.5, "true_mAP": 0.4}])
    folder, out = tmp_path / "demos", tmp_path / "demo.json"
    (folder / "2").mkdir(parents=True)
    words = ["bench_demo.py", "--folder", str(folder), "--out", str(out), "--seeds"]
    monkeypatch.setattr(sys, "argv", [*words, "1", "2", "3"])
    with pytest.raises(KeyboardInterrupt):
        bench_demo.main()
    found = json.loads(out.read_text())
    assert [(run["seed"], run["seconds"]) for run in found["runs"]] == [(1, 9.5), (2, None)]
    assert found["command"].startswith("python tools/")
    monkeypatch.setattr(sys, "argv", [*words, "1", "2"])
    bench_demo.main()
    assert asked == [1, 2, 3], "known seeds are not run again"
    assert capsys.readouterr().out.splitlines()[-1].endswith("  -")
