"""The bench of the service, on a small gallery."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from three_people import write_model
from waiting import wait_until

# Not importorskip: locust replaces the threads of the process that imports it, and pytest's workers then stand still.
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("locust", "fastapi")), reason="needs the extras load and serve"
)

TOOL = Path(__file__).parents[2] / "tools" / "bench_service.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOL.parent)
    import bench_service

    return bench_service


@pytest.mark.parametrize("enrolled", [0, 7])
def test_a_watch_that_enrolls_nothing_is_an_error(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, enrolled: int
) -> None:
    watch = tmp_path / "watch"  # ends on SIGTERM and then says what it did, as `reid watch --json`
    watch.write_text(
        f"""#!/bin/sh
        trap 'echo "{{\\"enrolled\\": {enrolled}}}"; exit 0' TERM
        touch {tmp_path}/on
        while :; do sleep 0.05; done
        """
    )
    watch.chmod(0o755)
    (tmp_path / "clip").mkdir()
    monkeypatch.setattr(bench.sys, "executable", str(watch))
    monkeypatch.setattr(bench, "SETTLES", 0)

    def search() -> list[dict[str, Any]]:
        wait_until((tmp_path / "on").exists)
        return [{"name": "search"}]

    words = (tmp_path, tmp_path / "gallery", tmp_path / "model.onnx", search)
    if enrolled:
        assert bench.searches_beside_a_watch(*words) == ([{"name": "search"}], 7)
    else:
        with pytest.raises(SystemExit, match="reid watch enrolled nothing"):
            bench.searches_beside_a_watch(*words)


def test_a_gallery_that_was_drawn_otherwise_or_in_part_is_not_taken(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "draw_gallery", lambda where, *_: [where.mkdir(), 1 / 0])
    with pytest.raises(ZeroDivisionError):
        bench.kept_gallery(tmp_path, Path("m.onnx"), 10, 2)
    assert [*tmp_path.iterdir()] == []
    monkeypatch.setattr(bench, "draw_gallery", lambda where, *_: where.mkdir())
    assert bench.kept_gallery(tmp_path, Path("m.onnx"), 10, 2) == bench.kept_gallery(tmp_path, Path("m.onnx"), 10, 2)
    with pytest.raises(SystemExit, match=r"expected .'rows': 20, .*: name another folder, or remove it"):
        bench.kept_gallery(tmp_path, Path("m.onnx"), 20, 2)


def test_it_measures_a_small_gallery(tmp_path: Path) -> None:
    out, model = tmp_path / "out.json", write_model(tmp_path / "model.onnx")
    command = [
        sys.executable, TOOL, "--folder", tmp_path / "bench", "--model", model, "--rows", "120", "--people", "20",
        "--seconds", "2", "--requests", "40", "--kills", "1", "--no-watch", "--out", out,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["first_view_seconds"]["all"] > 0
    assert found["searches"]["requests"] > 0
    assert (found["errors"], found["searches"]["errors"]) == (0, 0)
    assert found["answered"] >= 40
    assert found["killed"]["acknowledged"] > 0
    assert (found["killed"]["lost"], found["killed"]["sound"]) == (0, 1)
