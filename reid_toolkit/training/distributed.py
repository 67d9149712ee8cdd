"""Several processes that train one model, each on its own GPU, with torch.distributed. One process needs none of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from reid_toolkit.errors import RunError

Value = TypeVar("Value")

PATIENCE = timedelta(days=7)
"""How long a process waits for the others. They wait while the first process merges, which for a million samples takes
longer than torch's limits (10 minutes for NCCL, 30 for gloo). A process that died is noticed by the launcher, not by
this limit."""

ON_GPUS = "cpu:gloo,cuda:nccl"
"""Tensors on GPUs are sent by NCCL. Objects and waiting use gloo, because NCCL keeps a kernel busy on the GPU while it
waits."""


LOST = "lost the others"
"""Part of the message of a process that lost its connection."""


@dataclass(frozen=True)
class World:
    """The group of processes, and this process's place in it. All processes call these methods in the same order."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The number of this process on its machine."""

    @property
    def first(self) -> bool:
        """Whether this process merges, writes and reports."""
        return self.rank == 0

    def share(self, make: Callable[[], Value]) -> Value:
        """Return the first process's result of ``make`` on every process. Only the first process calls ``make``."""
        if self.size == 1:
            return make()
        box: list[Value | None] = [make() if self.first else None]
        dist.broadcast_object_list(box, src=0)
        return cast(Value, box[0])

    def share_weights(self, network: nn.Module, change: Callable[[], object]) -> None:
        """Let the first process ``change`` a network, and copy its weights to the others."""

        def changed() -> dict[str, Tensor]:
            change()
            return network.state_dict()

        network.load_state_dict(self.share(changed))

    @contextmanager
    def after_first_here(self, waits: bool) -> Iterator[None]:
        """Run the body after the first process of this machine has run it, if this process ``waits``. The first process
        never waits. All processes must call this; they need not agree which of them wait."""
        waits = waits and self.local_rank > 0
        if waits:
            self.meet()
        yield
        if not waits:
            self.meet()

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.all_gather_object([None] * self.size, None)

    def gather(self, part: Tensor) -> Tensor:
        """Concatenate (B, ...) of all processes to (size * B, ...), in the order of processes."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def check_same(self, value: object, message: str) -> None:
        """Raise :class:`RunError` if a process has another value than the first."""
        if self.share(lambda: value) != value:
            raise RunError(message)

    def check_divides(self, batch: int, norm_crops: int = 0) -> None:
        """Raise :class:`RunError` if a batch, or the ``norm_crops`` of a part of it, cannot be shared evenly by the
        processes."""
        if batch % self.size:
            raise RunError(
                f"a batch of {batch} cannot be shared evenly by {self.size} processes: expected training.batch_size, "
                "and the number of samples where that is less, to be a multiple of them"
            )
        if norm_crops % self.size:
            raise RunError(
                f"training.norm_crops is {norm_crops}, which {self.size} processes cannot share evenly: expected 0 or "
                "a multiple of them"
            )


ALONE = World()


@contextmanager
def join_world(device: str) -> Iterator[tuple[World, str]]:
    """Join the processes that ``torchrun`` describes in the environment, or form a world of one. Yields it with the
    device.

    ``device`` is a name as for ``choose_device``. If there are several processes, each takes the GPU of its number.

    Raises:
        RunError: the other processes are gone, or several processes cannot share such a device.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield ALONE, device
        return
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if device == "mps":
        raise RunError("--device mps: one process can train on it: expected cuda or cpu for several")
    dist.init_process_group("gloo" if device == "cpu" else ON_GPUS, timeout=PATIENCE)
    world = World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    try:
        yield world, device
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not is_lost_connection(error):
            raise
        reason = str(error).splitlines()[0]
        raise RunError(f"process {world.rank} of {world.size} {LOST} ({reason}): see what ended them") from None
    dist.destroy_process_group()


def is_lost_connection(error: RuntimeError) -> bool:
    """Gloo has no exception type of its own, but its messages name its source files."""
    return "gloo/" in str(error) or "Gloo" in str(error)


def over_processes(network: nn.Module, device: torch.device) -> None:
    """Make every batch norm use the batches of all processes. Its weights and statistics stay the same tensors."""
    for name, part in network.named_children():
        if isinstance(part, _BatchNorm):
            # torch's own class works on GPUs only.
            kind = nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm
            shared = kind(part.num_features, part.eps, part.momentum)
            shared._parameters, shared._buffers, shared.training = part._parameters, part._buffers, part.training
            for child_name, child in part.named_children():  # timm's norms contain the activation that follows them
                shared.add_module(child_name, child)
                shared.register_forward_hook(lambda _, __, out, child=child: child(out))
            setattr(network, name, shared)
        else:
            over_processes(part, device)


class SharedBatchNorm(_BatchNorm):
    """Does what ``nn.SyncBatchNorm`` does, in plain operations, for equal batches (B, C, ...) in each process."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        shape = [1, -1] + [1] * (x.dim() - 2)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = SumOverProcesses.apply(x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = SumOverProcesses.apply(centred.square().sum(dims)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)


class SumOverProcesses(torch.autograd.Function):
    """A sum that every process gets. In the backward pass the gradients of all processes are summed, too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
