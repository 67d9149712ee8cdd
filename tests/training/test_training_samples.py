import errno
import os
import random
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import ImageError, InputError, RunError
from reid_toolkit.images import read_image, resize
from reid_toolkit.records import Crop
from reid_toolkit.training.crop_cache import remove_crop_file, write_crop_file
from reid_toolkit.training.rounds import Step, train
from reid_toolkit.training.samples import Samples, choose_tier, load_samples, machine_memory, prefetch


def load(root: Path, **options: object) -> Samples:
    return load_samples(open_dataset(root), 32, 16, **options)


def shuffled(root: Path, out: Path) -> Path:
    """The same pictures under other names, in other files, listed in another order."""
    rng = random.Random(0)
    names: dict[str, str] = {}
    crops = []
    for crop in open_dataset(root).crops:
        name = names.setdefault(crop.tracklet, f"{rng.random():.9f}")
        path = out / "pictures" / f"{rng.random():.9f}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(crop.path.read_bytes())
        crops.append(Crop(path, crop.camera, name, crop.frame, crop.time))
    rng.shuffle(crops)
    write_manifest(out, crops)
    return out


def test_samples_are_tracklets_with_their_crops_in_time_order(tiny_dataset: Path) -> None:
    samples = load(tiny_dataset)
    assert len(samples) == 12
    assert samples.starts.tolist() == list(range(0, 49, 4))
    assert samples.read([0, 5]).shape == (2, 32, 16, 3)
    for i, tracklet in enumerate(samples.tracklets):
        pixels = samples.read(np.arange(samples.starts[i], samples.starts[i + 1]))
        for image, crop in zip(pixels, tracklet.crops, strict=True):
            assert np.array_equal(image.numpy(), resize(read_image(crop.path), 32, 16))


def test_the_order_is_the_pictures_own(tiny_dataset: Path, tmp_path: Path) -> None:
    first, second = load(tiny_dataset), load(shuffled(tiny_dataset, tmp_path / "other"))
    assert torch.equal(first.read(range(48)), second.read(range(48)))
    assert first.starts.tolist() == second.starts.tolist()
    assert [t.name for t in first.tracklets] != sorted(t.name for t in first.tracklets)


def test_without_memory_the_same_pixels_come_from_a_file(tiny_dataset: Path, tmp_path: Path) -> None:
    kept = load(tiny_dataset)
    assert kept.tier == "memory"
    for cache in (None, tmp_path / "run" / "crops.u8"):
        mapped = load(tiny_dataset, memory_limit=48 * 32 * 16 * 3 - 1, cache=cache)
        assert mapped.tier == "disk"
        assert [t.name for t in kept.tracklets] == [t.name for t in mapped.tracklets]
        batches = [np.array([3, 0, 47, 3]), np.arange(48), *np.arange(40).reshape(20, 2)]
        for samples in (kept, mapped):
            for batch, read in zip(batches, samples.read_ahead(batches), strict=True):
                assert torch.equal(kept.read(batch), read)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["crops.u8"]


