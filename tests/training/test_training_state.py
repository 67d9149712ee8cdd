"""A run that was stopped anywhere ends as one that was not: weights, labels and figures, to the bit."""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_backbone import call
from test_training_rounds import learn, tensors, without_times

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import RunError
from reid_toolkit.training import rounds, run
from reid_toolkit.training.progress import Step
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.schedule import Place
from reid_toolkit.training.state import State, load_state, save_state, state_path, states
from reid_toolkit.training.tensor_files import load_tensors, save_tensors

KILLS = int(os.environ.get("REID_KILLS", "3"))
"""How often a run is killed; hundreds take minutes."""


@pytest.fixture(scope="module")
def longer(recipe: Recipe) -> Recipe:
    """Three stages, of four epochs and then two, of two steps each."""
    return replace(recipe, training=replace(recipe.training, first_epochs=4, later_epochs=2))


class StopAfter:
    """Ctrl-C in a training step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, step: Step) -> None:
        if step.done >= self.steps:
            raise KeyboardInterrupt


def assert_same(out: Path, whole: Path, stages: int = 3) -> None:
    """But for wall times."""
    for stage in range(stages):
        assert tensors(out, stage) == tensors(whole, stage)
    for name in ("best.safetensors", "checkpoints/initial.safetensors"):
        a, b = load_file(out / name), load_file(whole / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert (out / "clusters.csv").read_bytes() == (whole / "clusters.csv").read_bytes()
    rows = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (out, whole)]
    assert without_times(rows[0]) == without_times(rows[1])


def learn_and_copy(data: Path, recipe: Recipe, root: Path, steps: Collection[int], every: float) -> None:
    """A run in ``root/"whole"``, and its folder as it was after each of the ``steps``, by their number, in ``root``."""

    def copy(step: Step) -> None:
        if step.done in steps:
            shutil.copytree(root / "whole", root / str(step.done))

    learn(data, recipe, root / "whole", on_step=copy, checkpoint_seconds=every)


@pytest.fixture(scope="module")
def whole(shared_dataset: Path, longer: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    learn(shared_dataset, longer, out)
    return out


@pytest.fixture(scope="module")
def stopped(shared_dataset: Path, longer: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of runs that save each step and end after some, by the number of steps; not to be changed."""
    root = tmp_path_factory.mktemp("stopped")
    learn_and_copy(shared_dataset, longer, root, (1, 2, 7, 8, 9, 11, 12, 16), every=0)
    return root


def test_a_run_goes_on_from_any_step(
    tiny_dataset: Path, longer: Recipe, tmp_path: Path, whole: Path, stopped: Path
) -> None:
    """The first, within an epoch and at its end, at the end of a stage, and the last, after which is to extract."""
    for steps in (1, 2, 7, 8, 9, 12, 16):
        out = shutil.copytree(stopped / str(steps), tmp_path / str(steps))
        done: list[int] = []
        learn(tiny_dataset, longer, out, resume=True, on_step=lambda step, done=done: done.append(step.done))
        assert done == list(range(steps + 1, 17))
        assert_same(out, whole)


class SignalAfter:
    """A signal to this very process, once ``steps`` are done."""

    def __init__(self, steps: int, number: int, *, times: int = 1) -> None:
        self.steps, self.number, self.times = steps, number, times

    def __call__(self, step: Step) -> None:
        if step.done == self.steps:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.fixture
