"""``tools/install.sh --edge``: small, whole, and it stays so."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import onnx
import pytest
from packaging.requirements import Requirement
from tiny_model import build_model

from reid_toolkit.doctor import packages

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "tools" / "install.sh"
STAND_INS = sorted((ROOT / "tools" / "edge").glob("*/pyproject.toml"))
LARGEST = 500 * 2**20
"""Bytes of the edge install. onnxruntime-gpu alone adds 300 MiB."""


def sh(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(INSTALL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize("file", STAND_INS, ids=lambda file: file.parent.name)
def test_a_stand_in_meets_what_reid_requires_and_brings_a_build_of_the_same_package(file):
    about = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    required = [need for line in ours if (need := Requirement(line)).name == about["name"]]
    assert len(required) == 1
    assert required[0].specifier.contains(about["version"])
    (brought,) = map(Requirement, about["dependencies"])
    assert packages.family_of(brought.name) == packages.family_of(about["name"]) is not None
    assert brought.specifier == required[0].specifier, "as new as reid requires"
    assert file.parent.name == about["name"]
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".egg-info" and path.name != "build"] == [
        "pyproject.toml"
    ]


def test_an_environment_with_a_large_build_is_not_touched(tmp_path):
    held = tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "onnxruntime_gpu-1.31.1.dist-info"
    held.mkdir(parents=True)
    said = sh("--edge", VENV=str(tmp_path / "venv"), PYTHON=sys.executable)
    assert said.returncode == 1
    assert "onnxruntime_gpu-1.31.1" in said.stderr
    assert "VENV=edge sh tools/install.sh --edge" in said.stderr
    assert not (tmp_path / "venv" / "bin").exists()


def test_an_unknown_option_is_refused():
    said = sh("--egde")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("unknown option --egde")


def test_a_second_argument_is_refused():
    said = sh("--edge", ".[footage]", ".[serve]")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("2 arguments: expected one")


def bare(folder: Path, system: str, *tools: str) -> str:
    """A PATH with a Python that lacks everything, on another system. It has only these tools besides."""
    folder.mkdir()
    stubs = dict.fromkeys(tools, "exit 0") | {
        "python3.12": 'case "$2" in *version_info*) exit 0 ;; *) exit 1 ;; esac',
        "uname": f"echo {system}",
    }
    for name, line in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    for name in ("sh", "dirname", "basename"):
        (folder / name).symlink_to(shutil.which(name) or "")
    return str(folder)


@pytest.mark.parametrize(
    ("system", "tools", "line"),
    [
        ("Linux", ["apt-get"], ": apt-get install -y python3.12-venv python3.12-dev g++ libgl1 libglib2.0-0\n"),
        ("Linux", ["apt-get", "g++"], ": apt-get install -y python3.12-venv python3.12-dev libgl1 libglib2.0-0\n"),
        ("Linux", [], ": python3.12-venv python3.12-dev g++ libgl1 libglib2.0-0 (their names in Debian; "),
        ("Darwin", ["g++"], ": python3.12-venv python3.12-dev (their names in Debian; "),
    ],
)
def test_what_is_missing_is_said_for_this_python_and_this_system(tmp_path, system, tools, line):
    said = sh(VENV=str(tmp_path / "venv"), PYTHON="python3.12", PATH=bare(tmp_path / "bin", system, *tools))
    assert (said.returncode, said.stdout) == (1, "")
    assert line in said.stderr
    assert ("apt-get" in said.stderr) == ("apt-get" in tools)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment, made by the script, from a copy of the checkout."""
    work = tmp_path_factory.mktemp("edge")
    said = sh("--edge", VENV=str(work / "venv"), PYTHON=sys.executable)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "broken" not in said.stdout
    return work / "venv"


def python(venv: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(venv / "bin" / "python"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=venv)


def reid(venv: Path, *words: object) -> Any:
    done = python(venv, venv / "bin" / "reid", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def installed(venv: Path) -> set[str]:
    done = python(venv, "-m", "pip", "list", "--format", "json")
    return {one["name"] for one in json.loads(done.stdout)}


@pytest.mark.slow
def test_the_edge_install_enrolls_and_searches(edge, tiny_dataset, tmp_path):
    model = tmp_path / "model.onnx"
    onnx.save(build_model(), str(model))
    gallery = tmp_path / "gallery"
    assert reid(edge, "enroll", tiny_dataset, "--model", model, "--gallery", gallery)["enrolled"] == 12
    found = reid(edge, "search", tiny_dataset / "crops" / "south-11-0.png", "--gallery", gallery)["matches"]
    assert found[0]["tracklet"] in {"north-10", "north-11", "south-10", "south-11"}, "the same person"
    examined = reid(edge, "doctor", "--gallery", gallery, "--model", model)
    assert examined["ok"] is True


@pytest.mark.slow
def test_the_edge_install_is_small_and_has_no_cuda(edge):
    names = installed(edge)
    assert not [name for name in names if name == "torch" or name.startswith(("nvidia", "triton", "cuda"))]
    held = next((edge / "lib").glob("python*")) / "site-packages"
    assert not list(held.glob("onnxruntime/capi/*cuda*"))
    size = sum(path.lstat().st_size for path in edge.rglob("*") if path.is_file())
    assert size < LARGEST
    assert python(edge, "-m", "pip", "check").returncode == 0


@pytest.mark.slow
def test_an_extra_that_is_installed_later_brings_no_large_build(edge):
    command = ["-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"]
    done = python(edge, *command, f"{ROOT}[footage,events]", "--upgrade", "--upgrade-strategy", "eager")
    assert done.returncode == 0, done.stderr
    brought = {one["metadata"]["name"] for one in json.loads(done.stdout)["install"]}
    assert {"av", "trackers", "paho-mqtt"} <= brought
    assert not brought & {"onnxruntime-gpu", "opencv-python", "opencv-contrib-python", "torch"}


@pytest.mark.slow
def test_the_script_leaves_the_edge_install_as_small_when_it_runs_again(edge):
    before = installed(edge)
    again = sh("--edge", VENV=str(edge), PYTHON=sys.executable)
    assert again.returncode == 0, again.stderr
    assert installed(edge) == before
    shutil.rmtree(edge)
