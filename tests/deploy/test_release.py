"""``.ci/release`` deletes the folder that it fills, so it must not take just any."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("other", ["notes.txt", "sub/reid_toolkit-0.1.0-py3-none-any.whl", ".hidden"])
def test_a_folder_that_holds_something_else_is_not_deleted(tmp_path, other):
    out = tmp_path / "out"
    (out / other).parent.mkdir(parents=True)
    (out / other).touch()
    (out / "SHA256SUMS").touch()
    said = subprocess.run(["bash", ".ci/release", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith(f"{out / Path(other).parts[0]} is of no release")
    assert (out / other).exists()


def test_a_file_is_not_deleted(tmp_path):
    out = tmp_path / "out"
    out.touch()
    said = subprocess.run(["bash", ".ci/release", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert out.is_file()
