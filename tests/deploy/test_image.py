"""The Containerfile: what it says, and what it does when its steps are run in a clean Debian."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
from containerfile import Stage, instructions, keeper, parse
from tiny_model import DIMENSION, build_model

from reid_toolkit.cli.app import COMMANDS, reid

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Containerfile"
TOOL = Path(__file__).with_name("containerfile.py")
BASE = os.environ.get("REID_TEST_BASE")
"""A folder with a clean Debian, made by debootstrap --variant=minbase, that is used instead of a new one."""


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parse(FILE.read_text(encoding="utf-8"))


def test_the_image_is_not_run_as_root_and_has_one_volume(stages):
    image = stages[-1]
    assert image.user == "reid"
    assert image.volumes == ["/data"] == [image.environment["HOME"]] == [image.folder]
    assert image.environment["REID_CACHE"].startswith("/data/")
    assert image.entrypoint == ["reid"]
    assert len({stage.base for stage in stages}) == 1, "the environment runs on the system that it was made on"


def test_nothing_that_it_asks_for_is_torch_or_cuda(stages):
    text = "\n".join(rest for stage in stages for word, rest in stage.steps if word in ("RUN", "ARG"))
    assert "torch" not in text
    assert "/src/tools/edge/onnxruntime-gpu" in text, "the empty package, not the large one"
    assert "train" not in stages[0].arguments["EXTRAS"]


def test_extras_are_extras_of_the_project(stages):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = {line.split(" = ")[0] for line in project.splitlines() if " = [" in line}
    if "serve" in COMMANDS:
        assert set(stages[0].arguments["EXTRAS"].split(",")) <= known
    assert "footage" in known


def test_what_it_copies_is_there_and_is_sent_to_the_engine(stages):
    kept = keeper(ROOT)
    copied = [
        source
        for stage in stages
        for word, rest in stage.steps
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert {"reid_toolkit", "pyproject.toml", "tools/edge"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert kept(ROOT / source), source
    assert kept(ROOT / "reid_toolkit" / "cli" / "app.py")
    for other in (".git", ".venv", "tests", "docs", "reid_toolkit/cli/__pycache__"):
        assert not kept(ROOT / other), other


def test_what_it_starts_is_a_command(stages):
    image = stages[-1]
    if image.command[0] not in COMMANDS:
        pytest.skip("this checkout has no reid serve")
    group = reid.get_command(None, image.command[0])
    group.make_context(image.command[0], list(image.command[1:])).close()
    port = image.command[image.command.index("--port") + 1]
    assert image.ports == [port]
    assert f"127.0.0.1:{port}/readyz" in image.health[-1]


def test_an_instruction_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="SHELL"):
        parse('FROM a\nSHELL ["/bin/bash"]\n')
    assert list(instructions("# a\nRUN a && \\\n    # in between\n    b\n")) == [("RUN", "a && b")]


class Image(NamedTuple):
    work: Path

    def call(self, what: str, volume: Path, *words: str) -> subprocess.CompletedProcess[str]:
        apart = ["unshare", "--mount", "--pid", "--fork", "--net", "--propagation", "private"]
        command = [*apart, sys.executable, str(TOOL), what, str(self.work), str(volume), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, built in a clean Debian as the Containerfile says."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root on Linux")
    work = tmp_path_factory.mktemp("image")
    trial = [work / name for name in ("upper", "work", "on")]
    for folder in trial:
        folder.mkdir()
    upper, scratch, on = trial
    mount = f"mount -t overlay overlay -o lowerdir=/usr,upperdir={upper},workdir={scratch} {on}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("needs a file system on which overlays can be mounted")
    base = Path(BASE) if BASE else work / "base"
    if not BASE:
        if not shutil.which("debootstrap"):
            pytest.skip("needs debootstrap")
        release = parse(FILE.read_text(encoding="utf-8"))[0].base.partition(":")[2].removesuffix("-slim")
        subprocess.run(["debootstrap", "--variant=minbase", release, str(base)], check=True, stdout=subprocess.DEVNULL)
    apart = ["unshare", "--mount", "--pid", "--fork", "--propagation", "private"]
    subprocess.run([*apart, sys.executable, str(TOOL), "build", str(FILE), str(ROOT), str(base), str(work)], check=True)
    return Image(work)


@pytest.fixture
def volume(tmp_path, tiny_dataset) -> Path:
    place = tmp_path / "volume"
    place.mkdir()
    shutil.move(tiny_dataset, place / "people")
    onnx.save(build_model(), str(place / "model.onnx"))
    return place


@pytest.mark.slow
def test_the_image_enrolls_and_searches_without_torch_and_without_root(image, volume):
    enrolled = image.call("run", volume, "enroll", "people", "--model", "model.onnx", "--gallery", "gallery", "--json")
    assert enrolled.returncode == 0, enrolled.stderr
    said = image.call("run", volume, "search", "people/crops/north-00-0.png", "--gallery", "gallery", "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)["matches"]
    assert found[0]["distance"] <= found[-1]["distance"]
    assert found[0]["tracklet"] in {"north-00", "north-01", "south-00", "south-01"}, "the same person"
    assert (volume / "gallery").stat().st_uid == 10001


@pytest.mark.slow
def test_the_image_watches_and_sends_events(image, volume):
    from reid_toolkit.demo.footage import draw_footage

    drawn = draw_footage(volume / "footage", people=3, cameras=("north", "hall"), visits=1, size=(256, 144))
    videos = [f"footage/{path.name}" for path in drawn.videos.values()]
    wanted = ["--model", "model.onnx", "--gallery", "gallery", "--events", "events.jsonl", "--cores", "1", "--json"]
    said = image.call("run", volume, "watch", *videos, *wanted)
    assert said.returncode == 0, said.stderr
    seen = json.loads(said.stdout)
    assert seen["enrolled"] > 0
    assert seen["enrolled"] == sum(camera["enrolled"] for camera in seen["cameras"])
    events = [json.loads(line) for line in (volume / "events.jsonl").read_text().splitlines()]
    assert {event["kind"] for event in events} >= {"entered", "left"}
    assert {event["camera"] for event in events} == {"north", "hall"}


@pytest.mark.slow
def test_the_image_passes_its_own_examination(image, volume):
    said = image.call("run", volume, "doctor", "--model", "model.onnx", "--json")
    assert said.returncode == 0, said.stderr
    findings = {finding["name"]: finding for finding in json.loads(said.stdout)["findings"]}
    assert findings["model.onnx"]["facts"]["dimension"] == DIMENSION
    assert findings["onnxruntime"]["facts"]["build"].startswith("onnxruntime ")
    assert findings["watch"]["status"] == findings["mqtt"]["status"] == "ok"
    assert findings["train"]["status"] == "missing"
    assert {"h264", "hevc"} <= set(findings["video"]["facts"]["codecs"])


@pytest.mark.slow
def test_the_image_is_read_only_and_holds_no_compiler(image, volume):
    root = volume.parent
    packages = Path(json.loads((image.work / "image.json").read_text())["layer"]) / "opt" / "reid"
    names = {path.name.split("-")[0] for path in packages.rglob("*.dist-info")}
    assert {"onnxruntime", "opencv_python_headless", "reid_toolkit"} <= names
    assert not [name for name in names if name in ("torch", "pip", "triton") or name.startswith("nvidia")]
    assert not list(packages.parents[1].glob("usr/bin/*g++*"))
    said = image.call("run", volume, "gallery", "info", "/data/none")
    assert said.returncode == 1, "an error is the command's own"
    said = image.call("run", volume, "enroll", "people", "--model", "model.onnx", "--gallery", "/opt/gallery")
    assert said.returncode == 1
    assert "ead-only" in said.stderr or "ermission" in said.stderr, said.stderr
    assert root.is_dir()


@pytest.mark.slow
def test_the_image_serves_and_its_health_check_says_so(image, volume):
    if "serve" not in COMMANDS:
        pytest.skip("this checkout has no reid serve")
    assert (
        image.call("run", volume, "enroll", "people", "--model", "model.onnx", "--gallery", "gallery").returncode == 0
    )
    added = image.call("run", volume, "serve", "token", "add", "me", "--role", "admin", "--tokens", "tokens.json")
    assert added.returncode == 0, added.stderr
    said = image.call("health", volume)
    assert "\nhealthy" in f"\n{said.stdout}", said.stdout + said.stderr
    assert said.returncode == 0, said.stderr
