"""A server on this machine that speaks like S3."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
}  # fmt: skip


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run the server. Yields what is in the environment meanwhile, so that this process and its children find it."""
    from moto.server import ThreadedMotoServer

    before = dict(os.environ)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    settings = {**SETTINGS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    os.environ |= settings
    try:
        yield settings
    finally:
        moto.stop()
        os.environ.clear()
        os.environ.update(before)
