"""The pixels that a third party's network expects: order of channels, range, mean and standard deviation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, did_you_mean

Triple = tuple[float, float, float]

LEAST_LEVEL = 10.0
"""A mean greater than this counts as grey levels from 0 to 255."""


@dataclass(frozen=True)
class Contract:
    """A pixel of 0 to 255 becomes (pixel / scale - mean) / std, channel by channel in ``order``."""

    order: str = "rgb"
    """"rgb" or "bgr"."""
    scale: float = 255.0
    mean: Triple = (0.0, 0.0, 0.0)
    """Mean of the channels in ``order``, after division by ``scale``. ``std`` has the same form."""
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        numbers = np.array([self.scale, *self.mean, *self.std])
        if self.order not in ("rgb", "bgr"):
            raise InputError(f"order is {self.order!r}: expected rgb or bgr")
        if not np.isfinite(numbers).all() or self.scale <= 0 or min(self.std) <= 0:
            raise InputError(
                f"scale {self.scale:g}, mean {self.mean}, std {self.std}: expected finite numbers, and scale and std "
                "above 0"
            )
        if any(self.mean) and (max(map(abs, self.mean)) > LEAST_LEVEL) != (self.scale == 1):
            raise InputError(
                f"mean {self.mean} with scale {self.scale:g}: expected fractions with scale 255, or grey levels "
                "of 0-255 with scale 1"
            )

    def __str__(self) -> str:
        """Describe the contract in words."""
        words = self.order.upper() + (f" / {self.scale:g}" if self.scale != 1 else " of 0-255")
        if any(self.mean):
            words += f" - ({', '.join(f'{value:g}' for value in self.mean)})"
        if any(value != 1 for value in self.std):
            words = f"({words})" if any(self.mean) else words
            words += f" / ({', '.join(f'{value:g}' for value in self.std)})"
        return words

    def apply(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert (B, H, W, 3) uint8 BGR to (B, 3, H, W) float32 as the network expects it."""
        pixels = crops[..., ::-1] if self.order == "rgb" else crops
        mean, std = (np.array(triple, np.float32) for triple in (self.mean, self.std))
        values = (pixels.astype(np.float32) / np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


PRESETS = {
    "imagenet": Contract("rgb", 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "raw-bgr": Contract("bgr", 1),
    "half": Contract("rgb", 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "tao": Contract("rgb", 255, (0.485, 0.456, 0.406), (0.226, 0.226, 0.226)),
    "clip": Contract("rgb", 255, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "inside": Contract("rgb", 1),
}
"""imagenet: torchreid, BoxMOT, torchvision, timm. raw-bgr: Open Model Zoo. half: -1 to 1. tao: NVIDIA TAO. clip: CLIP.
inside: fast-reid, which takes RGB of 0-255 and does the rest in the network. The most common preset comes first."""


def preset(name: str) -> Contract:
    """Return the preset of this name. Raises :class:`InputError` if there is none."""
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}{did_you_mean(name, PRESETS)}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
