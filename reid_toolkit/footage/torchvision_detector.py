"""Detects people with torchvision's Faster R-CNN (MobileNetV3 backbone), which downloads its weights."""

import hashlib
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image

PERSON = 1
"""The class in torchvision's COCO labels; 0 is the background."""
LEAST_SCORE = 0.1
"""As in :mod:`reid_toolkit.footage.detectors.forms`."""


class TorchvisionDetector:
    """Detects people with ``fasterrcnn_mobilenet_v3_large_320_fpn``. See :class:`Detector`.

    ``weights`` is a state dict (.safetensors, or .pth of tensors only) to use instead of its COCO weights, which torch
    downloads to its cache at the first use.
    """

    def __init__(self, weights: Path | None = None) -> None:
        import torch
        from torchvision.models import detection

        choice = detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1
        if weights is None:
            state, self.name = download(choice), "torchvision:COCO_V1"
        else:
            state = read_state(weights)
            self.name = f"torchvision:{hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}"
        self.model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            weights=None, weights_backbone=None, box_score_thresh=LEAST_SCORE
        )
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"{weights}: weights of another network: expected a state dict of torchvision's "
                f"fasterrcnn_mobilenet_v3_large_320_fpn; {error}"
            ) from None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.eval().to(self.device)

    def start(self, frame_rate: float) -> None:
        """Do nothing, because each frame is handled on its own."""

    def __call__(self, frame: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        rgb = torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1])).to(self.device)
        with torch.inference_mode():
            detections = self.model([rgb.permute(2, 0, 1).float() / 255])[0]
        people = detections["labels"] == PERSON
        return detections["boxes"][people].cpu().numpy(), detections["scores"][people].cpu().numpy()


def download(choice: Any) -> dict[str, Any]:
    """Return torchvision's own weights, from torch's cache or the network."""
    try:
        with redirect_stdout(sys.stderr):  # torch prints the address it loads from; stdout is for results
            return dict(choice.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the file does not match its hash
        raise ModelError(
            f"torchvision's detector weights cannot be downloaded from {choice.url} ({error}): give them "
            "with --detector-weights FILE, or use another --detector"
        ) from None


def read_state(path: Path) -> dict[str, Any]:
    """Read a state dict from a file that cannot run code: safetensors, or a pickle of tensors only."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"{path}: no such file: expected a state dict, .safetensors or .pth")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # errors for damaged files have no common base
        raise ModelError(f"{path}: not a state dict of tensors, .safetensors or .pth; {error}") from None
