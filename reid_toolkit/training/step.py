"""One training step, and what it changes: the network, its optimiser, and the lookup table."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reid_toolkit.config import TrainingRecipe
from reid_toolkit.method.devices import WITHOUT_FLOAT64
from reid_toolkit.method.equations import repelled_loss
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.training.augmentation import augment
from reid_toolkit.training.cuda_graph import GraphedStep
from reid_toolkit.training.distributed import ALONE, World
from reid_toolkit.training.network import ReidNetwork, mixed_precision, standardise, to_rgb
from reid_toolkit.training.teaching import lesson_loss


class Batch(NamedTuple):
    """All inputs of a step, on the device that trains: B samples of F frames, or this process's part of them."""

    pixels: Tensor
    """(B * F, H, W, 3) uint8 BGR."""
    boxes: Tensor | None
    colours: Tensor | None
    erased: Tensor | None
    kept: Tensor | None
    """As in :class:`reid_toolkit.training.batches.Epoch`."""
    classes: Tensor
    """(B,) int64: each sample's cluster."""
    weights: Tensor | None = None
    """(B,) float32: the weight of each sample's loss."""
    lessons: Tensor | None = None
    """(B, L) float32: a teacher's descriptors of the samples."""


class Embedder(nn.Module):
    """The network from images to embeddings, in one call."""

    def __init__(self, network: ReidNetwork, recipe: TrainingRecipe, processes: int = 1) -> None:
        """With several ``processes``, batch norm counts the crops of all of them, and each has its share of a part."""
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.norm_crops = recipe.norm_crops // processes

    def forward(self, images: Tensor, kept: Tensor | None) -> Tensor:
        """Map standardised images (B * F, 3, H, W) to unit embeddings (B, E). ``kept`` (B, E) is dropout's choice."""
        with mixed_precision(images.device, self.recipe.precision):
            # Batch norm makes a crop's features depend on the other crops of its part.
            parts = images.split(self.norm_crops or len(images))
            pooled = torch.cat([self.network(part) for part in parts])  # (B * F, D)
        pooled = pooled.float().unflatten(0, (-1, self.recipe.frames)).mean(dim=1)
        return self.network.embed(pooled, kept)


def make_optimiser(network: ReidNetwork, recipe: TrainingRecipe, device: torch.device) -> torch.optim.Optimizer:
    """Make the recipe's optimiser for a network that is already on the device."""
    groups, cuda = network.parameter_groups(recipe.backbone_factor), device.type == "cuda"
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "adam":
        # A CUDA graph needs the step count on the GPU. Fused, ResNet-18's step takes a fifth of the time on a CPU too.
        optimiser = torch.optim.Adam(groups, weight_decay=recipe.weight_decay, fused=True, capturable=cuda)
    else:
        optimiser = torch.optim.SGD(
            groups, lr=recipe.first_learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay, fused=cuda,
        )  # fmt: skip
    if cuda:  # a graph reads the rate from the GPU at each step
        for group in optimiser.param_groups:
            group["lr"] = torch.zeros((), device=device)
    return optimiser


MOMENTUM = "momentum_buffer"
"""SGD's only state, stored under the parameter's name alone."""


def optimiser_state(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return an optimiser's state between steps, by the parameter's name, and for Adam by "<what>:<parameter>".

    Empty before the first step.
    """
    state = {}
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            if value is not None:
                state[name if key == MOMENTUM else f"{key}:{name}"] = value
    return state


def restore_optimiser(optimiser: torch.optim.Optimizer, network: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore the state that :func:`optimiser_state` took from an optimiser of the same kind."""
    parameters = dict(network.named_parameters())
    for name, value in state.items():
        key, parameter = (MOMENTUM, name) if ":" not in name else name.split(":", 1)
        of = parameters[parameter]
        if key != "step":
            optimiser.state[of][key] = torch.empty_like(of).copy_(value)
        else:  # torch counts steps on the CPU, unless a CUDA graph needs them on the GPU
            optimiser.state[of][key] = value.to(of.device if optimiser.defaults["capturable"] else "cpu", copy=True)


class Learner:
    """Learns one stage's clusters with the repelled loss (Eq. 2), and a teacher's view of them if there is one."""

    def __init__(
        self,
        network: ReidNetwork,
        table: LookupTable,
        recipe: TrainingRecipe,
        *,
        optimiser: torch.optim.Optimizer | None = None,
        world: World = ALONE,
        graph: bool = False,
        means: Tensor | None = None,
        teacher_weight: float = 0.0,
    ) -> None:
        """``optimiser`` is given if it is kept from before; otherwise a new one is made.

        ``graph`` runs the step as a CUDA graph. It needs a single process, and network and table on the GPU. In a
        larger ``world`` batch norm is that of :mod:`reid_toolkit.training.distributed`.

        ``means`` (C, L) are a teacher's means of the clusters, for batches with lessons; ``teacher_weight`` is the
        weight of :func:`reid_toolkit.training.teaching.lesson_loss`.
        """
        self.network = network.train()
        self.table = table
        self.recipe = recipe
        self.world = world
        self.device = table.rows.device
        embedder: nn.Module = Embedder(network, recipe, world.size)
        if world.size > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 renames the option; 2.8 lacks the name
                # Batch norm's statistics are already the same in all processes.
                embedder = DistributedDataParallel(embedder, broadcast_buffers=False)
        self._embedder = embedder
        self.optimiser = optimiser or make_optimiser(network, recipe, self.device)
        precise = torch.float32 if self.device.type in WITHOUT_FLOAT64 else torch.float64
        self.loss_sum = torch.zeros((), dtype=precise, device=self.device)
        """Sum over the epoch's steps so far. It stays on the device, so that no step waits for it."""
        self.means = means
        self.teacher_weight = teacher_weight
        self._graph = GraphedStep() if graph else None

    def momentum(self) -> dict[str, Tensor]:
        """The optimiser's state (:func:`optimiser_state`)."""
        return optimiser_state(self.optimiser, self.network)

    def restore(self, momentum: dict[str, Tensor], loss_sum: float) -> None:
        """Go on from the middle of an epoch. The network and the table must already be those of that moment."""
        restore_optimiser(self.optimiser, self.network, momentum)
        self.loss_sum.fill_(loss_sum)

    def set_rate(self, rate: float) -> None:
        """Set the head's learning rate. The backbone's rate is a fraction of it."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * group["factor"])
            else:
                group["lr"] = rate * group["factor"]

    def step(self, batch: Batch, classes: Tensor, passes: Sequence[Tensor]) -> None:
        """Learn from a batch, or this process's part of it. ``classes`` are those of the whole batch, and ``passes`` as
        :func:`reid_toolkit.method.lookup_table.in_passes` returns them."""
        embedded = self._graph(self.descend, batch) if self._graph else self.descend(batch)
        self.table.update(self.world.gather(embedded), classes, passes)

    def descend(self, batch: Batch) -> Tensor:
        """Update the weights. Returns the batch's embeddings (B, E)."""
        images = standardise(augment(to_rgb(batch.pixels), batch.boxes, batch.colours, batch.erased))
        embedded = self._embedder(images, batch.kept)
        loss = repelled_loss(embedded, batch.classes, self.table.rows, self.recipe.temperature, batch.weights)
        if batch.lessons is not None and self.means is not None:
            lesson = lesson_loss(embedded, self.table.rows, batch.lessons, self.means, self.recipe.temperature)
            loss = loss + self.teacher_weight * lesson
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.loss_sum += self.world.sum(loss.detach()) / self.world.size
        return embedded.detach()
