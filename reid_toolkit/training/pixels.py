"""Where decoded crops live while a network trains on them: on the device, in memory, or in a file."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.training.ahead import map_ahead

Tier = Literal["device", "pinned", "memory", "disk"]
"""From the fastest: the training GPU's memory; the machine's, from where batches travel to a GPU by page-locked
buffers; the machine's, where the CPU trains, or a GPU that shares it (MPS); a file."""

Indices: TypeAlias = Sequence[int] | NDArray[np.int64] | Tensor
"""(B,) of crops."""

DEVICE_SHARE = 0.5
"""Of what a GPU has free before training begins; the rest is for the network and its activations."""

MEMORY_SHARE = 0.25
"""Of the machine's memory, for all processes that train on it together. Past it a file is used, which the system caches
in whatever memory is free."""

AHEAD = 4
"""Batches read before they are asked for."""


@dataclass(frozen=True)
class Pixels:
    """Crops, all of one size."""

    block: Tensor
    """(R, height, width, 3) uint8 BGR in the order they were decoded, on the device, in memory or mapped."""
    rows: Tensor
    """(N,) int64 on the block's device: the row of each crop."""
    tier: Tier
    device: torch.device
    """Where :meth:`read` puts what it reads."""

    def read(self, indices: Indices) -> Tensor:
        """The crops of these indices, (B, height, width, 3) uint8 BGR, on ``device``."""
        rows = self.rows[torch.as_tensor(indices, device=self.rows.device)]
        if self.block.device.type == self.device.type:
            return self.block[rows]
        # The rows of a batch lie apart, so they have to be gathered here; page-locked, the copy to the GPU need not
        # be waited for. Locking the whole block would gain nothing, and torch rounds it up to a power of two.
        pin = self.device.type == "cuda"
        batch = torch.empty(len(rows), *self.block.shape[1:], dtype=torch.uint8, pin_memory=pin)
        torch.index_select(self.block, 0, rows, out=batch)
        return batch.to(self.device, non_blocking=pin)

    def read_ahead(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """:meth:`read` of each, in order; a thread keeps ahead where reading would be waited for."""
        if self.tier in ("device", "memory"):
            return map(self.read, batches)
        return map_ahead(self.read, batches, threads=1, ahead=AHEAD)


def choose_tier(size: int, device: torch.device, memory_limit: int | None = None) -> Tier:
    """The fastest that holds ``size`` bytes; ``memory_limit`` is by default what a process may use of the machine's."""
    if device.type == "cuda" and size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    if memory_limit is None:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # torchrun's, each with crops of its own
        memory_limit = int(MEMORY_SHARE * machine_memory()) // processes
    if size <= memory_limit:
        return "pinned" if device.type == "cuda" else "memory"
    return "disk"


def machine_memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of the machine, or of the container's ``limit`` (cgroup v2) where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no such control group, or "max"
        return total
