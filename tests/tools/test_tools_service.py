"""The bench of the service, on a small gallery."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from three_people import write_model

# Not importorskip: locust replaces the threads of the process that imports it, and pytest's workers then stand still.
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("locust", "fastapi")), reason="needs the extras load and serve"
)

TOOL = Path(__file__).parents[2] / "tools" / "bench_service.py"


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
