"""The runtime on a GPU, without torch's libraries in the process."""

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="needs a CUDA device and an onnxruntime built for it",
    ),
]

SCRIPT = """
import sys
import numpy as np
from reid_toolkit.runtime import Embedder

crops = list(np.random.default_rng(0).integers(0, 256, (19, 40, 20, 3), np.uint8))
reference = Embedder(sys.argv[1], providers=["cpu"]).embed(crops)
for wish in ({"providers": ["cuda"], "strict": True}, {}):
    embedder = Embedder(sys.argv[1], batch_size=8, **wish)
    assert embedder.provider == "CUDAExecutionProvider", embedder.provider
    assert np.abs(embedder.embed(crops) - reference).max() < 1e-3  # TF32
assert "torch" not in sys.modules
"""


def test_the_gpu_is_used_and_gives_the_cpus_descriptors(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: torch, imported here, would have loaded CUDA's libraries."""
    monkeypatch.delenv("REID_PROVIDER")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_gpu_that_is_hidden_is_not_claimed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import sys, warnings
from reid_toolkit.runtime import Embedder
from reid_toolkit.errors import ModelError

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    embedder = Embedder(sys.argv[1], providers=["cuda"])
assert embedder.provider == "CPUExecutionProvider", embedder.provider
assert any("not on CUDAExecutionProvider as asked" in str(one.message) for one in said)
try:
    Embedder(sys.argv[1], providers=["cuda"], strict=True)
except ModelError:
    sys.exit(7)
"""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
