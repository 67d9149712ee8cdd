"""A server on this machine that speaks like S3, for all tests of this folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from tiny_model import build_model

pytest.importorskip("s3fs", reason="needs the storage extra")
pytest.importorskip("moto.server", reason="needs moto's server")

from moto.server import ThreadedMotoServer

from reid_toolkit.storage import StoredPath, path_of

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
}  # fmt: skip


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The server's address, in the environment too, for this process and its children."""
    before = dict(os.environ)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    os.environ |= {**SETTINGS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    yield os.environ["AWS_ENDPOINT_URL"]
    moto.stop()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> StoredPath:
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
