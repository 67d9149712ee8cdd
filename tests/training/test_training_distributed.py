"""Several processes learn what one learns, and end together."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_process import run_command
from safetensors.torch import load_file
from test_training_rounds import learn
from test_training_teaching import Colours
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.launcher.api import elastic_launch

from reid_toolkit import runtime
from reid_toolkit.cli import main
from reid_toolkit.config import Recipe, RoundsRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.errors import RunError
from reid_toolkit.files import write_atomic
from reid_toolkit.gallery import Gallery
from reid_toolkit.people.book import Book
from reid_toolkit.recipe_files import dump_recipe
from reid_toolkit.records import Crop
from reid_toolkit.search.enroll import units_of
from reid_toolkit.training import launch as launch_module
from reid_toolkit.training import samples as samples_module
from reid_toolkit.training.distributed import ALONE, PATIENCE, World, join_world
from reid_toolkit.training.launch import RUN_ID, cause, check_gpus, telling_launcher
from reid_toolkit.training.progress import Step
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.samples import load_samples

Begin = Callable[..., ForkServerProcess]


@pytest.fixture
def begin(forked: ForkServerContext, tiny_dataset: Path) -> Iterator[Begin]:
    """``begin(recipe, out, *options)``: the command, which starts two processes to train on ``tiny_dataset``.

    ``run`` is :func:`run_forking` or :func:`run_command`.
    """

    def start(
        recipe: Recipe, out: Path, *options: str, run: Callable[[Path, list[str]], None] = run_forking
    ) -> ForkServerProcess:
        path = out.with_suffix(".toml")
        path.write_text(dump_recipe(recipe))
        words = ["train", tiny_dataset, "--recipe", path, "--out", out, "--device", "cpu", "--gpus", "2", *options]
        child = forked.Process(target=run, args=(out, [str(word) for word in words]))
        child.start()
        started.append(child)
        return child

    started: list[ForkServerProcess] = []
    yield start
    for child in started:
        child.terminate()
        child.join()


def run_forking(out: Path, words: list[str]) -> None:
    """As :func:`run_command`, but its two processes are forked from it, with torch loaded, and not started."""
    launch_module.elastic_launch = lambda config, _: elastic_launch(replace(config, start_method="fork"), run_module)
    run_command(out, words)


def run_module(*command: str) -> None:
    """What ``python`` does with these words."""
    assert command[:3] == ("-P", "-m", "reid_toolkit")
    main(list(command[3:]))


def test_two_processes_make_the_merges_of_one(tiny_dataset: Path, recipe: Recipe, tmp_path: Path, begin: Begin) -> None:
    """With dropout, views, and layers that are frozen, batch norm's statistics included.

    Few steps, and small ones: from random weights, rounding grows tenfold in each.
    """
    network = replace(recipe.network, backbone="resnet18", frozen="layer1", dropout=0.2)
    steps = {"first_epochs": 2, "batch_size": 12, "first_learning_rate": 0.002, "later_learning_rate": 0.002}
    chosen = replace(recipe, network=network, training=replace(recipe.training, **steps))
    alone = learn(tiny_dataset, chosen, tmp_path / "alone")
    both = begin(chosen, tmp_path / "both", "--json")
    both.join(300)
    assert both.exitcode == 0, (tmp_path / "both.stderr").read_text()
    together = json.loads((tmp_path / "both.stdout").read_text())["stages"]
    assert [row["clusters"] for row in together] == [12, 9, 6]
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        assert (a["merges"], a["largest_cluster"]) == (b["merges"], b["largest_cluster"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["between"] == pytest.approx(b["between"], rel=1e-3)
    for stage in range(3):
        one, two = (RunFolder(tmp_path / name).load(stage) for name in ("alone", "both"))
        assert torch.equal(one.next_labels, two.next_labels)
        assert one.weights.keys() == two.weights.keys()
        for name, value in one.weights.items():  # batch norm's statistics among them
            torch.testing.assert_close(two.weights[name], value, atol=1e-3, rtol=1e-3)
    initial = load_file(tmp_path / "both" / "checkpoints" / "initial.safetensors")
    assert not torch.equal(
        initial["backbone.layer2.0.bn1.running_mean"], two.weights["backbone.layer2.0.bn1.running_mean"]
    )
    assert torch.equal(initial["backbone.bn1.running_mean"], two.weights["backbone.bn1.running_mean"])


@pytest.mark.slow
def test_two_processes_obey_corrections_as_one_does(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, begin: Begin
) -> None:
    """Only the first process reads the gallery. Corrections that the pictures do not suggest."""
    records = [unit.record for unit in units_of(tiny_dataset)]
    with Gallery.open(tmp_path / "g") as store:
        store.add(np.eye(len(records), 16, dtype=np.float32), records)
        for kind, one, other in (("same", "north-00", "south-10"), ("different", "north-00", "north-01")):
            Book(store, "G", time.time()).say(kind, one, other, "ana")
    known = KnownPairs(same=(("north-00", "south-10"),), different=(("north-00", "north-01"),))
    chosen = replace(recipe, training=replace(recipe.training, first_learning_rate=1e-6, later_learning_rate=1e-6))
    learn(tiny_dataset, chosen, tmp_path / "alone", known=known)
    both = begin(chosen, tmp_path / "both", "--corrections", str(tmp_path / "g"))
    both.join(300)
    said = (tmp_path / "both.stderr").read_text()
    assert both.exitcode == 0, said
    assert said.count("2 corrections about tracklets of") == 1
    one, two = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "both")
    assert one.known_pairs() == two.known_pairs() == known
    assert one.stages() == two.stages()
    for stage in one.stages():
        assert torch.equal(one.load(stage).labels, two.load(stage).labels)
    assert int(two.load(0).labels.max()) + 1 == 11


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").exists(), reason="finds processes by Linux's /proc")
@pytest.mark.parametrize("how", ["killed", pytest.param("interrupted", marks=pytest.mark.slow)])
def test_one_that_ends_ends_all_with_one_line(recipe: Recipe, tmp_path: Path, begin: Begin, how: str) -> None:
    """As a user runs it: the two processes are started as commands, which know no backbone of tests."""
    longer = replace(
        recipe, network=replace(recipe.network, backbone="mobilenet_v3_small"),
        training=replace(recipe.training, first_epochs=100_000),
    )  # fmt: skip
    begun = begin(longer, tmp_path / "run", "--checkpoint-seconds", "0", run=run_command)
    while begun.is_alive() and not list((tmp_path / "run").rglob("state-*.safetensors")):
        time.sleep(0.05)
    workers = children(begun.pid)
    if how == "killed":
        os.kill(workers[-1], signal.SIGKILL)
    else:
        os.kill(begun.pid, signal.SIGINT)
    begun.join(120)
    said = (tmp_path / "run.stderr").read_text()
    (line,) = [line for line in said.splitlines() if line.lower().startswith("error")] or [f"no error, but: {said!r}"]
    assert "Traceback" not in said, said
    assert not [line for line in said.splitlines() if "arning" in line and "few to learn from" not in line]
    assert "signal" not in said
    if how == "killed":
        assert begun.exitcode == 1
        assert line.startswith("error: process 1 of 2 was ended by SIGKILL, and the others with it")
    else:
        assert begun.exitcode == 130
        assert "interrupted" in line
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_a_named_error_is_said_once(recipe: Recipe, tmp_path: Path, begin: Begin) -> None:
    odd = replace(recipe, training=replace(recipe.training, batch_size=5))
    done = begin(odd, tmp_path / "run")
    done.join(300)
    assert (done.exitcode, (tmp_path / "run.stdout").read_text()) == (1, "")
    said = (tmp_path / "run.stderr").read_text()
    (line,) = [line for line in said.splitlines() if line.lower().startswith("error")]
    assert line.startswith("error: a batch of 5 cannot be shared evenly by 2 processes")
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_launchers_signal_does_not_cut_off_what_a_process_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes while the error is being written: half of it would be no JSON, and end the launcher too."""
    told = tmp_path / "error.json"
    for name, value in (("TORCHELASTIC_RUN_ID", RUN_ID), ("TORCHELASTIC_ERROR_FILE", str(told))):
        monkeypatch.setenv(name, value)

    def cut_off(path: Path, content: str) -> None:
        path.write_bytes(b"")
        os.kill(os.getpid(), signal.SIGTERM)
        write_atomic(path, content)

    monkeypatch.setattr(launch_module, "write_atomic", cut_off)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, telling_launcher():
            raise RunError("no such file: a")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 1
    assert cause([ProcessFailure(0, 1, 1, str(told))], 2) == "no such file: a"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([(1, "a batch of 5"), (-6, None)], "a batch of 5"),  # the other aborts by itself, as it loses the first
        ([(-6, None), (1, "process 1 of 2 lost the others (gloo)")], "process 0 of 2 was ended by SIGABRT"),
        ([(1, "process 0 of 2 lost the others (gloo)"), (-9, None)], "process 1 of 2 was ended by SIGKILL"),
        ([(1, "a batch of 5"), (-9, None)], "process 1 of 2 was ended by SIGKILL"),
        ([(1, "no such file: a"), (1, "no such file: b")], "no such file: a"),
    ],
)
def test_what_ended_a_run_is_not_what_its_end_caused(
    tmp_path: Path, ends: list[tuple[int, str | None]], said: str
) -> None:
    failures = []
    for rank, (status, message) in enumerate(ends):
        path = tmp_path / f"{rank}.json"
        if message:
            path.write_text(json.dumps({"message": message, "timestamp": 100 + rank}))
        failures.append(ProcessFailure(rank, 1, status, str(path)))
    assert cause(failures, len(ends)).startswith(said)


