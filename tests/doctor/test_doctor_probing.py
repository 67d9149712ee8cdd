"""Processes of reid run no file of the folder that somebody works in."""

from pathlib import Path

import pytest

from reid_toolkit.doctor.probing import probe
from reid_toolkit.service.grouping import Grouper


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a random.py that leaves a trace."""
    (tmp_path / "random.py").write_text("open('it ran', 'w'); raise SystemExit(3)")
    (tmp_path / "json.py").write_text("open('it ran', 'w'); raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "it ran"


def test_a_probe(strange: Path) -> None:
    assert "error" not in probe("hnswlib")
    assert not strange.exists()


def test_a_worker_of_the_service(strange: Path) -> None:
    grouper = Grouper("gallery", 60.0)
    process = grouper._started()
    try:
        process.communicate(timeout=60)  # the end of its input ends it
    finally:
        grouper.close()
    assert not strange.exists()