def test_more_crops_than_a_thread_decodes_at_a_time_keep_their_places(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(tiny_dataset)
    monkeypatch.setattr("reid_toolkit.training.samples.CHUNK", 5)
    cut = load(tiny_dataset)
    assert torch.equal(whole.read(range(48)), cut.read(range(48)))


def test_a_file_of_crops_is_written_once_and_again_when_a_picture_changes(tiny_dataset: Path, tmp_path: Path) -> None:
    cache, options = tmp_path / "crops.u8", {"memory_limit": 0, "cache": tmp_path / "crops.u8"}
    first = load(tiny_dataset, **options)
    written = cache.stat()
    seen: list[tuple[int, int | None]] = []
    second = load(tiny_dataset, **options, on_progress=lambda done, total: seen.append((done, total)))
    assert (cache.stat().st_ino, cache.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert seen == [(48, 48)]
    assert torch.equal(first.read(range(48)), second.read(range(48)))

    changed = tiny_dataset / "crops" / "north-00-0.png"
    cv2.imwrite(str(changed), 255 - cv2.imread(str(changed)))
    third = load(tiny_dataset, **options)
    assert cache.stat().st_ino != written.st_ino
    place = next(i for i, crop in enumerate(third.crops) if crop.path.name == changed.name)
    assert np.array_equal(third.read([place])[0].numpy(), resize(read_image(changed), 32, 16))

    for damage in (b"", cache.read_bytes()[:-1], bytes(cache.stat().st_size)):
        cache.unlink()  # it is mapped
        cache.write_bytes(damage)
        assert torch.equal(load(tiny_dataset, **options).read(range(48)), third.read(range(48)))
    assert load_samples(open_dataset(tiny_dataset), 16, 32, **options).read([0]).shape == (1, 16, 32, 3)


def test_unreadable_crops_are_tried_again_and_named_again(tiny_dataset: Path, tmp_path: Path) -> None:
    options = {"memory_limit": 0, "cache": tmp_path / "crops.u8"}
    broken = tiny_dataset / "crops" / "north-01-2.png"
    content = broken.read_bytes()
    broken.write_text("not a picture")
    with pytest.raises(ImageError, match="--skip-bad"):
        load(tiny_dataset, **options)
    assert not (tmp_path / "crops.u8").exists()
    for _ in range(2):
        bad: list[str] = []
        assert len(load(tiny_dataset, **options, bad=bad).crops) == 47
        assert len(bad) == 1
        assert "north-01-2.png" in bad[0]
    broken.write_bytes(content)
    assert len(load(tiny_dataset, **options).crops) == 48


def test_a_full_disk_is_said_before_anything_is_decoded(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10_000))
    seen: list[int] = []
    with pytest.raises(RunError, match=r"crops\.u8: the decoded crops take 0\.0 GB .*0\.0 GB are free.*--out"):
        load(
            tiny_dataset, memory_limit=0, cache=tmp_path / "run" / "crops.u8",
            on_progress=lambda done, total: seen.append(done),
        )  # fmt: skip
    assert not seen
    assert not list((tmp_path / "run").iterdir())


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def decode(keep: object) -> list[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"):
        write_crop_file(tmp_path / "run" / "crops.u8", bytes(32), (2, 4, 4, 3), decode)
    assert not list((tmp_path / "run").iterdir())


def test_the_file_of_a_finished_run_goes_and_what_killed_writers_left(tmp_path: Path) -> None:
    for name in ("crops.u8", ".crops.123.partial.u8", "other.u8"):
        (tmp_path / name).touch()
    remove_crop_file(tmp_path / "crops.u8")
    remove_crop_file(tmp_path / "crops.u8")
    assert [path.name for path in tmp_path.iterdir()] == ["other.u8"]


def test_images_are_samples_of_their_own(tiny_dataset: Path) -> None:
    samples = load(tiny_dataset, images=True)
    assert len(samples) == 48
    assert samples.starts.tolist() == list(range(49))
    assert {t.camera for t in samples.tracklets} == {"north", "south"}
    assert samples.tracklets[0].name == samples.crops[0].path.relative_to(tiny_dataset.resolve()).as_posix()


def test_unreadable_crops_are_named_or_left_out(tiny_dataset: Path) -> None:
    for step in range(4):
        (tiny_dataset / "crops" / f"north-00-{step}.png").write_bytes(b"")
    (tiny_dataset / "crops" / "north-01-2.png").write_text("not a picture")
    with pytest.raises(ImageError, match="--skip-bad"):
        load(tiny_dataset)
    bad: list[str] = []
    samples = load(tiny_dataset, bad=bad)
    assert len(bad) == 5
    assert len(samples) == 11
    assert len(samples.crops) == 43


def test_one_sample_is_too_few(tmp_path: Path, picture) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0, 0))
    with pytest.raises(RunError, match="expected at least 2"):
        load(tmp_path)


def test_progress_counts_crops(tiny_dataset: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    load(tiny_dataset, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 48) for i in range(1, 49)]


def test_a_run_from_disk_learns_the_same_and_cleans_up_when_it_is_finished(
    tiny_dataset: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, memory, disk = open_dataset(tiny_dataset), tmp_path / "memory", tmp_path / "disk"
    train(dataset, recipe, memory)
    monkeypatch.setattr("reid_toolkit.training.samples.MEMORY_SHARE", 0)

    def stop(step: Step) -> None:
        if step.stage == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, recipe, disk, on_step=stop)
    assert (disk / "crops.u8").stat().st_size == 48 * (32 * 32 * 3 + 32) + 32
    loads: list[int] = []
    metrics = train(dataset, recipe, disk, resume=True, on_load=lambda done, total: loads.append(done))
    assert {row["crops"] for row in metrics} == {"disk"}
    assert loads == [48]  # the file's, at once
    weights, expected = (load_file(run / "best.safetensors") for run in (disk, memory))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert sorted(path.name for path in disk.iterdir()) == sorted(path.name for path in memory.iterdir())


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
    monkeypatch.setattr("reid_toolkit.training.samples.machine_memory", lambda: 4000)
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


def test_less_memory_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setenv("REID_MEMORY", "0.5")
    assert machine_memory(limit) == 1 << 29
    limit.write_text("1000000")
    assert machine_memory(limit) == 1_000_000
    monkeypatch.setenv("REID_MEMORY", "1000000000")
    assert machine_memory(tmp_path / "none") == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for wrong in ("4G", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("REID_MEMORY", wrong)
        with pytest.raises(InputError, match=f"REID_MEMORY is '{wrong}': expected GiB"):
            machine_memory(limit)


def test_results_come_in_order_and_begin_before_they_are_asked_for() -> None:
    began = [threading.Event() for _ in range(6)]

    def work(i: int) -> int:
        began[i].set()
        return -i

    results = prefetch(work, range(6), threads=2, ahead=3)
    assert next(results) == 0
    assert all(event.wait(10) for event in began[1:4])
    assert not any(event.is_set() for event in began[4:])
    assert list(results) == [-1, -2, -3, -4, -5]


def test_an_exception_comes_where_its_result_would_have() -> None:
    results = prefetch(lambda x: 1 // x, [2, 1, 0, 1], threads=1, ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    results = prefetch(abs, iter(range(1000)), threads=2, ahead=2)
    assert next(results) == 0
    assert set(threading.enumerate()) - before
    results.close()
    assert not set(threading.enumerate()) - before


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
