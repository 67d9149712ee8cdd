"""What `reid demo` does before its work. The work itself is tried in tests/tools and by the commands' own tests."""

from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["identities.csv", "model.onnx", "people"])
def test_the_demo_leaves_a_folder_of_the_user_alone(name: str, reid, tmp_path: Path) -> None:
    (tmp_path / name).write_text("who is who")
    assert f"{tmp_path}: holds other files: choose another --out" in reid("demo", "--out", tmp_path).error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "who is who")]
