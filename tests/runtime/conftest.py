from pathlib import Path

import onnx
import pytest
from tiny_model import build_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The file of a model that the runtime takes."""
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path
