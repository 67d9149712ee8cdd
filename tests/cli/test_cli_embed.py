import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from tiny_model import DIMENSION, build_model
from waiting import wait_until

from reid_toolkit.images import read_image
from reid_toolkit.runtime import Embedder, session

REID = [sys.executable, "-m", "reid_toolkit", "embed"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path


def manifest(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "manifest.csv").read_text(encoding="utf-8").splitlines()))


def test_a_dataset_becomes_a_file_of_descriptors(reid, tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = reid("embed", tiny_dataset, "--model", model, "--out", out, "--json").json
    assert (report["crops"], report["embedded"], report["bad"]) == (48, 48, 0)
    assert np.load(out / "descriptors.npy").shape == (48, DIMENSION)
    rows = manifest(out)
    assert {row["camera"] for row in rows} == {"north", "south"}
    again = reid("embed", tiny_dataset / "manifest.csv", "--model", model, "--out", out)
    assert again.status == 0
    assert "48 descriptors of 5, 0 unreadable crops left out" in again.out


def test_paths_come_from_a_file_or_stdin(reid, tiny_dataset: Path, model: Path, tmp_path: Path, monkeypatch) -> None:
    paths = sorted((tiny_dataset / "crops").iterdir())[:5]
    paths[2].write_bytes(b"no picture")
    lines = "\n".join(map(str, paths)).encode()
    (tmp_path / "list.txt").write_bytes(lines)
    result = reid("embed", tmp_path / "list.txt", "--model", model, "--out", tmp_path / "a", "--json")
    assert (result.json["embedded"], result.json["bad"]) == (4, 1)
    said = " ".join(result.err.split())
    assert "warning: 1 crops could not be read; " in said
    assert f"the first: {paths[2]} ({tmp_path}/list.txt, line 3): not an image" in said
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    assert reid("embed", "-", "--model", model, "--out", tmp_path / "b").status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a/descriptors.npy"), np.load(tmp_path / "b/descriptors.npy"))


def test_bad_input_is_one_line(reid, tiny_dataset: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("gone.jpg\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "empty").mkdir()

    def error(source: object, *more: object, model: Path = model) -> str:
        return reid("embed", source, "--model", model, "--out", tmp_path / "out", *more).error

    assert "gone: no such file or folder" in error(tmp_path / "gone")
    assert "bad.txt: none of its 1 crops could be read" in error(tmp_path / "bad.txt")
    assert "empty.txt: names no image" in error(tmp_path / "empty.txt")
    assert "not a list of image files" in error(tiny_dataset / "crops" / "north-00-0.png")
    assert "nor any image" in error(tmp_path / "empty")
    assert "cannot read the model" in error(tiny_dataset, model=tmp_path / "gone.onnx")
    assert "not a usable ONNX model" in error(tiny_dataset, model=tmp_path / "bad.txt")
    assert "no execution provider 'gpu'" in error(tiny_dataset, "--provider", "gpu")
    assert "strict without providers" in error(tiny_dataset, "--strict")
    assert "holds another job" in error(tiny_dataset)
    assert reid("embed", tiny_dataset, "--model", model, "--out", "x", "--workers", "0").status == 2


def test_a_processor_that_is_not_there_is_said_aloud_or_refused(
    reid, tiny_dataset: Path, model: Path, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("embed", tiny_dataset, "--model", model, "--out", tmp_path / "out", "--provider", "openvino")
    monkeypatch.setattr(session, "has_package", lambda: False)
    assert "not on OpenVINOExecutionProvider as asked" in reid(*arguments, "--strict").error
    done = reid(*arguments)
    assert done.status == 0
    assert "warning:" in done.err
    assert "runs on CPUExecutionProvider, not on OpenVINOExecutionProvider as asked" in " ".join(done.err.split())


@pytest.fixture
def long_job(tmp_path: Path, model: Path) -> tuple[list[str], list[Path], list[int]]:
    """The arguments of a job of seconds, its pictures, and which of eight contents each has; large and so slow."""
    rng = np.random.default_rng(0)
    originals = []
    for number in range(8):
        noise = rng.integers(0, 256, (60, 60, 3), np.uint8)
        originals.append(tmp_path / f"{number}.jpg")
        cv2.imwrite(str(originals[-1]), cv2.resize(noise, (1200, 1200)))
    kinds = rng.integers(0, 8, 150).tolist()
    (tmp_path / "pictures").mkdir()
    pictures = [tmp_path / "pictures" / f"{number:03d}.jpg" for number in range(len(kinds))]
    for picture, kind in zip(pictures, kinds, strict=True):
        os.link(originals[kind], picture)
    return (
        [str(tmp_path / "pictures"), "--model", str(model), "--out", str(tmp_path / "out"), "--shard-size", "7"],
        pictures,
        kinds,
    )


def check_whole(out: Path, pictures: list[Path], kinds: list[int], model: Path) -> None:
    """That every picture is there once, with the descriptor of its content."""
    rows = manifest(out)
    assert [row["path"] for row in rows] == [str(path.resolve()) for path in pictures]
    kind_rows = Embedder(model).embed([read_image(pictures[kinds.index(kind)]) for kind in range(8)])
    np.testing.assert_allclose(np.load(out / "descriptors.npy"), kind_rows[kinds], atol=1e-5)
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "bad.csv", "descriptors.npy", "job.json", "manifest.csv", "report.json",
    ]  # fmt: skip


def children_of(process: int) -> list[int]:
    """Worker processes of a ``reid``, by /proc; multiprocessing's own helper is not one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == process and b"spawn_main" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found


@pytest.fixture
def start() -> Iterator:
    """``start(arguments)``: ``reid embed`` as a process group of its own; what is left of them is killed."""
    started: list[subprocess.Popen] = []

    def run(arguments: list[str]) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [*REID, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        )
        return started[-1]

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.02)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")


def finished_shards(out: Path) -> list[Path]:
    return list(out.glob("shards/[!.]*.npz"))


@needs_proc
def test_workers_killed_at_random_moments_lose_nothing(start, long_job, model: Path, tmp_path: Path) -> None:
    arguments, pictures, kinds = long_job
    out, chance, kills = tmp_path / "out", random.Random(5), 0
    for _ in range(10):
        process = start([*arguments, "--workers", "3"])
        wait_for(lambda: finished_shards(out), process)
        while process.poll() is None:
            time.sleep(chance.uniform(0, 0.2))
            workers = children_of(process.pid)
            if workers and kills < 6:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    kills += 1
        if process.returncode == 0 and kills > 1:
            break
        if process.returncode == 0:  # it was done before there was anybody to kill
            shutil.rmtree(out)
            continue
        error = process.stderr.read().decode()
        assert process.returncode == 1
        assert "worker processes died 3 times at the same work" in " ".join(error.split())
    assert process.returncode == 0
    assert kills > 1
    check_whole(out, pictures, kinds, model)


@needs_proc
def test_a_reid_that_is_killed_leaves_no_worker_and_can_be_continued(start, long_job, model: Path, tmp_path) -> None:
    arguments, pictures, kinds = long_job
    process = start([*arguments, "--workers", "2"])
    wait_for(lambda: len(finished_shards(tmp_path / "out")) >= 3, process)
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not [worker for worker in workers if Path(f"/proc/{worker}").exists()])
    assert start(arguments).wait(timeout=120) == 0
    check_whole(tmp_path / "out", pictures, kinds, model)


@needs_proc
def test_an_interruption_leaves_no_worker_and_no_traceback(start, long_job, model: Path, tmp_path: Path) -> None:
    arguments, pictures, kinds = long_job
    process = start([*arguments, "--workers", "2"])
    wait_for(lambda: finished_shards(tmp_path / "out"), process)  # with nearly all of it still to do
    workers = children_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error
    assert b"run the same command again to continue" in b" ".join(error.split())
    assert workers
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    done = start([*arguments, "--json"])
    result, _ = done.communicate(timeout=120)
    assert json.loads(result)["embedded"] == len(pictures)
    check_whole(tmp_path / "out", pictures, kinds, model)


def test_an_error_in_a_worker_is_the_one_line(start, long_job, tmp_path: Path) -> None:
    arguments, *_ = long_job
    np_bad = build_model(np.full((48, DIMENSION), np.nan, np.float32))
    onnx.save_model(np_bad, tmp_path / "tiny.onnx")
    process = start([*arguments, "--workers", "2"])
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert b"Traceback" not in error
    assert b"error: " in error
    assert b"the network is damaged" in b" ".join(error.split())
