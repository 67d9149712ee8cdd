"""Where crops are kept, and reading them ahead of time."""

import threading
from pathlib import Path

import pytest
import torch

from reid_toolkit.datasets import open_dataset
from reid_toolkit.training.ahead import map_ahead
from reid_toolkit.training.pixels import choose_tier, machine_memory
from reid_toolkit.training.store import load_samples

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("size", "device", "tier"),
    [
        (100, CPU, "memory"),
        (101, CPU, "disk"),
        (500, CUDA, "device"),
        (501, CUDA, "disk"),
    ],
)
def test_the_fastest_place_that_holds_them(
    monkeypatch: pytest.MonkeyPatch, size: int, device: torch.device, tier: str
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert choose_tier(size, device, memory_limit=100) == tier


def test_beside_a_full_gpu_memory_is_used_up_to_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 2000))
    monkeypatch.setattr("reid_toolkit.training.pixels.machine_memory", lambda: 4000)
    assert [choose_tier(size, CUDA) for size in (1000, 1001)] == ["pinned", "disk"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [choose_tier(size, CUDA) for size in (250, 251)] == ["pinned", "disk"]


def test_a_container_may_use_less_than_the_machine_has(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = machine_memory(limit)
    limit.write_text("max\n")
    assert machine_memory(limit) == whole > 1 << 28
    limit.write_text("1000000\n")
    assert machine_memory(limit) == 1_000_000


def test_results_come_in_order_and_begin_before_they_are_asked_for() -> None:
    began = [threading.Event() for _ in range(6)]

    def work(i: int) -> int:
        began[i].set()
        return -i

    results = map_ahead(work, range(6), threads=2, ahead=3)
    assert next(results) == 0
    assert all(event.wait(10) for event in began[1:4])
    assert not any(event.is_set() for event in began[4:])
    assert list(results) == [-1, -2, -3, -4, -5]


def test_an_exception_comes_where_its_result_would_have() -> None:
    results = map_ahead(lambda x: 1 // x, [2, 1, 0, 1], threads=1, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = map_ahead(abs, iter(range(1000)), threads=2, ahead=2)
    assert next(results) == 0
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_place_gives_a_gpu_the_same_pixels(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(tiny_dataset)
    expected = load_samples(dataset, 32, 16).read(range(48))
    found = [load_samples(dataset, 32, 16, device=CUDA)]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    found += [load_samples(dataset, 32, 16, device=CUDA, memory_limit=limit) for limit in (None, 0)]
    assert [samples.tier for samples in found] == ["device", "pinned", "disk"]
    batches = [torch.tensor([3, 0, 47, 3]), torch.arange(48)]
    for samples in found:
        for batch, read in zip(batches, samples.read_ahead(batches), strict=True):
            assert read.is_cuda
            assert torch.equal(read.cpu(), expected[batch])
