"""How a memory limit becomes sizes of blocks; results never depend on it."""

import os
from dataclasses import dataclass

import torch

from reid_toolkit.errors import InputError

BYTES_PER_PAIR = 600
"""Of a kept pair of clusters: two entries of Python dictionaries, their numbers, and a place in the heap."""

BLOCKS = (4096, 2048, 1024, 512, 256, 128, 64, 32)


@dataclass(frozen=True)
class Plan:
    """Sizes that keep a stage within its memory."""

    dense: bool
    """Whether the whole C x C matrix fits."""
    block: int
    """Side of the largest matrix of sample distances."""
    entries: int
    """Entries of the largest panel of the C x C matrix that is computed at once."""
    strip: int
    """Entries of the matrix that are looked at at once: what a cache holds, where there is one."""
    pairs: int
    """Pairs of clusters that may be kept where the matrix does not fit."""
    means: bool
    """Whether the clusters' means fit beside them."""


def plan_memory(clusters: int, dimension: int, device: torch.device, max_memory: int | None) -> Plan:
    """Divide ``max_memory`` bytes; by default half of what a GPU has free, a quarter of the machine's memory.

    Raises :class:`InputError` when it is below what the smallest block needs.
    """
    limit = default_memory(device) if max_memory is None else max_memory
    largest = 4096 if device.type == "cuda" else 1024
    block = next((b for b in BLOCKS if b <= largest and block_bytes(b, dimension) <= limit // 4), None)
    if block is None:
        needed = 4 * block_bytes(BLOCKS[-1], dimension)
        raise InputError(
            f"merging: max_memory is {limit} bytes: expected at least {needed}, "
            f"what the smallest block of {dimension}-dimensional features needs"
        )
    entries = max(clusters, min(block * clusters, limit // 4 // 48))
    left = limit - block_bytes(block, dimension) - 48 * entries - 200 * clusters
    means = 4 * clusters * dimension
    fits = means <= left // 2
    return Plan(
        dense=8 * clusters**2 <= left,
        block=block,
        entries=entries,
        strip=block * block // 4,
        pairs=max(clusters, (left - means * fits) // BYTES_PER_PAIR),
        means=fits,
    )


def block_bytes(block: int, dimension: int) -> int:
    """A block's distances with temporaries, and the rounded samples on its two sides, as float64."""
    return 40 * block * block + 48 * block * dimension


def default_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
