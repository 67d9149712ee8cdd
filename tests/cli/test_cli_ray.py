"""``--ray``: the same results as one process gives, on a local cluster, also if its workers are killed."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_yard import write_video
from stored import s3_server
from tiny_model import build_model

from reid_toolkit.gallery import open_gallery
from reid_toolkit.storage import path_of

pytest.importorskip("ray", reason="needs the cluster extra")

REID = [sys.executable, "-m", "reid_toolkit"]
ACTOR = b"ray::Worker"
ENVIRONMENT = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    """A server like S3, which the cluster's workers find in their environment."""
    if find_spec("moto") is None or find_spec("s3fs") is None:
        yield
        return
    with s3_server() as settings:
        ENVIRONMENT.update(settings)
        yield


@pytest.fixture(scope="module")
def cluster(store: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two cores on this machine, for all tests of this file."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    folder = tmp_path_factory.mktemp("ray")
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    ray += ["--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
    ray += ["--object-store-memory=80000000", f"--temp-dir={short(folder)}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(ray, stdout=log, stderr=log, start_new_session=True, env=ENVIRONMENT)
    try:
        wait_for_head(port, process, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        short(folder).unlink()


def short(folder: Path) -> Path:
    """A link with a short path to ``folder``: Ray makes sockets in it, whose paths the system limits to 107 bytes."""
    link = Path("/tmp", f"ray-{os.getpid()}")
    if not link.is_symlink():
        link.symlink_to(folder, target_is_directory=True)
    return link


def wait_for_head(port: int, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path


def reid(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*REID, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=ENVIRONMENT)


def actors() -> list[int]:
    """The processes of Ray's workers on this machine that run our work."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if command.read_bytes().startswith(ACTOR):
                found.append(int(command.parent.name))
    return found


def test_embedding_on_a_cluster_gives_what_one_process_gives(
    cluster, tiny_dataset: Path, model: Path, tmp_path
) -> None:
    alone, ours = tmp_path / "alone", tmp_path / "cluster"
    assert reid("embed", tiny_dataset, "--model", model, "--out", alone).returncode == 0
    model.rename(tmp_path / "moved.onnx")  # workers get the model from the command, not from a path
    done = reid(
        "embed", tiny_dataset, "--model", tmp_path / "moved.onnx", "--out", ours, "--ray", cluster, "--shard-size", 5
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    np.testing.assert_allclose(np.load(ours / "descriptors.npy"), np.load(alone / "descriptors.npy"), atol=1e-6)
    assert (ours / "manifest.csv").read_bytes() == (alone / "manifest.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_workers_killed_at_random_moments_lose_nothing(cluster, tiny_dataset: Path, model: Path, tmp_path) -> None:
    pictures = sorted((tiny_dataset / "crops").iterdir())
    paths = [str(pictures[number % len(pictures)]) for number in range(4000)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    arguments = ["embed", tmp_path / "list.txt", "--model", model, "--shard-size", 20, "--batch-size", 2]
    process = subprocess.Popen(
        [*REID, *map(str, arguments), "--out", str(tmp_path / "out"), "--ray", cluster],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    chance, kills = random.Random(3), 0
    while process.poll() is None:
        if kills < 3 and list((tmp_path / "out").glob("shards/[!.]*.npz")) and (running := actors()):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(running), signal.SIGKILL)
                kills += 1
            time.sleep(chance.uniform(0.2, 0.6))
        time.sleep(0.01)
    error = process.communicate()[1]
    assert process.returncode == 0, error
    assert kills
    assert reid(*arguments, "--out", tmp_path / "alone").returncode == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "out/descriptors.npy"), np.load(tmp_path / "alone/descriptors.npy"), atol=1e-6
    )
    assert (tmp_path / "out/manifest.csv").read_bytes() == (tmp_path / "alone/manifest.csv").read_bytes()


def test_ingesting_and_enrolling_on_a_cluster_give_what_one_process_gives(cluster, model: Path, tmp_path: Path) -> None:
    clips = [
        write_video(tmp_path / f"{name}.avi", shade=shade) for shade, name in enumerate(("north", "south", "gate"))
    ]
    for out, more in (("alone", ()), ("ours", ("--ray", cluster))):
        done = reid("ingest", *clips, "--out", tmp_path / out, "--every", 1, "--min-crops", 2, *more)
        assert done.returncode == 0, done.stderr
        done = reid("enroll", tmp_path / out, "--model", model, "--gallery", tmp_path / f"{out}-g", *more)
        assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "alone")
    assert files_of(tmp_path / "alone") == files_of(tmp_path / "ours")
    assert rows_of(tmp_path / "alone") == rows_of(tmp_path / "ours")
    assert records(tmp_path / "alone-g") == records(tmp_path / "ours-g")
    if "AWS_ENDPOINT_URL" not in ENVIRONMENT:
        pytest.skip("without s3fs and moto: not tried with object storage")
    bucket = path_of("s3://cluster")
    bucket.fs.mkdir("s3://cluster")
    for clip in clips:
        (bucket / "clips" / clip.name).write_bytes(clip.read_bytes())
    options = ("--every", 1, "--min-crops", 2, "--ray", cluster)
    done = reid("ingest", bucket / "clips", "--out", bucket / "people", *options)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "alone") == files_of(bucket / "people")
    assert rows_of(tmp_path / "alone") == rows_of(bucket / "people")


def rows_of(folder: Path) -> list[str]:
    return sorted((folder / "manifest.csv").read_text().splitlines())


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


def records(gallery: Path) -> dict[str, list[float]]:
    with open_gallery(str(gallery), create=False) as store:
        return {
            record.tracklet: [round(float(value), 3) for value in vector]
            for some, vectors in store.records()
            for record, vector in zip(some, vectors, strict=True)
        }


def test_an_error_in_a_worker_is_one_line(cluster, tiny_dataset: Path, tmp_path: Path) -> None:
    onnx.save_model(build_model(np.full((48, 5), np.nan, np.float32)), tmp_path / "nan.onnx")
    done = reid("embed", tiny_dataset, "--model", tmp_path / "nan.onnx", "--out", tmp_path / "out", "--ray", cluster)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the network is damaged" in " ".join(done.stderr.split())


def test_a_cluster_without_room_is_refused(cluster, tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out", "--ray", cluster)
    said = " ".join(reid(*arguments, "--worker-cpus", 64).stderr.split())
    assert "has 2 cores and 0 GPUs: a worker needs 64 and 0" in said


def test_addresses_where_nobody_answers_are_refused(tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    def error(address: str) -> str:
        done = reid("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out", "--ray", address)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    assert "--ray 127.0.0.1:9: nobody answers there: Connection refused" in error("127.0.0.1:9")
    assert "expected HOST:PORT of a cluster's head" in error("nonsense")
    done = reid("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out", "--worker-cpus", 2)
    assert done.returncode == 2
    assert "only with --ray" in done.stderr
