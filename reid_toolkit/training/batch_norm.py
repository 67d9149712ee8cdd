"""Batch norm over the batches of all processes, so that how a batch is divided changes nothing that is learned."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def over_processes(network: nn.Module, device: torch.device) -> None:
    """Have every batch norm inside count all processes' batches; its weights and statistics stay the same tensors."""
    for name, part in network.named_children():
        if isinstance(part, _BatchNorm):
            # torch's own runs on GPUs alone.
            kind = nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm
            shared = kind(part.num_features, part.eps, part.momentum)
            shared._parameters, shared._buffers, shared.training = part._parameters, part._buffers, part.training
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
