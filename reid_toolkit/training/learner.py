"""One training step, and what it changes: the network, its optimiser, and the lookup table."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import TrainingRecipe
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.network import ReidNetwork, standardise, to_rgb
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

    def __init__(self, network: ReidNetwork, table: LookupTable, recipe: TrainingRecipe) -> None:
        self.network = network.train()
        self.table = table
        self.recipe = recipe
        self.optimiser = torch.optim.SGD(
            network.parameter_groups(recipe.backbone_factor), lr=recipe.first_learning_rate,
            momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay,
        )  # fmt: skip
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=table.rows.device)
        """Of the epoch's steps so far. It stays on the device, where nothing waits for it."""

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
            group["lr"] = rate * group["factor"]

    def step(self, batch: Batch, passes: Sequence[Tensor]) -> None:
        """Learn from a batch; ``passes`` as :func:`reid_toolkit.method.lookup_table.in_passes` finds them."""
        embedded = self.descend(batch)
        self.table.update(embedded, batch.classes, passes)

    def descend(self, batch: Batch) -> Tensor:
        """Move the weights; returns the batch's embeddings (B, E)."""
        images = standardise(augment(to_rgb(batch.pixels), batch.boxes, batch.colours))
        pooled = self.network(images)  # (B * F, D)
        pooled = pooled.view(len(batch.classes), self.recipe.frames, -1).mean(dim=1)
        embedded = self.network.embed(pooled, batch.kept)
        loss = F.cross_entropy(self.table.logits(embedded, self.recipe.temperature), batch.classes)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.loss_sum += loss.detach()
        return embedded.detach()
