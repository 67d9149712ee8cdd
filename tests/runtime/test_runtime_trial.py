"""How onnxruntime and OpenVINO are compared, and how the choice is remembered. No test here measures a time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid_toolkit.runtime import trial
from reid_toolkit.runtime.trial import Choice, chosen, compare, remembered

BETTER = Choice("openvino", "cpu", "faster here", {"several": 1.5, "alone": 0.9}, 1e-6, 32)
MODEL = "0123456789abcdef"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "providers"


def never() -> Choice:
    raise AssertionError("measured again")


def rows(batch: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Unit rows that depend on the crops alone. ``shift``: how far to move each."""
    found = batch.reshape(len(batch), -1)[:, :8].astype(np.float32) + 1
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    found[:, 0] += shift
    return found


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Choice]:
    """``speeds(several, alone)`` compares an OpenVINO that takes so many milliseconds, where onnxruntime takes 10. A
    number stands for all turns, a list for each. ``processor``: how many the processor takes for either case."""

    def measured(
        several: Any, alone: Any, *, processor: float = 1, cores: int = 2, shift: float = 0.0, batch_size: int = 32
    ) -> Choice:
        def plain(batch: np.ndarray) -> np.ndarray:
            return rows(batch)

        def other(batch: np.ndarray) -> np.ndarray:
            return rows(batch, shift)

        turns = {
            name: iter(each if isinstance(each, list) else [each] * trial.TURNS)
            for name, each in (("several", several), ("alone", alone))
        }

        def timed(run: Any, batch: np.ndarray) -> tuple[float, float]:
            if run is plain:
                return 0.01, 0.01
            return next(turns["alone" if len(batch) == 1 else "several"]) / 1000, processor / 1000

        monkeypatch.setattr(trial, "timed", timed)
        return compare(plain, other, batch_size, (16, 8), cores)

    return measured


def test_the_faster_is_chosen_for_each_case(speeds: Callable[..., Choice]) -> None:
    found = speeds(5, 12)
    assert (found.several, found.alone) == ("openvino", "cpu")
    assert found.faster == pytest.approx({"several": 2, "alone": 10 / 12})
    assert "2.00 times as fast as onnxruntime with 20 crops at once and 0.83 times with a crop alone" in found.why
    assert (speeds(12, 5).several, speeds(12, 5).alone) == ("cpu", "openvino")
    assert (speeds(5, 5).several, speeds(5, 5).alone) == ("openvino", "openvino")


def test_a_small_gain_is_not_worth_it(speeds: Callable[..., Choice]) -> None:
    found = speeds(9.5, 9.5)
    assert (found.several, found.alone) == ("cpu", "cpu")


def test_a_gain_that_the_processor_does_not_know_is_the_work_of_others(speeds: Callable[..., Choice]) -> None:
    found = speeds(5, 5, processor=9.5)
    assert (found.several, found.alone) == ("cpu", "cpu")
    assert found.faster == pytest.approx({"several": 10 / 9.5, "alone": 10 / 9.5})


def test_the_best_turn_counts_because_other_work_only_slows(speeds: Callable[..., Choice]) -> None:
    assert speeds([90, 80, 5, 70, 99, 30], 20).several == "openvino"


def test_one_core_has_one_session_so_both_cases_must_be_served(speeds: Callable[..., Choice]) -> None:
    found = speeds(5, 12, cores=1)
    assert (found.several, found.alone) == ("cpu", "cpu")
    found = speeds(5, 9.9, cores=1)
    assert (found.several, found.alone) == ("openvino", "openvino")


@pytest.mark.parametrize(("shift", "same"), [(2e-5, True), (2e-4, False), (np.nan, False)])
def test_descriptors_that_would_move_a_calibration_are_never_chosen(
    speeds: Callable[..., Choice], shift: float, same: bool
) -> None:
    found = speeds(1, 1, shift=shift)
    assert (found.several == found.alone == "openvino") is same
    assert ("more than calibration allows (0.0001)" in found.why) is not same
    assert found.difference == pytest.approx(shift if same or shift == shift else 2, rel=0.01)


def test_no_more_crops_than_the_batch_size_are_measured(speeds: Callable[..., Choice]) -> None:
    assert speeds(5, 5, batch_size=7).crops == 7
    assert speeds(5, 5, batch_size=500).crops == 20, "a tenth of a second on two cores"


def test_a_choice_is_remembered_for_what_it_depends_on(cache: Path) -> None:
    assert chosen(MODEL, None, 32, lambda: BETTER) == BETTER
    assert chosen(MODEL, None, 32, never) == BETTER
    other = Choice("cpu", "openvino", "slower here")
    for model, threads, batch_size in ((MODEL[::-1], None, 32), (MODEL, 1, 32), (MODEL, None, 1)):
        assert chosen(model, threads, batch_size, lambda: other) == other
    assert len(list(cache.glob("*.json"))) == 4
    assert [(facts["threads"], facts["batch_size"], choice.alone) for facts, choice in remembered(MODEL[::-1])] == [
        (None, 32, "openvino")
    ]
    assert len(remembered(MODEL)) == 3


