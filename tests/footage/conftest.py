from pathlib import Path

import pytest
from drawn_yard import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "yard.avi")
