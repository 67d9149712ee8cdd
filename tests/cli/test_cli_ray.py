"""``--ray``: the same results as one process gives, on a local cluster, also if its workers are killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

if find_spec("ray") is None:  # imported by the commands alone, because it takes a second
    pytest.skip("needs the cluster extra", allow_module_level=True)

REID = [sys.executable, "-m", "reid_toolkit"]
ACTOR = b"ray::Worker"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What the cluster and the commands on it find in their environment: among it a server like S3, if there can be
    one."""
    if find_spec("moto") is None or find_spec("s3fs") is None:
        yield os.environ | TOKEN
        return
    with s3_server() as settings:
        yield os.environ | TOKEN | settings


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two cores on this machine, for all tests of this file."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    log = tmp_path_factory.mktemp("ray") / "log"
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray makes sockets in it, and paths of these are short
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    ray += ["--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
    ray += ["--object-store-memory=80000000", f"--temp-dir={folder}"]
    with open(log, "wb") as file:
        process = subprocess.Popen(ray, stdout=file, stderr=file, start_new_session=True, env=environment)
    try:
        wait_for_head(port, process, log)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


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


@pytest.fixture
def reid_on(cluster: str, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``reid_on("embed", ...)``: the command with ``--ray``, in a process of its own, as Ray stays in the first that
    uses it."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*REID, *map(str, arguments), "--ray", cluster]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    return run


def actors() -> list[int]:
    """The processes of Ray's workers on this machine that run our work."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if command.read_bytes().startswith(ACTOR):
                found.append(int(command.parent.name))
    return found


def test_embedding_on_a_cluster_gives_what_one_process_gives(
    reid, reid_on, tiny_dataset: Path, model: Path, tmp_path
) -> None:
    alone, ours = tmp_path / "alone", tmp_path / "cluster"
    assert reid("embed", tiny_dataset, "--model", model, "--out", alone).status == 0
    model.rename(tmp_path / "moved.onnx")  # workers get the model from the command, not from a path
    done = reid_on("embed", tiny_dataset, "--model", tmp_path / "moved.onnx", "--out", ours, "--shard-size", 5)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    np.testing.assert_allclose(np.load(ours / "descriptors.npy"), np.load(alone / "descriptors.npy"), atol=1e-6)
    assert (ours / "manifest.csv").read_bytes() == (alone / "manifest.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_workers_killed_at_random_moments_lose_nothing(
    reid, cluster, environment, tiny_dataset: Path, model: Path, tmp_path
) -> None:
    pictures = sorted((tiny_dataset / "crops").iterdir())
    paths = [str(pictures[number % len(pictures)]) for number in range(4000)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    arguments = ["embed", tmp_path / "list.txt", "--model", model, "--shard-size", 20, "--batch-size", 2]
    process = subprocess.Popen(
        [*REID, *map(str, arguments), "--out", str(tmp_path / "out"), "--ray", cluster],
        stderr=subprocess.PIPE,
        env=environment,
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
    assert reid(*arguments, "--out", tmp_path / "alone").status == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "out/descriptors.npy"), np.load(tmp_path / "alone/descriptors.npy"), atol=1e-6
    )
    assert (tmp_path / "out/manifest.csv").read_bytes() == (tmp_path / "alone/manifest.csv").read_bytes()


OPTIONS = ("--every", 1, "--min-crops", 2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for shade, name in enumerate(("north", "south", "gate")):
        write_video(folder / f"{name}.avi", shade=shade)
    return folder


@pytest.fixture(scope="module")
def alone(reid, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that one process makes of the clips."""
    out = tmp_path_factory.mktemp("alone") / "people"
    assert reid("ingest", clips, "--out", out, *OPTIONS).status == 0
    assert files_of(out)
    return out


def test_ingesting_and_enrolling_on_a_cluster_give_what_one_process_gives(
    reid, reid_on, clips: Path, alone: Path, model: Path, tmp_path: Path
) -> None:
    done = reid_on("ingest", clips, "--out", tmp_path / "ours", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert files_of(alone) == files_of(tmp_path / "ours")
    assert rows_of(alone) == rows_of(tmp_path / "ours")
    assert reid("enroll", alone, "--model", model, "--gallery", tmp_path / "alone-g").status == 0
    done = reid_on("enroll", tmp_path / "ours", "--model", model, "--gallery", tmp_path / "ours-g")
    assert done.returncode == 0, done.stderr
    assert records(tmp_path / "alone-g") == records(tmp_path / "ours-g")


def test_ingesting_on_a_cluster_from_object_storage_gives_the_same(
    reid_on, environment: dict[str, str], clips: Path, alone: Path
) -> None:
    if "AWS_ENDPOINT_URL" not in environment:
        pytest.skip("needs s3fs and moto")
    bucket = path_of("s3://cluster")
    bucket.fs.mkdir("s3://cluster")
    for clip in clips.iterdir():
        (bucket / "clips" / clip.name).write_bytes(clip.read_bytes())
    done = reid_on("ingest", bucket / "clips", "--out", bucket / "people", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert files_of(alone) == files_of(bucket / "people")
    assert rows_of(alone) == rows_of(bucket / "people")


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


def test_an_error_in_a_worker_is_one_line(reid_on, tiny_dataset: Path, tmp_path: Path) -> None:
    onnx.save_model(build_model(np.full((48, 5), np.nan, np.float32)), tmp_path / "nan.onnx")
    done = reid_on("embed", tiny_dataset, "--model", tmp_path / "nan.onnx", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the network is damaged" in " ".join(done.stderr.split())


def test_a_cluster_without_room_is_refused(reid_on, tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    done = reid_on("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out", "--worker-cpus", 64)
    said = " ".join(done.stderr.split())
    assert "has 2 cores and 0 GPUs: a worker needs 64 and 0" in said


def test_addresses_where_nobody_answers_are_refused(reid, tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out")
    said = reid(*arguments, "--ray", "127.0.0.1:9").error
    assert "--ray 127.0.0.1:9: nobody answers there: Connection refused" in said
    assert "expected HOST:PORT of a cluster's head" in reid(*arguments, "--ray", "nonsense").error
    done = reid(*arguments, "--worker-cpus", 2)
    assert done.status == 2
    assert "only with --ray" in done.err
