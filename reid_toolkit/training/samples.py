"""A dataset's crops as the network takes them: decoded and resized once, and kept where they can be read fastest."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.datasets.dataset import Dataset, keep_crops
from reid_toolkit.errors import ImageError, InputError, RunError
from reid_toolkit.images import read_image, resize
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.training.crop_cache import UNREADABLE, file_key, open_crop_file, write_crop_file
from reid_toolkit.training.distributed import ALONE, World

Item = TypeVar("Item")
Result = TypeVar("Result")

Tier = Literal["device", "pinned", "memory", "disk"]
"""Where pixels are kept, the fastest first: "device", the training GPU's memory; "pinned", the machine's memory, from
which page-locked buffers bring batches to a GPU; "memory", the machine's memory, if the CPU trains or a GPU that shares
it (MPS); "disk", a file."""

Indices: TypeAlias = Sequence[int] | NDArray[np.int64] | Tensor
"""(B,) indices of crops."""

DEVICE_SHARE = 0.5
"""Fraction of a GPU's free memory that crops may use. The rest is for the network and its activations."""

MEMORY_SHARE = 0.25
"""Fraction of the machine's memory that crops may use, for all processes that train on it together. If they need more,
a file is used, which the system caches in free memory."""

MOST_MEMORY = "REID_MEMORY"
"""Environment variable: the GiB that training considers to be the machine's memory, if other programs need some."""

AHEAD = 4
"""Batches that a thread reads in advance."""

CHUNK = 32
"""Crops that a thread decodes at a time."""

