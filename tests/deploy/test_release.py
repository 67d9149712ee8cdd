"""``.ci/release`` deletes the folder that it fills, so it must not take just any."""

import os
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


def test_a_part_that_cannot_run_ends_a_release_unless_it_may_be_left_out(tmp_path):
    (tmp_path / "uname").write_text("#!/bin/sh\necho Plan9\n")
    (tmp_path / "uname").chmod(0o755)
    here = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SKIPS": str(tmp_path / "skips")}

    def milvus(*words, **more):
        line = ["bash", ".ci/milvus", *words]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, env=here | more)

    assert milvus("all").returncode == 1
    assert milvus().returncode == milvus("all", ALLOW_SKIPS="1").returncode == 0
    listed = (tmp_path / "skips").read_text().splitlines()
    assert len(listed) == 3
    assert listed[0].startswith("- SKIPPED: tests on a Milvus server: they need Linux")