def resume_on_a_machine(rank: int, port: int, data: Path, folder: Path) -> None:
    """One of two processes, each with its own place for the relative path "run"."""
    os.chdir(folder)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}

    def open_model(path: Path) -> Colours:
        assert rank == 0, "only the first process asks the teacher"
        return Colours()

    runtime.Embedder = open_model  # type: ignore[assignment, misc]
    teacher = data / "manifest.csv"  # any file
    run_command(folder / "run", ["train", str(data), "--out", "run", "--resume", "--teacher", str(teacher)])


def test_a_run_is_resumed_on_two_machines(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, forked: ForkServerContext
) -> None:
    """The run folder is on the machine of the first process alone."""
    rounds = RoundsRecipe(
        2, steps=2, per_cluster=2, cameras_from=2, neighbours=3, smallest=2, until=0.7, until_before_cameras=0.7,
        taught=2, teacher=Colours.fingerprint, teacher_weight=1.0,
    )  # fmt: skip
    network = replace(recipe.network, head="batch_norm", embedding=0, dropout=0.0)
    chosen = replace(recipe, network=network, rounds=rounds, selection="last")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()

    def stop(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, chosen, tmp_path / "first" / "run", on_step=stop, teacher=Colours())
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = [
        forked.Process(target=resume_on_a_machine, args=(rank, port, tiny_dataset, tmp_path / name))
        for rank, name in enumerate(("first", "second"))
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0], (tmp_path / "second" / "run.stderr").read_text()
    assert RunFolder(tmp_path / "first" / "run").stages() == [0, 1]
    assert not (tmp_path / "second" / "run").exists()


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(RunError, match=r"--gpus 99: \d+ found"):
        check_gpus(99, "auto")
    with pytest.raises(RunError, match="expected auto, cuda or cpu"):
        check_gpus(2, "cuda:1")
    check_gpus(2, "cpu")


