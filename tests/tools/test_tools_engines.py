"""The bench of galleries wherever they are kept, on a folder."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "bench_engines.py"


def test_it_measures_a_folder_and_refuses_one_that_is_not_empty(tmp_path: Path) -> None:
    folder, out = tmp_path / "g", tmp_path / "out.json"
    command = [sys.executable, TOOL, folder, "--rows", "210", "--dimension", "8", "--files", folder, "--out", out]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = json.loads(out.read_text())
    assert found["galleries"][0]["gallery"] == "folder"
    assert found["galleries"][0]["adds_per_second"] > 0
    assert found["bytes_per_record"]["g"] > 2 * 8
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
