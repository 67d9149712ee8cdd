"""Chooses the device that trains, and says what to change if its memory is too small."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from reid_toolkit.config import Recipe
from reid_toolkit.errors import RunError

DEVICES = "cpu, cuda, cuda:N or mps"
NO_MEMORY = "out of memory", "can't allocate memory", "not enough memory"


@contextmanager
def training_on(device: torch.device, recipe: Recipe, *, deterministic: bool = False) -> Iterator[None]:
    """Prepare the device for training, and name the settings to lower if memory runs out.

    A GPU becomes the current GPU, and cuDNN tests which convolutions are fastest. If ``deterministic``, torch uses only
    operations that give the same bits each time and refuses others; cuDNN then tests nothing, because the fastest
    choice may differ from run to run.

    Raises:
        RunError: the memory of the device is too small.
    """
    before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it at its start to be deterministic
        torch.use_deterministic_algorithms(True)
    try:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["the machine's memory is full"])[0]
        settings, network = recipe.training, recipe.network
        raise RunError(
            f"{device}: out of memory with training.batch_size = {settings.batch_size}, training.frames = "
            f"{settings.frames} and crops of {network.height}x{network.width} ({reason}): halve "
            "training.batch_size (and the learning rates) or training.frames, or freeze layers (network.frozen)"
        ) from None
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.use_deterministic_algorithms(before[1])


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch, numpy or Python says that memory ran out. The CPU and MPS have only their words for it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in NO_MEMORY)


def device_name(device: torch.device) -> str:
    """Name the device that trains, as its owner knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU {'thread' if threads == 1 else 'threads'}" if device.type == "cpu" else device.type


def choose_device(name: str) -> torch.device:
    """ "auto" (CUDA if available, else Apple's MPS, else the CPU), "cpu", "cuda", "cuda:N" or "mps". Raises
    :class:`RunError` for other names."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"device {name!r} cannot be used here ({reason}): expected {DEVICES}") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise RunError(f"device {name!r} is not one we train on: expected {DEVICES}")
    return device
