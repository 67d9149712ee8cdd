"""The session on a GPU: its order, its time, a second call, and its summary. Steps are small commands here."""

import json
import os
import select
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file
from small_backbone import SMALL

TOOLS = Path(__file__).parents[2] / "tools"
LOG = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.open('a').write(sys.argv[2] + '\\n'); "
"""A command that notes its name in a file."""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    import gpu_session

    return gpu_session


@pytest.fixture
def call(session: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """``call(step, ..., seconds=N)``: run a session of these steps; returns its status and the names that ran."""

    def run(*planned: Any, seconds: int = 60) -> tuple[int, list[str]]:
        ran = tmp_path / "ran"
        ran.write_text("")
        monkeypatch.setattr(session, "steps", lambda options: list(planned))
        status = session.main(["--out", str(tmp_path / "out"), "--tiny", "--seconds", str(seconds)])
        return status, ran.read_text().split()

    return run


@pytest.fixture
def step(session: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """``step(name, code)``: a step that notes its name and runs the code."""

    def make(name: str, code: str = "", seconds: int = 5, **more: Any) -> Any:
        return session.Step(name, seconds, lambda limit: f'-c "{LOG}{code}" {tmp_path}/ran {name}', **more)

    return make


def kept(tmp_path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((tmp_path / "out" / "summary.json").read_text())["steps"]
    return found


def test_a_step_that_fails_is_named_and_a_second_call_goes_on(
    call: Callable[..., Any], step: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "print('first'); sys.exit('no such thing')"
    steps = [step("one"), step("two", wrong), step("three"), step("four", lacks="a pack")]
    assert call(*steps) == (1, ["one", "two", "three"])
    found = kept(tmp_path)
    assert {name: about["status"] for name, about in found.items()} == {
        "one": "done", "two": "failed", "three": "done", "four": "cannot run",
    }  # fmt: skip
    assert (found["two"]["says"], found["four"]["says"]) == ("no such thing", "it needs a pack")
    assert "== two: failed, says no such thing" in capsys.readouterr().out
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log.index("== one: python -c") < log.index("== two: python -c") < log.index("first\nno such thing")
    # What is done is not done again, and what was never tried comes before what failed.
    five = step("five")
    assert call(*steps[:2], five, *steps[2:]) == (1, ["five", "two"])
    assert call(steps[0], step("two"), five, *steps[2:]) == (0, ["two"])
    assert call(steps[0], step("two"), five, *steps[2:]) == (0, [])
    assert kept(tmp_path)["one"] == found["one"]


def test_a_step_that_hangs_is_ended_with_its_processes(
    session: ModuleType,
    call: Callable[..., Any],
    step: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe that the step's child holds open tells when nobody holds it any more."""
    monkeypatch.setattr(session, "GRACE", 0.5)  # so that the child has nearly all of the step's time to begin
    os.mkfifo(tmp_path / "held")
    pipe = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    child = f"import time; held = open('{tmp_path}/held', 'w'); print('begun', file=held, flush=True); time.sleep(300)"
    hangs = f"import subprocess, time; subprocess.Popen([sys.executable, '-c', \\\"{child}\\\"]); time.sleep(300)"
    status, ran = call(step("hangs", hangs, seconds=5), step("next", seconds=20), seconds=26)
    assert (status, ran) == (1, ["hangs", "next"])
    found = kept(tmp_path)
    assert found["hangs"]["status"] == "stopped"
    assert found["next"]["status"] == "done"
    assert found["next"]["limit"] >= 20, "no step takes the time of the next one"
    assert os.read(pipe, 100) == b"begun\n"
    assert select.select([pipe], [], [], 60)[0], "the child lives on"
    assert os.read(pipe, 100) == b""
    os.close(pipe)


def test_a_step_waits_if_its_time_is_not_left(
    call: Callable[..., Any], step: Callable[..., Any], tmp_path: Path
) -> None:
    steps = [step("long", seconds=300), step("short", seconds=10), step("extra", seconds=20, extra=True)]
    assert call(*steps, seconds=60) == (1, ["short", "extra"])
    assert kept(tmp_path)["long"]["status"] == "waits"
    assert kept(tmp_path)["long"]["says"].startswith("it needs 300 s, and 5")
    assert call(*steps, seconds=600) == (0, ["long"])
    assert kept(tmp_path)["long"]["limit"] >= 590, "what nothing else needs"


def test_what_is_left_over_goes_to_the_next_step(session: ModuleType, step: Callable[..., Any]) -> None:
    one, two, more = step("one", seconds=30), step("two", seconds=20), step("more", seconds=5, extra=True)
    assert session.next_step([one, two, more], 100.5) == (one, 80)
    assert session.next_step([two, more], 90) == (two, 90)
    assert session.next_step([one, two, more], 40) == (one, 40)
    assert session.next_step([one, two, more], 25) == (two, 25)
    assert session.next_step([one, two, more], 15) == (more, 15)
    assert session.next_step([one, two, more], 4) is None


def test_results_in_miniature_are_not_mixed_with_others(
    session: ModuleType, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "gpu", lambda: "no GPU")
    with pytest.raises(SystemExit, match="error: no GPU: nvidia-smi finds none"):
        session.main(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    assert call() == (0, [])
    monkeypatch.setattr(session, "gpu", lambda: "NVIDIA H200, 143771 MiB, 580.0")
    with pytest.raises(SystemExit, match="holds results of a session with --tiny"):
        session.main(["--out", str(tmp_path / "out")])


def planned(session: ModuleType, out: Path, *words: object) -> list[Any]:
    """The steps of a call."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "gpu", lambda: "NVIDIA H200, 143771 MiB, 580.0")
        patch.setattr(session, "work_off", lambda _, steps: found.extend(steps) or 0)
        assert session.main(["--out", str(out), *map(str, words)]) == 0
    return found


def test_the_steps_fit_twelve_minutes_and_use_options_that_exist(session: ModuleType, tmp_path: Path) -> None:
    pack = tmp_path / "a pack"
    (pack / "train").mkdir(parents=True)
    steps = planned(session, tmp_path / "out", "--pack", pack)
    assert [step.name for step in steps if not step.extra] == ["training", "cuhk03", "million", "embedder"]
    assert sum(step.seconds for step in steps if not step.extra) <= 710, "ten seconds for everything else"
    table = (TOOLS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert all(f"\n| `{step.name}` | {step.seconds} | " in table for step in steps)
    lacks = f"weights: there is no file '{pack}/weights.safetensors'"
    assert {step.name: step.lacks for step in steps if step.lacks} == {"cuhk03": lacks, "taught": lacks}
    (pack / "weights.safetensors").touch()
    (pack / "0286.onnx").touch()
    steps = planned(session, tmp_path / "out", "--pack", pack)
    assert not any(step.lacks for step in steps)
    for tiny in ((), ("--tiny",)):
        for step in planned(session, tmp_path / f"out{len(tiny)}", "--pack", pack, *tiny):
            words = session.shlex.split(step.command(step.seconds))
            if step.name == "tests":
                assert all((TOOLS.parent / word).is_dir() for word in words if word.startswith("tests/"))
                continue
            options = {word for word in words if word.startswith("--")}
            source = (TOOLS.parent / words[0]).read_text() + (TOOLS / "study.py").read_text()
            assert not {option for option in options if f'add_argument("{option}"' not in source}
            for name in ("--seconds", "--timeout"):
                if name in words:
                    assert 0 < float(words[words.index(name) + 1]) < step.seconds
    taught = next(step for step in steps if step.name == "taught")
    assert session.shlex.split(taught.command(9))[-1] == f"{pack}/0286.onnx"


def test_each_goal_is_met_missed_or_not_measured(session: ModuleType, tmp_path: Path) -> None:
    import gpu_goals as goals

    def write(name: str, *rows: dict[str, Any], **more: Any) -> None:
        (tmp_path / name).write_text(json.dumps({"rows": rows, **more}))

    def results() -> list[str]:
        return [(goal.judge(tmp_path) or ("none", ""))[0] for goal in goals.GOALS]

    assert results() == ["none"] * 9
    whole = {
        "row": goals.WHOLE, "seconds": 290.0, "measured_share_of_steps": 1.0, "measured_wall_seconds": 295.0,
        "images_per_second": 3000.0, "shares": {"train": 0.8, "load": 0.2},
    }  # fmt: skip
    write("training.json", whole)
    write("plain.json", {"row": "plain", "seconds": 1200.0})
    assert results()[:3] == ["met", "missed", "met"]
    assert goals.schedule(300, tmp_path) == ("met", "290 s, 3000 images/s")
    write("training.json", whole | {"seconds": 310.0, "shares": {"train": 0.9, "load": 0.1}})
    assert results()[:3] == ["missed", "met", "missed"]
    # A part of the schedule meets nothing. It misses the goal if the part alone took longer.
    write("training.json", whole | {"measured_share_of_steps": 0.9})
    assert results()[:3] == ["not measured"] * 3
    write("training.json", whole | {"measured_share_of_steps": 0.9, "measured_wall_seconds": 301.0})
    assert results()[:3] == ["missed", "not measured", "not measured"]
    assert "90% of the steps in 301 s; extrapolated 290 s" in goals.schedule(300, tmp_path)[1]
    (tmp_path / "training.json").write_text('{"rows": [{"ro')
    assert goals.whole_row(tmp_path) is None, "a file that was cut off"
    write("training.json", {"row": goals.WHOLE, "failed": "more than 300 s"})
    write("plain.json", {"row": "plain", "failed": "no message"})
    assert results()[:3] == ["none"] * 3

    def row(name: str, mean_ap: float) -> dict[str, Any]:
        ranked = [{"ranked": "A to B", "camera_statistics": freed, "rank-1": 0.5, "mAP": mean_ap} for freed in (0, 1)]
        ranked[1]["mAP"] = 0.99  # with camera statistics, which is no goal
        return {"row": name, "held_out": ranked}

    write("cuhk03.json", row("not trained", 0.1), row(goals.UNTAUGHT, 0.6), row(f"{goals.TAUGHT} by 0286", 0.8))
    assert results()[3:5] == ["met", "missed"]
    ranked = "rank-1 / mAP: A to B 50.0 / 60.0; A to B, freed 50.0 / 99.0"
    assert goals.accuracy(goals.UNTAUGHT, 60, tmp_path) == ("met", ranked)

    people = {"data": "people", "samples": goals.MILLION, "neighbours": {"seconds": 40.0}}
    clusters = {"data": "clustered", "samples": goals.MILLION, "seconds": 55.0}
    smaller = {"data": "people", "samples": 50_000, "seconds": 5.0}
    given_up = {"failed": "more than 72 s", "at_least_seconds": 61.0}
    write("merging.json", people | given_up, smaller, clusters)
    assert results()[5:7] == ["missed", "met"]
    assert goals.merging("people", 60, tmp_path) == ("missed", "not done after 61 s; neighbours 40.0 s")
    write("merging.json", people | given_up | {"at_least_seconds": 59.0}, clusters | {"seconds": 61.0})
    assert results()[5:7] == ["not measured", "missed"]
    write("merging.json", people | given_up, people | {"seconds": 58.0, "merging": {"seconds": 18.0}})
    assert goals.merging("people", 60, tmp_path) == ("met", "58.0 s; neighbours 40.0 s; merging 18.0 s")

    cuda = [{"way": "ours, CUDA", "batch": batch, "crops_per_second": 100.0 * batch} for batch in (1, 16)]
    write("embedder.json", *cuda, left_out={"ours, TensorRT": "runs on CUDA, not on TensorRT"})
    assert results()[7:] == ["measured", "not measured"]
    assert goals.speed("ours, TensorRT", tmp_path) == ("not measured", "runs on CUDA, not on TensorRT")
    assert goals.speed("ours, CUDA", tmp_path) == ("measured", "crops/s: 100 at 1, 1600 at 16 crops a call")


def test_the_summary_says_why_a_goal_has_no_figure(
    session: ModuleType, step: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "gpu", lambda: "NVIDIA H200, 143771 MiB, 580.0")
    steps = [step("training", "sys.exit('CUDA out of memory')"), step("million", seconds=1000)]
    monkeypatch.setattr(session, "steps", lambda options: steps)
    assert session.main(["--out", str(tmp_path / "out"), "--seconds", "30"]) == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["device"].startswith("NVIDIA H200")
    assert {goal["result"] for goal in summary["goals"]} == {"not measured"}
    figures = {goal["goal"]: goal["figures"] for goal in summary["goals"]}
    assert figures["85% of that in training steps"] == "step training failed: CUDA out of memory"
    waits = figures["neighbours and merging of 1,000,000 x 2048 in 60 s"]
    assert waits.startswith("step million waits: it needs 1000 s")


@pytest.mark.slow
def test_the_whole_session_in_miniature(session: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import gpu_goals as goals

    from reid_toolkit.config import NetworkRecipe, Recipe
    from reid_toolkit.export.onnx import export
    from reid_toolkit.training.network import build_backbone, build_network
    from reid_toolkit.training.run_folder import RunFolder, save_tensors

    pack, out, rng = tmp_path / "pack", tmp_path / "out", np.random.default_rng(0)
    clothes = rng.integers(0, 255, (8, 8, 4, 3), np.uint8)
    for part in ("train", "val"):
        (pack / part).mkdir(parents=True)
        for person in range(8):
            for number in (0, 1, 5, 6):
                shown = cv2.resize(clothes[person], (32, 64)) + rng.normal(0, 10, (64, 32, 3))
                cv2.imwrite(str(pack / part / f"{person:04d}_{number:02d}.jpg"), shown.clip(0, 255).astype(np.uint8))
    save_file(build_backbone("resnet50")[0].state_dict(), pack / "weights.safetensors")
    run, network = RunFolder(tmp_path / "run"), NetworkRecipe(SMALL, weights="none", embedding=8, height=64, width=32)
    run.start(Recipe(network=network), "0" * 16)
    save_tensors(run.path / "best.safetensors", build_network(network, 0).state_dict(), {"stage": "0"})
    export(run.path, pack / "a teacher.onnx", list(clothes))
    words = ["--out", str(out), "--pack", str(pack), "--tiny", "--seconds", "3000"]
    assert session.main(words) == 0, (out / "log.txt").read_text()
    status = {name: about["status"] for name, about in kept(tmp_path).items()}
    assert list(status) == ["training", "cuhk03", "million", "embedder", "plain", "clusters", "taught", "tests"]
    assert set(status.values()) == {"done"}
    monkeypatch.setattr(goals, "WHOLE", "dbc")
    monkeypatch.setattr(goals, "MILLION", 400)
    assert goals.schedule(1e9, out)[0] == "met", "the whole schedule, nothing extrapolated"
    assert goals.steps_share(0.0, out)[0] == goals.times_plain(0.0, out)[0] == "met"
    assert goals.accuracy(goals.UNTAUGHT, 0.0, out)[0] == goals.accuracy(goals.TAUGHT, 0.0, out)[0] == "met"
    assert goals.merging("people", 1e9, out)[0] == goals.merging("clustered", 1e9, out)[0] == "met"
    assert goals.speed("ours", out)[0] == "measured"
    assert goals.speed("ours, CUDA", out), "measured, or the reason"
    assert goals.speed("ours, TensorRT", out)
    log = (out / "log.txt").read_text()
    assert session.main(words) == 0
    assert (out / "log.txt").read_text() == log, "nothing is done again"
