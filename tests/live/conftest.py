from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from drawn_yard import RedDetector, write_video
from tiny_model import build_model
from watched_yard import FRAMES, PLAIN, Shelf

from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.sources import open_video
from reid_toolkit.live.report import WatchReport
from reid_toolkit.live.watch import watch
from reid_toolkit.runtime import Embedder


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    onnx.save_model(build_model(), tmp_path / "tiny.onnx")
    return Embedder(tmp_path / "tiny.onnx", threads=1)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def see(embedder: Embedder, shelf: Shelf, tmp_path: Path) -> Callable[..., WatchReport]:
    """``see(recording, settings, **more)`` watches, a file of one walker by default, into ``shelf``."""

    def run(
        recording: Any = None, settings: Settings = PLAIN, *, gallery: Any = shelf, detector: Any = None, **more: Any
    ) -> WatchReport:
        recording = recording or open_video(write_video(tmp_path / "yard.avi", FRAMES))
        return watch(recording, "north", embedder, gallery, detector or RedDetector(), settings, **more)

    return run
