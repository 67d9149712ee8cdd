import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from once import made_once
from small_backbone import SMALL
from three_people import Run
from three_people import dataset as dataset
from three_people import model as model

from reid_toolkit.cli import main
from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.demo.footage import draw_footage
from reid_toolkit.demo.truth import label_tracklets, read_truth, write_identities


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout, which ``--json`` makes one document."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that a failed command says."""
        assert (self.status, self.out) == (1, ""), self.err
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if "error" in line.lower()]
        assert line.startswith("error: ")
        assert self.err.rstrip().endswith(line)
        return line


Reid = Callable[..., Result]


def call(*arguments: object) -> Result:
    with (
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    return Result(int(left.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def reid() -> Reid:
    """``reid("train", dataset, ...)``: the command in this process, with its status and what it said."""
    return call


RECIPE = f"""
[network]
backbone = "{SMALL}"
weights = "none"
embedding = 16
height = 32
width = 32
[training]
frames = 2
batch_size = 4
first_epochs = 2
later_epochs = 1
first_learning_rate = 0.02
[merging]
fraction = 0.3
"""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


class Walked(NamedTuple):
    """The whole path, walked once; not to be changed."""

    dataset: Path
    identities: Path
    run: Path
    model: Path
    gallery: Path
    reports: dict[str, Any]
    """What each command said with --json."""


@pytest.fixture(scope="session")
def walked(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    def make(folder: Path) -> None:
        root = folder.with_name("walked")  # where it stays, because galleries and reports name files in it
        shutil.rmtree(root, ignore_errors=True)
        (folder / "reports.json").write_text(json.dumps(walk(root, recipe).reports))

    reports = made_once(tmp_path_factory, "reports of walked", make) / "reports.json"
    return walked_in(reports.parent.with_name("walked"), json.loads(reports.read_text()))


def walked_in(root: Path, reports: dict[str, Any]) -> Walked:
    return Walked(root / "people", root / "who.csv", root / "run", root / "model.onnx", root / "gallery", reports)


def walk(root: Path, recipe: Path) -> Walked:
    here = walked_in(root, {})
    footage = draw_footage(root / "footage", people=3, cameras=("north", "hall"), visits=2, size=(256, 144))

    def step(command: str, *arguments: object) -> None:
        here.reports[command] = call(command, *arguments, "--json").json

    step("ingest", *footage.videos.values(), "--out", here.dataset)
    write_identities(here.identities, label_tracklets(read_manifest(here.dataset), read_truth(footage.truth)))
    step("train", here.dataset, "--recipe", recipe, "--out", here.run, "--device", "cpu")
    step("export", here.run, "--dataset", here.dataset, "--out", here.model)
    step("enroll", here.dataset, "--model", here.model, "--gallery", here.gallery)
    wanted = read_manifest(here.dataset).tracklets[0].name
    step(
        "search", here.dataset, "--tracklet", wanted, "--gallery", here.gallery, "--top-k", 3,
        "--identities", here.identities,
    )  # fmt: skip
    step(
        "evaluate", here.model, here.dataset, "--identities", here.identities, "--html", root / "report.html",
    )  # fmt: skip
    return here


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def reid(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return reid


@pytest.fixture
def gallery(run: Run, dataset: Path, model: Path, tmp_path: Path) -> Path:
    assert run("enroll", dataset, "--model", model, "--gallery", tmp_path / "g")[0] == 0
    return tmp_path / "g"
