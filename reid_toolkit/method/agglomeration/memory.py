"""Turns a memory limit into sizes of blocks. Results never depend on it."""

import os
from dataclasses import dataclass

import torch

from reid_toolkit.errors import InputError

BYTES_PER_PAIR = 600
"""Memory of one stored pair of clusters: two entries in Python dictionaries, their numbers, and a place in the heap."""

BLOCK_SIZES = (4096, 2048, 1024, 512, 256, 128, 64, 32)


@dataclass(frozen=True)
class Plan:
    """Sizes that keep a stage within its memory limit."""

    dense: bool
    """Whether the whole C x C matrix fits."""
    block_size: int
    """Side of the largest block of sample distances."""
    entries: int
    """Entries of the C x C matrix that are computed at once."""
    scanned: int
    """Entries of the stored C x C matrix that are read at once: few enough for a CPU's cache."""
    pairs: int
    """Pairs of clusters that may be stored if the matrix does not fit."""
    means: bool
    """Whether the means of the clusters fit as well as those pairs."""


def plan_memory(clusters: int, dimension: int, device: torch.device, max_memory: int | None) -> Plan:
    """Divide ``max_memory`` bytes among the parts of a stage.

    Without a limit, take half of a GPU's free memory, or a quarter of the machine's memory. Raises
    :class:`InputError` if the smallest block does not fit.
    """
    limit = default_memory(device) if max_memory is None else max_memory
    largest = 4096 if device.type == "cuda" else 1024
    fitting = (size for size in BLOCK_SIZES if size <= largest and block_bytes(size, dimension) <= limit // 4)
    block_size = next(fitting, None)
    if block_size is None:
        needed = 4 * block_bytes(BLOCK_SIZES[-1], dimension)
        raise InputError(
            f"merging: max_memory is {limit} bytes: expected at least {needed}, "
            f"what the smallest block of {dimension}-dimensional features needs"
        )
    entries = max(clusters, min(block_size * clusters, limit // 4 // 48))
    left = limit - block_bytes(block_size, dimension) - 48 * entries - 200 * clusters
    means = 4 * clusters * dimension
    fits = means <= left // 2
    return Plan(
        dense=8 * clusters**2 <= left,
        block_size=block_size,
        entries=entries,
        scanned=block_size * block_size // 4,
        pairs=max(clusters, (left - means * fits) // BYTES_PER_PAIR),
        means=fits,
    )


def block_bytes(block_size: int, dimension: int) -> int:
    """Return bytes for a block's distances and temporaries, and for the rounded samples on its two sides, as
    float64."""
    return 40 * block_size * block_size + 48 * block_size * dimension


def default_memory(device: torch.device) -> int:
    """Return half of a GPU's free memory, or a quarter of the machine's memory, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