def test_a_process_alone_is_a_world() -> None:
    rows = torch.arange(3)
    assert ALONE.first
    assert ALONE.gather(rows) is rows
    assert ALONE.sum(rows) is rows
    assert ALONE.share(lambda: 7) == 7
    World(1, 2).check_divides(6)
    ALONE.check_divides(16, 4)


def test_processes_share_the_parts_of_batch_norm_evenly() -> None:
    for norm_crops in (0, 8, 16):
        World(0, 8).check_divides(16, norm_crops)
    for norm_crops in (4, 12):  # their share would be rounded, 4 even to 0, which is the whole batch
        with pytest.raises(RunError, match=f"norm_crops is {norm_crops}, which 8 processes cannot share"):
            World(0, 8).check_divides(48, norm_crops)


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_processes_wait_for_a_long_merging(monkeypatch: pytest.MonkeyPatch, device: str, backend: str) -> None:
    """Past torch's own limits, of at most half an hour; and not on the GPU."""
    asked: list[dict[str, Any]] = []
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    for name, value in {
        "init_process_group": lambda backend, **options: asked.append({"backend": backend, **options}),
        "get_rank": lambda: 3, "get_world_size": lambda: 4, "destroy_process_group": lambda: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.distributed, name, value)
    with join_world(device) as (world, chosen):
        assert world == World(3, 4, 1)
        assert chosen == {"cpu": "cpu", "cuda": "cuda:1"}[device]
    assert asked == [{"backend": backend, "timeout": PATIENCE}]
    assert timedelta(days=1) < PATIENCE


def read_in_a_world(rank: int, port: int, data: Path, cache: Path, answers: Any) -> None:
    """One of two processes, of which each may keep nothing in memory."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    decoded, decode_chunk = [], samples_module.decode_chunk

    def count(crops: Sequence[Crop], height: int, width: int) -> Any:
        decoded.extend(crops)
        return decode_chunk(crops, height, width)

    samples_module.decode_chunk = count
    bad: list[str] = []
    with join_world("cpu") as (world, _):
        samples = load_samples(open_dataset(data), 32, 16, cache=cache, memory_limit=0, bad=bad, world=world)
        mapped = [line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if "crops.u8" in line]
        pixels = samples.read(range(len(samples.crops))).sum(dtype=torch.int64)
        answers.put((rank, len(decoded), len(bad), len(samples.crops), int(pixels), set(mapped)))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="finds mapped files by Linux's /proc")
def test_processes_of_a_machine_share_one_file_of_crops(
    tiny_dataset: Path, tmp_path: Path, forked: ForkServerContext
) -> None:
    """One of its crops cannot be read, which the second process takes from the first too."""
    open_dataset(tiny_dataset).crops[5].path.write_bytes(b"no picture")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    answers = forked.SimpleQueue()
    cache = tmp_path / "crops.u8"
    children = [
        forked.Process(target=read_in_a_world, args=(rank, port, tiny_dataset, cache, answers)) for rank in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    first, second = sorted(answers.get() for _ in children)
    assert first[:4] == (0, 48, 1, 47)
    assert second[:4] == (1, 0, 0, 47)  # nothing decoded
    assert second[4:] == first[4:]
    assert first[5] == {str(cache.stat().st_ino)}
    assert [path.name for path in tmp_path.iterdir() if "crops" in path.name] == ["crops.u8"]
