"""Handles devices without float64, which exact sums need."""

import torch

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Types of devices that have no float64: Apple's GPUs."""


def with_float64(device: torch.device) -> torch.device:
    """Return the device if it has float64, else the CPU."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device
