"""Tries an installed reid with nothing else: enrolls drawn pictures, searches, and forgets. It needs no checkout.

    python tools/smoke.py MODEL.onnx

MODEL is any file of `reid export` or `reid adopt`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np


def reid(*arguments: object) -> str:
    """Run a command, and give what it prints. Exits with its error if it fails."""
    command = [str(Path(sys.executable).with_name("reid")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def main(model: Path) -> None:
    assert "site-packages" in __import__("reid_toolkit").__file__, "the installed package is to be tried"
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(6):
            cv2.imwrite(f"{folder}/{number}.png", rng.integers(0, 256, (128, 64, 3), np.uint8))
        gallery = f"{folder}/gallery"
        for number in range(6):
            reid(
                "enroll", f"{folder}/{number}.png", "--model", model, "--gallery", gallery, "--camera", f"c{number % 2}"
            )
        found = json.loads(reid("search", f"{folder}/3.png", "--gallery", gallery, "--json"))
        assert found["matches"][0]["tracklet"] == "3", found
        reid("gallery", "forget", gallery, "--tracklet", "3", "--yes")
        found = json.loads(reid("search", f"{folder}/3.png", "--gallery", gallery, "--json"))
        assert "3" not in {match["tracklet"] for match in found["matches"]}, found
    print(reid("--version").strip(), "works")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