def ends_at_sigterm() -> Iterator[None]:
    """As the command line has it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ends_at_sigterm")
@pytest.mark.parametrize(
    ("steps", "number", "saved"),
    [
        (3, signal.SIGINT, Place(0, 1, 2)),  # the step that was begun is finished
        (6, signal.SIGTERM, Place(0, 3, 1)),
        (8, signal.SIGINT, Place(0, 3, 2)),  # a stage's last step
    ],
)
def test_a_signal_saves_the_step_it_comes_at(
    tiny_dataset: Path, longer: Recipe, tmp_path: Path, whole: Path, steps: int, number: int, saved: Place
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, longer, out, on_step=SignalAfter(steps, number))
    assert states(out / "checkpoints") == [saved]
    assert signal.getsignal(number) is signal.default_int_handler
    done: list[int] = []
    learn(tiny_dataset, longer, out, resume=True, on_step=lambda step: done.append(step.done))
    assert done[0] == min(steps + 2, 9)
    assert_same(out, whole)


@pytest.mark.parametrize(("module", "where"), [(rounds, "extract"), (rounds, "measure_and_merge"), (run, "Checkpoint")])
def test_a_signal_after_a_stages_last_step_saves_that(
    tiny_dataset: Path, longer: Recipe, tmp_path: Path, whole: Path, module: ModuleType, where: str
) -> None:
    """In all that follows it, up to when the stage's own file is written, with this stage's row among the figures."""
    out, as_it_is, calls = tmp_path / "run", getattr(module, where), []

    def interrupted(*given: Any, **named: Any) -> Any:
        calls.append(where)
        if len(calls) == (2 if where == "measure_and_merge" else 3):  # the others once before stage 0
            os.kill(os.getpid(), signal.SIGINT)
        return as_it_is(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_dataset, longer, out)
    assert states(out / "checkpoints") == [Place(1, 1, 2)]
    done: list[int] = []
    learn(tiny_dataset, longer, out, resume=True, on_step=lambda step: done.append(step.done))
    assert done == [13, 14, 15, 16]
    assert_same(out, whole)


def test_a_second_signal_does_not_wait(tiny_dataset: Path, longer: Recipe, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, longer, tmp_path, on_step=SignalAfter(3, signal.SIGINT, times=2))
    assert states(tmp_path / "checkpoints") == []


def test_signals_that_mean_something_else_are_left_alone(tiny_dataset: Path, longer: Recipe, tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        learn(tiny_dataset, longer, tmp_path, on_step=SignalAfter(3, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_two_states_are_kept_and_none_of_a_run_that_is_done(
    tiny_dataset: Path, longer: Recipe, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_dataset, longer, out, on_step=StopAfter(5), checkpoint_seconds=0)
    assert states(out / "checkpoints") == [Place(0, 1, 2), Place(0, 2, 1)]
    learn(tiny_dataset, longer, out, resume=True, checkpoint_seconds=0)
    assert states(out / "checkpoints") == []
    assert_same(out, whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, where: float = 0.7) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 4
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("damage", "newest"), [(cut, 1), (flip, 1), (empty, 1), (flip, 2)])
def test_a_damaged_state_is_passed_over_with_a_warning(
    tiny_dataset: Path,
    longer: Recipe,
    tmp_path: Path,
    whole: Path,
    stopped: Path,
    damage: Callable[[Path], None],
    newest: int,
) -> None:
    out, said, done = shutil.copytree(stopped / "11", tmp_path / "run"), [], []
    for place in states(out / "checkpoints")[-newest:]:
        damage(state_path(out / "checkpoints", place))
    learn(tiny_dataset, longer, out, resume=True, on_warning=said.append, on_step=lambda step: done.append(step.done))
    assert len(said) == newest
    assert all("damaged checkpoint" in message and message.endswith(".damaged") for message in said)
    assert done[0] == (11 if newest == 1 else 9)  # the state before, or the end of stage 0
    assert_same(out, whole)


def test_a_damaged_stage_is_repeated(tiny_dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    learn(tiny_dataset, recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    said: list[str] = []
    cut(RunFolder(tmp_path / "run").stage_path(2))
    with pytest.raises(RunError, match=r"stage-002\.safetensors: damaged checkpoint"):
        RunFolder(tmp_path / "run").load(2)
    learn(tiny_dataset, recipe, tmp_path / "run", resume=True, on_warning=said.append)
    assert len(said) == 1
    assert "stage-002.safetensors: damaged checkpoint" in said[0]
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_when_nothing_can_be_read_a_run_begins_anew(
    tiny_dataset: Path, longer: Recipe, tmp_path: Path, whole: Path, stopped: Path
) -> None:
    out, said = shutil.copytree(stopped / "9", tmp_path / "run"), []
    for path in (out / "checkpoints").iterdir():
        empty(path)
    learn(tiny_dataset, longer, out, resume=True, on_warning=said.append)
    assert len(said) == 3  # two states, one stage
    assert_same(out, whole)


def test_a_state_of_another_run_is_passed_over(tiny_dataset: Path, longer: Recipe, tmp_path: Path) -> None:
    for name, seed in (("run", 0), ("other", 1)):
        with pytest.raises(KeyboardInterrupt):
            learn(
                tiny_dataset, replace(longer, seed=seed), tmp_path / name, on_step=StopAfter(3 + seed),
                checkpoint_seconds=0,
            )  # fmt: skip
    stray = state_path(tmp_path / "other" / "checkpoints", Place(0, 1, 2))
    stray.rename(tmp_path / "run" / "checkpoints" / stray.name)
    said: list[str] = []
    learn(tiny_dataset, longer, tmp_path / "run", resume=True, on_warning=said.append)
    assert len(said) == 1
    assert "belongs to a run of another recipe or dataset" in said[0]


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    content = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.zeros(0, 2)}
    save_tensors(path, content, {"stage": "3", "metrics": "[]"})
    found, header = load_tensors(path)
    assert header == {"stage": "3", "metrics": "[]"}
    assert all(torch.equal(found[key], value) for key, value in content.items())


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(3.0)}, path, {"stage": "3", "metrics": "[]"})
    assert load_tensors(path)[1] == {"stage": "3", "metrics": "[]"}


def test_every_single_changed_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.arange(3.0)}, {"stage": "3"})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(RunError, match="damaged"):
            load_tensors(path)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State(
        Place(1, 2, 3), {"weight": torch.rand(3)}, {"weight": torch.rand(3)}, torch.rand(2, 2), torch.arange(2),
        0.1 + 0.2, [{"stage": 0, "loss": 0.1}], {"train": 1.5}, "seed = 0", "abc",
    )  # fmt: skip
    save_state(tmp_path, state)
    found = load_state(tmp_path, state.place)
    assert torch.equal(found.weights["weight"], state.weights["weight"])
    assert torch.equal(found.momentum["weight"], state.momentum["weight"])
    assert torch.equal(found.rows, state.rows)
    assert torch.equal(found.labels, state.labels)
    plain = {"weights": {}, "momentum": {}, "rows": None, "labels": None}
    assert replace(found, **plain) == replace(state, **plain)
    save_tensors(state_path(tmp_path, state.place), {}, {})
    with pytest.raises(RunError, match="not a state of a training run"):
        load_state(tmp_path, state.place)


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, forked: ForkServerContext
) -> None:
    """kill -9 at random moments; now and then the newest file is cut, changed or gone as well."""
    chosen = replace(recipe, training=replace(recipe.training, first_epochs=6, later_epochs=3))

    def start(out: Path) -> BaseProcess:
        how = {"resume": True, "checkpoint_seconds": 0.05}
        child = forked.Process(target=call, args=(train, open_dataset(tiny_dataset), chosen, out), kwargs=how)
        child.start()
        return child

    begun = time.monotonic()
    start(tmp_path / "whole").join()
    span = time.monotonic() - begun  # with the start of the process, or a quick run's restarts would all die in theirs
    chance, kills = random.Random(0), 0
    while kills < KILLS:
        out = tmp_path / f"run after {kills} kills"
        while (child := start(out)).is_alive():
            child.join(chance.uniform(0, span / 2) if kills < KILLS else None)
            child.kill()
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
            kills += 1
            files = sorted((out / "checkpoints").glob("st*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
            if files and kills % 3 == 0:
                chance.choice([cut, flip, empty, Path.unlink])(files[-1])
        assert_same(out, tmp_path / "whole")
        assert not list(out.rglob("*.partial*"))


def train_as_the_command_does(dataset: Path, recipe: Recipe, out: Path, told: Path | None = None) -> None:
    """In a process of its own; writes a line into ``told`` after each step."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def tell(step: Step) -> None:
        if told:
            with told.open("a") as file:
                file.write(f"{step.done}\n")

    try:
        train(open_dataset(dataset), recipe, out, resume=True, on_step=tell, checkpoint_seconds=3600)
    except KeyboardInterrupt:
        sys.exit(130)


