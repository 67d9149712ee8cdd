"""A server on this machine that speaks like S3, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from tiny_model import build_model

pytest.importorskip("s3fs", reason="needs the storage extra")
pytest.importorskip("moto.server", reason="needs moto's server")

from stored import s3_server

from reid_toolkit.storage import StoredPath, path_of


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def bucket(server: None, request: pytest.FixtureRequest) -> StoredPath:
    """An empty bucket of the test's own."""
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name.lower())[-60:].strip("-")
    path = path_of(f"s3://{name}")
    assert isinstance(path, StoredPath)
    path.fs.mkdir(str(path))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path
