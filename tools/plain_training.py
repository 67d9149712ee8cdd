"""Trains as the released code does, for comparison in tools/bench_training.py. Not a command.

A DataLoader whose workers decode each picture every time with PIL and torchvision's transforms; float32 eager steps;
the lookup table updated sample by sample in a Python loop inside the loss's backward pass; the loss read after every
step.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reid_toolkit.config import Recipe
from reid_toolkit.training.network import MEAN, STD, build_network

WARM_UP = 5
"""Steps before the clock starts, because workers and cuDNN begin slowly."""


class Pictures(Dataset):
    """Picture files, each with its index as its class."""

    def __init__(self, paths: list[Path], transform: transforms.Compose) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB")), index


class Table(torch.autograd.Function):
    """Products with the lookup table. The backward pass also updates the table."""

    @staticmethod
    def forward(context: Any, features: Tensor, classes: Tensor, table: Tensor) -> Tensor:
        context.save_for_backward(features, classes)
        context.table = table
        return features @ table.T

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        features, classes = context.saved_tensors
        table = context.table
        back = gradient @ table
        for feature, row in zip(features, classes, strict=True):
            table[row] = 0.5 * table[row] + 0.5 * feature
            table[row] /= table[row].norm()
        return back, None, None


def measure_plain(paths: list[Path], recipe: Recipe, device: torch.device, seconds: float) -> dict[str, float]:
    """Return images/s of training steps and of extraction, each over about ``seconds``; every picture is its own
    class."""
    network = build_network(recipe.network, recipe.seed).to(device)
    torch.backends.cudnn.benchmark = True
    size = (recipe.network.height, recipe.network.width)
    finish = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    view = transforms.RandomResizedCrop(size, scale=(recipe.training.crop_scale, 1.0), ratio=(1 / 3, 1 / 2))
    training = Pictures(paths, transforms.Compose([view, transforms.RandomHorizontalFlip(), *finish]))
    plain = Pictures(paths, transforms.Compose([transforms.Resize(size), *finish]))
    optimiser = torch.optim.SGD(
        network.parameter_groups(recipe.training.backbone_factor), lr=recipe.training.first_learning_rate,
        momentum=recipe.training.momentum, nesterov=True, weight_decay=recipe.training.weight_decay,
    )  # fmt: skip
    table = torch.zeros(len(paths), recipe.network.embedding, device=device)

    def learn(pictures: Tensor, classes: Tensor) -> None:
        pictures, classes = pictures.to(device), classes.to(device)
        features = F.dropout(network.embed(network(pictures)), recipe.network.dropout)
        loss = F.cross_entropy(Table.apply(features, classes, table) / recipe.training.temperature, classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    @torch.no_grad()
    def extract(pictures: Tensor, classes: Tensor) -> None:
        F.normalize(network(pictures.to(device)), dim=1).cpu()

    batch = min(recipe.training.batch_size, len(paths))
    network.train()
    trained = rate(batches(training, batch, True), learn, seconds)
    network.eval()
    return {"images_per_second": trained, "extracted_per_second": rate(batches(plain, batch, False), extract, seconds)}


def batches(pictures: Pictures, size: int, shuffle: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, epoch after epoch. Each epoch starts new workers."""
    workers = min(8, os.cpu_count() or 1)
    loader = DataLoader(
        pictures, size, shuffle, num_workers=workers, drop_last=True, pin_memory=torch.cuda.is_available()
    )
    while True:
        yield from loader


def rate(loader: Iterator[tuple[Tensor, Tensor]], work: Any, seconds: float) -> float:
    """Return images/s after a warm-up."""
    for _ in range(WARM_UP):
        work(*next(loader))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        pictures, classes = next(loader)
        work(pictures, classes)
        count += len(pictures)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count / (time.perf_counter() - began)
