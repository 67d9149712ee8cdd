"""The site, made once for all tests of this folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from once import made_once

ROOT = Path(__file__).parents[2]
Build = Callable[..., subprocess.CompletedProcess[str]]


def mkdocs_build(to: Path, settings: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(settings), "--site-dir", str(to)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def build() -> Build:
    """``build(to, settings)``: runs ``mkdocs build``, as CI does."""
    return mkdocs_build


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")

    def make(to: Path) -> None:
        done = mkdocs_build(to)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "site", make)
