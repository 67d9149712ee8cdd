"""One training step, and what it changes: the network, its optimiser, and the lookup table."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import TrainingRecipe
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.graph import GraphedStep
from reid_toolkit.training.network import ReidNetwork, mixed_precision, standardise, to_rgb
from reid_toolkit.training.transforms import augment


class Batch(NamedTuple):
    """All that a step depends on, on the device that trains: B samples of F frames."""

    pixels: Tensor
    """(B * F, H, W, 3) uint8 BGR."""
    boxes: Tensor | None
    colours: Tensor | None
    kept: Tensor | None
    """As in :class:`reid_toolkit.training.batches.Epoch`."""
    classes: Tensor
    """(B,) int64: each sample's cluster."""


class Learner:
    """Learns one stage's clusters with the repelled loss (Eq. 2)."""

    def __init__(
        self, network: ReidNetwork, table: LookupTable, recipe: TrainingRecipe, *, graph: bool = False
    ) -> None:
        """``graph`` runs the step as a CUDA graph; the network and the table are on the GPU then."""
        self.network = network.train()
        self.table = table
        self.recipe = recipe
        self.device = table.rows.device
        cuda = self.device.type == "cuda"
        self.optimiser = torch.optim.SGD(
            network.parameter_groups(recipe.backbone_factor), lr=recipe.first_learning_rate,
            momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay, fused=cuda,
        )  # fmt: skip
        if cuda:  # where a graph reads it anew each time
            for group in self.optimiser.param_groups:
                group["lr"] = torch.zeros((), device=self.device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        """Of the epoch's steps so far. It stays on the device, where nothing waits for it."""
        self._descend = GraphedStep(self.descend) if graph else self.descend

    def momentum(self) -> dict[str, Tensor]:
        """The optimiser's, by the parameter's name; empty before the first step."""
        state = self.optimiser.state
        return {name: state[p]["momentum_buffer"] for name, p in self.network.named_parameters() if p in state}

    def restore(self, momentum: dict[str, Tensor], loss_sum: float) -> None:
        """Go on from the middle of an epoch; the network and the table are those of that moment already."""
        for name, parameter in self.network.named_parameters():
            if name in momentum:
                self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])
        self.loss_sum.fill_(loss_sum)

    def set_rate(self, rate: float) -> None:
        """The head's learning rate, of which the backbone's is a fraction."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * group["factor"])
            else:
                group["lr"] = rate * group["factor"]

    def step(self, batch: Batch, passes: Sequence[Tensor]) -> None:
        """Learn from a batch; ``passes`` as :func:`reid_toolkit.method.lookup_table.in_passes` finds them."""
        embedded = self._descend(batch)
        self.table.update(embedded, batch.classes, passes)

    def descend(self, batch: Batch) -> Tensor:
        """Move the weights; returns the batch's embeddings (B, E)."""
        images = standardise(augment(to_rgb(batch.pixels), batch.boxes, batch.colours))
        with mixed_precision(self.device, self.recipe.precision):
            pooled = self.network(images)  # (B * F, D)
        pooled = pooled.float().view(len(batch.classes), self.recipe.frames, -1).mean(dim=1)
        embedded = self.network.embed(pooled, batch.kept)
        loss = F.cross_entropy(self.table.logits(embedded, self.recipe.temperature), batch.classes)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.loss_sum += loss.detach()
        return embedded.detach()
