"""Devices by name; and one without float64, as Apple's MPS is, which no machine of ours has."""

from typing import Any

import pytest
import torch
from test_training_step import SETTINGS, batches, learner, step
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import RunError
from reid_toolkit.method import devices, lookup_table
from reid_toolkit.method.lookup_table import LookupTable
from reid_toolkit.method.merging import merge_clusters
from reid_toolkit.training.batches import draw_epoch
from reid_toolkit.training.devices import choose_device, training_on
from reid_toolkit.training.distributed import join_world
from reid_toolkit.training.features import extract
from reid_toolkit.training.network import build_network
from reid_toolkit.training.samples import choose_tier, load_samples
from reid_toolkit.training.stage_metrics import stage_figures


class NoFloat64(TorchDispatchMode):
    """Raises when an operation gives float64 on a device of this type."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == self.device and leaf.dtype == torch.float64:
                raise TypeError(f"{func} made float64")
        return found


def test_the_guard_sees_what_a_device_with_float64_is_asked_for() -> None:
    with pytest.raises(TypeError, match="made float64"), NoFloat64("cpu"):
        learner()
    with pytest.raises(TypeError, match="made float64"), NoFloat64("cpu"):
        LookupTable.from_clusters(torch.eye(3), torch.tensor([0, 0, 1]))


def test_a_training_step_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = learner()
    step(expected, batches(1)[0])
    monkeypatch.setattr("reid_toolkit.training.step.WITHOUT_FLOAT64", {"cpu"})
    with NoFloat64("cpu"):
        without = learner()
        step(without, batches(1)[0])
        without.restore(without.momentum(), 0.5)
    assert torch.equal(without.table.rows, expected.table.rows)
    assert all(
        torch.equal(a, b) for a, b in zip(without.network.parameters(), expected.network.parameters(), strict=True)
    )


def test_features_and_figures_ask_for_none(tiny_dataset: Any, recipe: Recipe) -> None:
    samples = load_samples(open_dataset(tiny_dataset), recipe.network.height, recipe.network.width)
    network = build_network(recipe.network, 0)
    labels = torch.arange(12) // 2
    with NoFloat64("cpu"):
        draw_epoch(samples, recipe, labels, 0, 0)
        stage_figures(extract(network, samples, torch.device("cpu")), labels, [t.camera for t in samples.tracklets])


def test_the_table_is_added_up_elsewhere_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU plays the device, and "meta" the CPU: it does all in float64, but has no values to bring back."""
    monkeypatch.setattr(lookup_table, "with_float64", lambda device: torch.device("meta"))
    with pytest.raises(NotImplementedError, match="copy out of meta tensor"), NoFloat64("cpu"):
        LookupTable.from_clusters(torch.eye(3), torch.tensor([0, 0, 1]))
    assert devices.with_float64(torch.device("mps")) == torch.device("cpu")
    assert devices.with_float64(torch.device("cuda:1")) == torch.device("cuda:1")


def test_merging_is_left_to_the_cpu() -> None:
    features = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(12)
    there, here = (merge_clusters(features, labels, 5, device=device) for device in ("mps", "cpu"))
    assert there.history == here.history
    assert torch.equal(there.labels, here.labels)


def test_crops_stay_in_the_memory_that_mps_shares() -> None:
    assert choose_tier(100, torch.device("mps"), 100) == "memory"
    assert choose_tier(101, torch.device("mps"), 100) == "disk"


def test_memory_that_runs_out_is_told_by_its_message_alone() -> None:
    recipe = Recipe(training=SETTINGS)
    with pytest.raises(RunError, match=r"mps: out of memory with training\.batch_size = 4"):  # noqa: SIM117
        with training_on(torch.device("mps"), recipe):
            raise RuntimeError("MPS backend out of memory (MPS allocated: 9.1 GB)")
    with pytest.raises(RuntimeError, match="something else"), training_on(torch.device("mps"), recipe):
        raise RuntimeError("something else")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9000 bytes."),
        MemoryError("Unable to allocate 8.00 TiB for an array"),
        MemoryError(),
    ],
)
def test_a_cpu_says_it_in_other_words(error: Exception) -> None:
    with pytest.raises(RunError, match=r"cpu: out of memory with training\.batch_size = 4.+: halve"):  # noqa: SIM117
        with training_on(torch.device("cpu"), Recipe(training=SETTINGS)):
            raise error


def test_several_processes_do_not_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="expected cuda or cpu for several"), join_world("mps"):
        pass


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "meta", "cuda:99", ""):
        with pytest.raises(RunError, match="expected cpu, cuda, cuda:N or mps"):
            choose_device(name)


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_is_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)
