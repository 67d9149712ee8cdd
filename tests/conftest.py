"""Small inputs that many tests need: pictures of nobody, and a dataset made of them."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.records import Crop

# Before torch is loaded, here or in a process of a test. Networks this small gain nothing by a second thread, and on a
# busy machine threads that wait for each other cost many times the work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Else the first embedder for each model would measure whether OpenVINO is faster, and the suite would run on either.
os.environ["REID_PROVIDER"] = "cpu"

# openvino imports absl where it is installed. absl's handler writes to the stderr of that moment, which is pytest's
# capture, and closes it when pymilvus, as it is imported, closes all handlers. Nobody closes the process's own stderr.
with suppress(ImportError):
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

# A shell that starts the suite in the background has it ignore Ctrl-C, and the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that name no number of examples take the profile's: pytest --hypothesis-profile=thorough tests/method
settings.register_profile("quick", max_examples=200, deadline=None)
settings.register_profile("thorough", max_examples=4000, deadline=None)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run tests marked slow, which take minutes each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A test that hangs ends its process, with the stack of each thread. The other tests go on in a new one (xdist).
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            item.add_marker(pytest.mark.timeout(3600 if "slow" in item.keywords else 900, method="thread"))
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --slow"))


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """Networks and tensors that a test draws at random are the same alone, in the suite, and on every machine."""
    torch = sys.modules.get("torch")
    if torch:
        torch.manual_seed(0)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Processes forked from one that has loaded torch and pymilvus, which is most of a start, and has used none of
    their threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    # The first test that starts a process starts that one for all tests. It goes on without what is not installed.
    context.set_forkserver_preload(["reid_toolkit.training.rounds", "reid_toolkit.training.launch", "pymilvus"])
    return context


Picture = Callable[..., NDArray[np.uint8]]

CLOTHES = (((40, 40, 220), (120, 60, 20)), ((60, 200, 60), (30, 30, 30)), ((220, 120, 40), (200, 200, 210)))
"""Jacket and trousers of each person, BGR."""


def draw_person(person: int, seed: int, height: int = 64, width: int = 32) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 BGR: two blocks of clothes on grey, with noise that ``seed`` decides."""
    jacket, trousers = CLOTHES[person % len(CLOTHES)]
    image = np.full((height, width, 3), 128.0)
    left, right = width // 5, width - width // 5
    image[height // 8 : height // 2, left:right] = jacket
    image[height // 2 : height - height // 16, left:right] = trousers
    image += np.random.default_rng(seed).normal(0, 12, image.shape)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def picture() -> Picture:
    """``picture(person, seed, height=64, width=32)``: an image of person 0, 1 or 2, as :func:`draw_person`."""
    return draw_person


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs a small file system, and this user may not mount one: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``tiny_dataset`` is a copy of, for fixtures that several tests share; not to be changed."""
    root = tmp_path_factory.mktemp("shared") / "tiny"
    crops, truth = [], ["tracklet,identity"]
    for person in range(3):
        for camera in ("north", "south"):
            for visit in range(2):
                tracklet = f"{camera}-{person}{visit}"
                truth.append(f"{tracklet},person{person}")
                for step in range(4):
                    frame = 100 * person + 50 * visit + step
                    path = root / "crops" / f"{tracklet}-{step}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image = draw_person(person, seed=frame + (camera == "south") * 1000)
                    cv2.imwrite(str(path), image)
                    place = {"x": 10.0 * step, "y": 5.0, "width": 32.0, "height": 64.0, "score": 0.9}
                    crops.append(Crop(path, camera, tracklet, frame, time=frame / 10, **place))
    write_manifest(root, crops)
    (root / "identities.csv").write_text("\n".join(truth) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def tiny_dataset(shared_dataset: Path, tmp_path: Path) -> Path:
    """A dataset folder: 3 people x 2 cameras x 2 tracklets x 4 crops, never two people at once in a camera.

    Its manifest names no identity; ``identities.csv`` beside the manifest does.
    """
    return shutil.copytree(shared_dataset, tmp_path / "tiny")