CPU = torch.device("cpu")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Pixels:
    """The pixels of crops that all have one size."""

    block: Tensor
    """(R, height, width, 3) uint8 BGR in the order of decoding; on the device, in memory, or mapped from a file."""
    rows: Tensor
    """(N,) int64 on the block's device: the row of each crop in the block."""
    tier: Tier
    device: torch.device
    """The device on which :meth:`read` puts its result."""

    def read(self, indices: Indices) -> Tensor:
        """Read the crops with these indices: (B, height, width, 3) uint8 BGR, on ``device``."""
        rows = self.rows[torch.as_tensor(indices, device=self.rows.device)]
        if self.block.device.type == self.device.type:
            return self.block[rows]
        # The rows of a batch are scattered, so they are gathered here. From page-locked memory the copy to the GPU need
        # not be waited for. Locking the whole block would gain nothing, and torch rounds it up to a power of two.
        pin = self.device.type == "cuda"
        batch = torch.empty(len(rows), *self.block.shape[1:], dtype=torch.uint8, pin_memory=pin)
        torch.index_select(self.block, 0, rows, out=batch)
        return batch.to(self.device, non_blocking=pin)

    def read_ahead(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """Yield :meth:`read` of each batch, in order. A thread reads in advance if reading would have to be waited
        for."""
        if self.tier in ("device", "memory"):
            return map(self.read, batches)
        return prefetch(self.read, batches, threads=1, ahead=AHEAD)


@dataclass(frozen=True)
class Samples:
    """The samples that are clustered: tracklets (or single images), and their crops one after the other."""

    tracklets: tuple[Tracklet, ...]
    """N samples, in an order that depends only on their pictures (see :func:`load_samples`)."""
    crops: tuple[Crop, ...]
    starts: NDArray[np.int64]
    """(N + 1,): sample i has the crops starts[i] to starts[i + 1]."""
    height: int
    width: int
    pixels: Pixels
    """The pixels of ``crops``."""

    def __len__(self) -> int:
        return len(self.tracklets)

    @property
    def cameras(self) -> list[str]:
        """The camera of each sample."""
        return [tracklet.camera for tracklet in self.tracklets]

    @property
    def order(self) -> str:
        """A digest, in hex, of which samples these are and of their order. Labels and drawn batches go by the order.

        It may differ for the same files: if other crops can be read, or another version of OpenCV decodes to other
        pixels.
        """
        names = "\n".join(f"{tracklet.name}\0{tracklet.camera}" for tracklet in self.tracklets)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    @property
    def tier(self) -> Tier:
        """Where the pixels are kept."""
        return self.pixels.tier

    def read(self, indices: Indices) -> Tensor:
        """Read the crops with these indices: (B, height, width, 3) uint8 BGR, on the device that trains."""
        return self.pixels.read(indices)

    def take(self, kept: NDArray[np.bool_]) -> "Samples":
        """Return the samples that are marked in ``kept`` (N,), in the same order. They share the pixels."""
        crop_kept = np.repeat(kept, np.diff(self.starts))
        tracklets = tuple(tracklet for tracklet, keep in zip(self.tracklets, kept, strict=True) if keep)
        crops = tuple(crop for crop, keep in zip(self.crops, crop_kept, strict=True) if keep)
        starts = np.cumsum([0, *np.diff(self.starts)[kept]])
        rows = self.pixels.rows[torch.from_numpy(crop_kept).to(self.pixels.rows.device)]
        return replace(self, tracklets=tracklets, crops=crops, starts=starts, pixels=replace(self.pixels, rows=rows))

    def read_ahead(self, batches: Iterable[Indices]) -> Iterator[Tensor]:
        """Yield :meth:`read` of each batch, in order. A thread reads in advance if the pixels are not on the device."""
        return self.pixels.read_ahead(batches)


def load_samples(
    dataset: Dataset,
    height: int,
    width: int,
    *,
    images: bool = False,
    device: torch.device = CPU,
    cache: Path | None = None,
    bad: list[str] | None = None,
    memory_limit: int | None = None,
    on_progress: Progress | None = None,
    world: World = ALONE,
) -> Samples:
    """Decode every crop once, refuse or list those that cannot be read, and put the samples in order.

    Samples are sorted by a digest of their pixels. Names and folder order often follow identity, and such an order
    would leak it: through ties, and through which rows of a table are adjacent. With this order, renaming or shuffling
    the files changes nothing that is learned.

    Args:
        dataset: tracklets to train on.
        height, width: size of the network's input, pixels.
        images: make every crop a sample of its own.
            device: the device that trains; see :func:`reid_toolkit.training.samples.choose_tier` for where crops are
            kept.
            cache: the file for crops that do not fit elsewhere, which the next call uses again. Without it, a temporary
                file is used.
            bad: as in :func:`reid_toolkit.datasets.dataset.read_crops`.
            memory_limit: bytes of the machine's memory that crops may take; a quarter by default.
            on_progress: called with (crops done, crops in all).
            world: the processes, which all call this; those of one machine share the file.

    Raises:
        ImageError: a crop cannot be read, and ``bad`` is None.
        RunError: fewer than two samples, or not enough space on disk.
    """
    shape = (len(dataset.crops), height, width, 3)
    tier = choose_tier(int(np.prod(shape)), device, memory_limit)
    decode = partial(decode_all, dataset.crops, height, width, bad, on_progress)
    with world.after_first_here(waits=tier == "disk"):
        if tier == "disk":
            key = file_key(dataset.crops, height, width)
            # Crops that this machine's first process could not read are not tried again by the others.
            lacking = world.local_rank > 0
            stored = open_crop_file(cache, key, shape, lacking=lacking) if cache else None
            if stored and on_progress:
                on_progress(len(dataset.crops), len(dataset.crops))
            mapped, digests = stored or write_crop_file(cache, key, shape, decode)
            block = torch.from_numpy(mapped)
        else:
            block = torch.empty(shape, dtype=torch.uint8, device=device if tier == "device" else CPU)
            places = iter(block.split(CHUNK))
            digests = decode(lambda chunk: next(places).copy_(torch.from_numpy(chunk)))
    digest_of = dict(zip(dataset.crops, digests, strict=True))
    tracklets = keep_crops(dataset, {crop for crop in dataset.crops if digest_of[crop] != UNREADABLE}).tracklets
    if images:
        tracklets = tuple(one_crop(crop, dataset.root) for t in tracklets for crop in t.crops)
    check_enough(len(tracklets), dataset.root)
    tracklets = tuple(sorted(tracklets, key=lambda t: b"".join(digest_of[crop] for crop in t.crops)))
    crops = tuple(crop for tracklet in tracklets for crop in tracklet.crops)
    starts = np.cumsum([0, *(len(tracklet.crops) for tracklet in tracklets)])
    row_of = {crop: row for row, crop in enumerate(dataset.crops)}
    rows = torch.tensor([row_of[crop] for crop in crops], device=block.device)
    return Samples(tracklets, crops, starts, height, width, Pixels(block, rows, tier, device))


def check_enough(samples: int, dataset: Path) -> None:
    """Raise :class:`RunError` for fewer than two samples."""
    if samples < 2:
        raise RunError(f"{dataset}: {samples} sample: expected at least 2 tracklets to tell apart")


def decode_all(
    crops: Sequence[Crop],
    height: int,
    width: int,
    bad: list[str] | None,
    on_progress: Progress | None,
    keep: Callable[[NDArray[np.uint8]], object],
) -> list[bytes]:
    """Pass the pixels of all crops to ``keep`` in order, in parts of (CHUNK, height, width, 3) or fewer.

    A crop that cannot be read becomes zeros. Returns the SHA-256 of each crop's pixels, or :data:`UNREADABLE`.

    Raises:
        ImageError: a crop cannot be read and ``bad`` is None.
    """
    digests: list[bytes] = []
    done = 0
    threads = os.cpu_count() or 1
    chunks = (crops[first : first + CHUNK] for first in range(0, len(crops), CHUNK))
    for pixels, results in prefetch(
        lambda chunk: decode_chunk(chunk, height, width), chunks, threads=threads, ahead=2 * threads
    ):
        keep(pixels)
        for digest in results:
            if isinstance(digest, ImageError):
                if bad is None:
                    raise ImageError(f"{digest}; --skip-bad leaves such crops out")
                bad.append(str(digest))
                digests.append(UNREADABLE)
                continue
            digests.append(digest)
            done += 1
            if on_progress:
                on_progress(done, len(crops))
    return digests


def decode_chunk(crops: Sequence[Crop], height: int, width: int) -> tuple[NDArray[np.uint8], list[bytes | ImageError]]:
    """Return pixels (B, height, width, 3), and for each crop their SHA-256 or the error of reading it."""
    pixels = np.zeros((len(crops), height, width, 3), np.uint8)
    results: list[bytes | ImageError] = []
    for place, crop in zip(pixels, crops, strict=True):
        try:
            place[:] = resize(read_image(crop.path, crop.origin), height, width)
            results.append(hashlib.sha256(place.tobytes()).digest())
        except ImageError as error:
            results.append(error)
    return pixels, results


def one_crop(crop: Crop, root: Path) -> Tracklet:
    """Make a crop a sample of its own, named by its path."""
    return Tracklet(crop.path.relative_to(root).as_posix(), crop.camera, (crop,))


def choose_tier(size: int, device: torch.device, memory_limit: int | None = None) -> Tier:
    """Choose the fastest place that has room for ``size`` bytes.

    ``memory_limit`` is in bytes; by default it is this process's part of :data:`MEMORY_SHARE`.
    """
    if device.type == "cuda" and size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    if memory_limit is None:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # set by torchrun; each has its own crops
        memory_limit = int(MEMORY_SHARE * machine_memory()) // processes
    if size <= memory_limit:
        return "pinned" if device.type == "cuda" else "memory"
    return "disk"


def machine_memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Return the machine's memory in bytes, or the container's ``limit`` (cgroup v2) or :data:`MOST_MEMORY`, if
    smaller.

    Raises :class:`InputError` if :data:`MOST_MEMORY` is not a number above 0.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if said := os.environ.get(MOST_MEMORY):
        try:
            share = int(float(said) * 2**30)
        except (ValueError, OverflowError):
            share = 0
        if share <= 0:
            raise InputError(f"{MOST_MEMORY} is {said!r}: expected GiB, a number above 0")
        total = min(total, share)
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # there is no such control group, or its limit is "max"
        return total


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """Yield ``function`` of each item in order. Threads begin up to ``ahead`` items early.

    Items are taken in the caller's thread. An exception is raised at the place of its result; calls that have begun by
    then are finished, and the others are dropped.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