def test_a_process_that_is_stopped_again_and_again_loses_no_step(
    tiny_dataset: Path, recipe: Recipe, tmp_path: Path, forked: ForkServerContext
) -> None:
    """Ctrl-C and SIGTERM in turn, from outside, at random moments; nothing else writes a state."""
    chosen = replace(recipe, training=replace(recipe.training, first_epochs=15))
    whole, out, told = tmp_path / "whole", tmp_path / "run", tmp_path / "told"

    def start(*given: Any) -> BaseProcess:
        child = forked.Process(target=call, args=(train_as_the_command_does, tiny_dataset, chosen, *given))
        child.start()
        return child

    start(whole).join()
    chance, begun, ended = random.Random(0), 0, []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM, None):
        child = start(out, told)
        while number and child.is_alive() and (told.read_text().count("\n") if told.exists() else 0) < begun + 3:
            time.sleep(chance.uniform(0.001, 0.01))
        if number and child.pid:
            os.kill(child.pid, number)
        child.join()
        ended.append(child.exitcode)
        done = [int(line) for line in told.read_text().split()]
        if child.exitcode == 130:
            *_, place = states(out / "checkpoints")
            # Told before the signal; the step that was begun is saved and not told.
            assert place.epoch * 2 + place.step == done[-1] + 1
            begun = len(done)
    assert ended == [130, 130, 130, 130, 0]
    # Each step once, but for those that were saved and could not be told any more.
    assert done == sorted(set(done))
    assert set(range(1, 35)) - set(done) == {done[i - 1] + 1 for i in range(1, len(done)) if done[i] > done[i - 1] + 1}
    assert_same(out, whole)
