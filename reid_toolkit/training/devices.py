"""Where training runs, and what is said when that has too little memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from reid_toolkit.config import Recipe
from reid_toolkit.errors import RunError


@contextmanager
def training_on(device: torch.device, recipe: Recipe) -> Iterator[None]:
    """Make a GPU the current one, have cuDNN try which convolutions are fastest, and name the settings that
    would fit when memory runs out.

    Raises:
        RunError: the GPU's memory is too small.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda"
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    except torch.OutOfMemoryError as error:
        settings, network = recipe.training, recipe.network
        raise RunError(
            f"{device}: out of memory with training.batch_size = {settings.batch_size}, training.frames = "
            f"{settings.frames} and crops of {network.height}x{network.width} ({str(error).splitlines()[0]}): halve "
            "training.batch_size (and the learning rates) or training.frames, or freeze layers (network.frozen)"
        ) from None
    finally:
        torch.backends.cudnn.benchmark = before