@pytest.mark.parametrize("fact", ["version_of", "processor", "usable_cores", "__version__"])
def test_another_machine_or_version_measures_again(fact: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(MODEL, None, 32, lambda: BETTER)
    monkeypatch.setattr(trial, fact, "9.9" if fact == "__version__" else lambda *_: "another")
    assert remembered(MODEL) == []
    assert chosen(MODEL, None, 32, lambda: trial.STAY) == trial.STAY


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"cpu"', '"gpu"'),
        lambda text: text.replace('"why"', '"because"'),
        lambda text: text.replace(trial.FORMAT, "reid-provider-9"),
        lambda text: text.replace(MODEL, "f" * 16),
        lambda text: json.dumps([text]),
        lambda text: json.dumps(json.loads(text) | {"choice": None}),
    ],
)
def test_a_damaged_file_is_measured_again_and_replaced(cache: Path, damage: Callable[[str], str]) -> None:
    chosen(MODEL, None, 32, lambda: BETTER)
    (path,) = cache.glob("*.json")
    path.write_text(damage(path.read_text()))
    assert chosen(MODEL, None, 32, lambda: BETTER) == BETTER
    assert chosen(MODEL, None, 32, never) == BETTER


def test_a_file_that_is_not_text_is_measured_again(cache: Path) -> None:
    chosen(MODEL, None, 32, lambda: BETTER)
    (path,) = cache.glob("*.json")
    path.write_bytes(b"\xff\xfe{")
    assert chosen(MODEL, None, 32, lambda: BETTER) == BETTER


def test_a_cache_that_cannot_be_written_means_the_cpu_without_a_measurement(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    found = chosen(MODEL, None, 32, never)
    assert (found.several, found.alone) == ("cpu", "cpu")
    assert "not measured, because the cache folder cannot be used" in found.why
    assert remembered(MODEL) == []


def test_a_choice_is_read_where_nothing_can_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose image holds the cache."""
    chosen(MODEL, None, 32, lambda: BETTER)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(trial, "locked", refuse)
    assert chosen(MODEL, None, 32, never) == BETTER
    assert "Read-only file system" in chosen(MODEL, 1, 32, never).why


def test_without_a_home_folder_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert "there is no home folder" in chosen(MODEL, None, 32, never).why


def test_what_goes_wrong_is_remembered_as_the_cpu() -> None:
    def fail() -> Choice:
        raise RuntimeError("Unsupported operation\nwith details")

    found = chosen(MODEL, None, 32, fail)
    assert (found.several, found.why) == ("cpu", "the measurement failed: Unsupported operation")
    assert chosen(MODEL, None, 32, never) == found


def test_an_interruption_is_not_remembered(cache: Path) -> None:
    def interrupted() -> Choice:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chosen(MODEL, None, 32, interrupted)
    assert not list(cache.glob("*.json"))
    assert chosen(MODEL, None, 32, lambda: BETTER) == BETTER


def test_a_process_that_openvino_ends_is_the_last_to_try(cache: Path) -> None:
    """Or every command would end so, on a processor that OpenVINO was not built for."""
    script = (
        f"import os; from reid_toolkit.runtime.trial import chosen; chosen({MODEL!r}, None, 32, lambda: os._exit(4))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 4
    assert "ended unexpectedly" in chosen(MODEL, None, 32, never).why


def test_another_process_that_measures_is_waited_for_but_not_for_ever(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PATIENCE", 0.0)
    cache.mkdir(parents=True)
    with trial.locked(cache / ".lock"):
        assert "another process has been measuring" in chosen(MODEL, None, 32, never).why
    assert not list(cache.glob("*.json"))
    assert chosen(MODEL, None, 32, lambda: BETTER) == BETTER


AT_ONCE = f"""
import sys, time
from pathlib import Path
from reid_toolkit.runtime.trial import Choice, chosen

def measure():
    with open(sys.argv[1], "a") as log:
        log.write("measured\\n")
    time.sleep(0.5)
    return Choice("openvino", "cpu", "first")

print(chosen({MODEL!r}, None, 32, measure).several)
"""


def test_of_processes_that_start_at_once_one_measures(tmp_path: Path) -> None:
    log = tmp_path / "log"
    several = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, str(log)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [one.communicate()[0].strip() for one in several] == ["openvino"] * 3
    assert log.read_text() == "measured\n"


def test_the_processor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.uname().machine in trial.processor()

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert trial.processor()


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    def named(flags: str) -> str:
        text = f"processor : 0\nmodel name : Some CPU\nflags : {flags}\n\nprocessor : 1\nmodel name : Some CPU\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
        return trial.processor()

    return named


def test_processors_of_one_name_differ_by_their_instructions(two_processors: Callable[[str], str]) -> None:
    """Virtual machines often hide the exact name."""
    assert "Some CPU" in two_processors("avx2")
    assert two_processors("avx2") != two_processors("avx2 amx_bf16")
