"""The processes that train one model, each on a GPU of its own: torch.distributed, or nothing at all for one alone."""

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
"""How long a process waits for the others. They wait while the first one merges, which for a million samples takes
longer than torch's limits (10 minutes for NCCL, 30 for gloo); one that died is found by whoever started it, and not by
this."""

ON_GPUS = "cpu:gloo,cuda:nccl"
"""Tensors on GPUs travel by NCCL. Objects go by gloo, and so does waiting for them: NCCL would have a kernel spin on
the GPU all the while."""


LOST = "lost the others"
"""What a process says that was left alone."""


@dataclass(frozen=True)
class World:
    """Who this process is among all; every process calls these methods in the same order."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of its machine."""

    @property
    def first(self) -> bool:
        """Whether this is the process that merges, writes and reports."""
        return self.rank == 0

    def share(self, make: Callable[[], Value]) -> Value:
        """What ``make`` gives the first process, on every one; the others do not call it."""
        if self.size == 1:
            return make()
        box: list[Value | None] = [make() if self.first else None]
        dist.broadcast_object_list(box, src=0)
        return cast(Value, box[0])

    def share_weights(self, network: nn.Module, change: Callable[[], object]) -> None:
        """Have the first process ``change`` a network, and give its weights to the others."""

        def changed() -> dict[str, Tensor]:
            change()
            return network.state_dict()

        network.load_state_dict(self.share(changed))

    @contextmanager
    def after_first_here(self, waits: bool) -> Iterator[None]:
        """What is inside is done by a process that ``waits`` after the first one of its machine did it, which never
        waits. All processes call this; which of them wait need not be agreed on."""
        waits = waits and self.local_rank > 0
        if waits:
            self.meet()
        yield
        if not waits:
            self.meet()

    def meet(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            dist.all_gather_object([None] * self.size, None)

    def gather(self, part: Tensor) -> Tensor:
        """(B, ...) of each process -> (size * B, ...) in the order of processes."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def sum(self, value: Tensor) -> Tensor:
        """Over processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def check_same(self, value: object, message: str) -> None:
        """Raise :class:`RunError` where a process has another value than the first."""
        if self.share(lambda: value) != value:
            raise RunError(message)

    def check_divides(self, batch: int) -> None:
        """Raise :class:`RunError` unless every process gets as many samples of a batch as the others."""
        if batch % self.size:
            raise RunError(
                f"a batch of {batch} cannot be shared evenly by {self.size} processes: expected training.batch_size, "
                "and the number of samples where that is less, to be a multiple of them"
            )


ALONE = World()


@contextmanager
def join_world(device: str) -> Iterator[tuple[World, str]]:
    """The world that ``torchrun`` describes in the environment, or one of one process; and the device in it.

    ``device`` is a name as for ``choose_device``; of several processes each takes the GPU of its number.

    Raises:
        RunError: the other processes are gone, or cannot share such a device.
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
    """Gloo has no error of its own, but names its source files."""
    return "gloo/" in str(error) or "Gloo" in str(error)


def over_processes(network: nn.Module, device: torch.device) -> None:
    """Have every batch norm inside count all processes' batches; its weights and statistics stay the same tensors."""
    for name, part in network.named_children():
        if isinstance(part, _BatchNorm):
            # torch's own runs on GPUs alone.
            kind = nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm
            shared = kind(part.num_features, part.eps, part.momentum)
            shared._parameters, shared._buffers, shared.training = part._parameters, part._buffers, part.training
            for child_name, child in part.named_children():  # timm's norms hold the activation after them
                shared.add_module(child_name, child)
                shared.register_forward_hook(lambda _, __, out, child=child: child(out))
            setattr(network, name, shared)
        else:
            over_processes(part, device)


class SharedBatchNorm(_BatchNorm):
    """As ``nn.SyncBatchNorm``, in plain operations, for equal batches (B, C, ...) in each process."""

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
    """A sum that every process gets; what each makes of it counts for the gradient of all."""

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
