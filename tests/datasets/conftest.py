from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

PNG = cv2.imencode(".png", np.zeros((4, 2, 3), np.uint8))[1].tobytes()


@pytest.fixture
def make() -> Callable[..., None]:
    """``make(*paths)`` writes a small picture at each path."""

    def write(*paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG)

    return write
