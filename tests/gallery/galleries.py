"""Every kind of gallery there is, for the tests that run on each."""

import atexit
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ON_SERVER = pytest.param("milvus", marks=pytest.mark.milvus_server)
KINDS = ("folder", "milvus-lite", ON_SERVER)
PASSWORD = "root:Milvus"
"""What a new Milvus server takes."""
START_SECONDS = 60


def address_of(kind: str, folder: Path) -> str:
    """Where a new gallery of this kind can be; skips when what it needs is not installed."""
    if kind == "folder":
        return str(folder / "g")
    if importlib.util.find_spec("pymilvus") is None:
        pytest.skip("needs pymilvus: pip install '.[milvus]'")
    if kind == "milvus-lite":
        if importlib.util.find_spec("milvus_lite") is None:
            pytest.skip("needs milvus-lite: pip install '.[milvus]'")
        return f"milvus-lite://{folder}/lite.db/people"
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("needs the server that PyPI's milvus carries: bash .ci/milvus all")
    port = server_port()
    if port is None:
        pytest.skip(f"the Milvus server did not start within {START_SECONDS} s: is another one running here?")
    drop_collections(port)
    # Names of their own: Milvus may still hold something of a name that was dropped.
    return f"milvus://127.0.0.1:{port}/people_{secrets.token_hex(4)}"


SERVER = """
import sys
from milvus import MilvusServer, MilvusServerConfig
server = MilvusServer(MilvusServerConfig(data_dir=sys.argv[1]), wait_for_started=False)
server.config.set("authorization_enabled", True)
server.config.set("proxy.timeTickInterval", 50)  # ms; 200 by default. Every strong read waits for this clock.
server.config.set("log.level", "error")  # otherwise 20 MB a minute
server.start()
try:
    server.wait_started(int(sys.argv[2]) * 1000)
    print(server.listen_port, flush=True)
    sys.stdin.read()  # ends with the tests, however they end
finally:
    server.stop()
"""


def drop_collections(port: int) -> None:
    """Empty the server. With the collections of all tests before, it becomes so slow that its answers come too late."""
    from pymilvus import MilvusClient

    client = MilvusClient(f"http://127.0.0.1:{port}", token=PASSWORD)
    for name in client.list_collections():
        client.drop_collection(name)
    client.close()


@cache
def server_port() -> int | None:
    """The port of a real server with passwords on, started at the first call and stopped at the end."""
    folder = tempfile.mkdtemp(prefix="reid-milvus-")
    # In a process of its own: the package leaks sockets.
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, folder, str(START_SECONDS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None

    def stop() -> None:
        server.stdin.close()
        server.stdout.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    line = server.stdout.readline()
    os.environ["REID_MILVUS_TOKEN"] = PASSWORD
    return int(line) if line else None
