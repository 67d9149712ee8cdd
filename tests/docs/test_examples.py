"""The examples of the pages run, on drawn people: all Python, the JSON, and the commands on datasets and galleries."""

import ast
import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from textwrap import dedent

import cv2
import onnx
import pytest
from crowd import write_crowd
from tiny_model import build_model

from reid_toolkit.calibration import beside
from reid_toolkit.calibration.measure import measure
from reid_toolkit.cli import main
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.gallery import Gallery
from reid_toolkit.live.events.event import Event
from reid_toolkit.people.book import Book
from reid_toolkit.runtime import Embedder

pytest.importorskip("torch")  # people are grouped with it
ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")])
CODE = re.compile(r"^```(\w*)\n([\s\S]*?)^```$|((?:^    .*\n|^\n)+)", re.MULTILINE)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of each block of code. Indented blocks have no language."""
    for found in CODE.finditer(page.read_text(encoding="utf-8")):
        if text := dedent(found[2] or found[3]).strip():
            yield found[1] or "", text


def is_python(language: str, text: str) -> bool:
    return language == "python" or (not language and re.match(r"(from|import) \w", text) is not None)


PYTHON = [
    (page.name, number, text)
    for page in PAGES
    for number, text in enumerate(text for language, text in blocks(page) if is_python(language, text))
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: datasets, pictures, a model, its calibration and a gallery."""
    world = tmp_path_factory.mktemp("drawn")
    write_crowd(world / "people", identities=True)
    crops = [crop for tracklet in open_dataset(world / "people").tracklets for crop in tracklet.crops]
    write_manifest(world / "people", [replace(crop, x=9.0, y=9.0, width=30.0, height=60.0) for crop in crops])
    write_crowd(world / "newer", seed=1)
    dataset = open_dataset(world / "people")
    (world / "crops").mkdir()
    for name in ("a.jpg", "b.jpg", "someone.jpg", "somebody.jpg", "crops/1.jpg", "crops/2.jpg"):
        cv2.imwrite(str(world / name), cv2.imread(str(dataset.tracklets[0].crops[0].path)))
    (world / "crops.txt").write_text("".join(f"{crop.path}\n" for crop in dataset.tracklets[0].crops))
    rows = [f"{tracklet.name},{tracklet.identity}" for tracklet in dataset.tracklets]
    for name in ("who.csv", "identities.csv"):
        (world / name).write_text("\n".join(["tracklet,identity", *rows]) + "\n")
    boxes = "".join(f"{frame},1,{10 * frame},20,40,90,1,-1,-1,-1\n" for frame in range(1, 20))
    for name in ("truth.txt", "result.txt"):
        (world / name).write_text(boxes)
    for name in ("model.onnx", "small.onnx"):
        onnx.save(build_model(), str(world / name))
    embedder = Embedder(world / "model.onnx")
    measure(embedder, open_dataset(world / "newer")).save(beside(world / "model.onnx"))
    return world


@pytest.fixture
def here(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the drawn folder, as the working directory."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "number", "text"), PYTHON, ids=[f"{page}-{number}" for page, number, _ in PYTHON])
def test_each_python_example_runs(page: str, number: int, text: str, here: Path) -> None:
    if "mkdir()" in text or 'Gallery.open("people"' in text:  # it makes the folder itself
        shutil.rmtree(here / "people")
    pictures = [cv2.imread(str(path)) for path in sorted((here / "newer").rglob("*.png"))[:4]]
    exec(compile(text, f"{page}, Python example {number}", "exec"), {"crops": pictures})


def test_there_are_python_examples() -> None:
    assert {page for page, _, _ in PYTHON} >= {"calibration.md", "data.md", "edge.md", "gallery.md", "method.md"}
    assert all(ast.parse(text) for _, _, text in PYTHON)


# JSON

JSON = [(page.name, text) for page in PAGES for _, text in blocks(page) if text.startswith("{")]


def names(document: object) -> set[str]:
    """The names in a JSON document; those of an inner object after the outer name and a dot."""
    inner = document.items() if isinstance(document, dict) else ()
    below = {f"{name}.{part}" for name, value in inner for part in names(value)}
    each = {name for value in document for name in names(value)} if isinstance(document, list) else set()
    return set(document if isinstance(document, dict) else ()) | below | each


def json_of(capsys: pytest.CaptureFixture[str], line: str) -> dict:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line))
    said = capsys.readouterr()
    assert not left.value.code, said.err
    return json.loads(said.out) if "--json" in line else {}


def example(page: str, start: str) -> dict:
    (found,) = [text for name, text in JSON if name == page and text.startswith(start)]
    return json.loads(found)


def test_each_json_example_is_json_and_known_here() -> None:
    assert all(json.loads(text) for _, text in JSON)
    assert sorted(page for page, _ in JSON) == ["events.md", "gallery.md", "gallery.md"], "compare it with the real one"


def test_the_event_of_the_page_has_the_fields_of_an_event() -> None:
    assert list(example("events.md", '{"kind"')) == [field.name for field in fields(Event)]


def test_the_search_of_the_page_has_the_fields_of_a_search(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_of(capsys, "enroll people --model model.onnx --gallery G")
    found = json_of(capsys, "search a.jpg --gallery G --group tracklet --top-k 2 --json")
    assert names(example("gallery.md", '{"schema"')) == names(found)


def test_the_line_of_the_audit_log_has_the_fields_of_a_search(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_of(capsys, "enroll people --model model.onnx --gallery G")
    json_of(capsys, "gallery audit G on")
    json_of(capsys, "search a.jpg --gallery G --camera hall --query-camera door")
    lines = (here / "G" / "audit.jsonl").read_text().splitlines()
    (line,) = [found for found in map(json.loads, lines) if found["action"] == "search"]
    shown = example("gallery.md", '{"line"')
    assert set(shown) == set(line)
    assert set(shown["filters"]) <= set(line["filters"])


# Commands

RUN = ("calibrate", "dataset", "embed", "enroll", "evaluate", "gallery", "model", "people", "search", "tracks")
"""The commands that run. The others need recordings, training, a download, a stream or a server."""

NOT_HERE = ("milvus://", "s3://", "--ray ", "--detect ", "person-reidentification-retail", "--after CURSOR")
"""What a line has that needs a server, a download, or the answer to an earlier line."""

WORDS = {
    "DATASET": "people", "TEST": "people", "G": "gallery", "ID": "door-0-0", "FOLDER": "folder",
    "square": "door", "lobby": "door", "square-vtest-00001": "door-0-0", "451": "2",
    "hall-00004": "hall-0-4", "hall-00007": "hall-0-0", "hall-00009": "hall-1-0", "hall-00011": "hall-1-4",
}  # fmt: skip
"""What stands for a name on the pages, and what it is called here."""

ASKS = ("forget", "purge", "retention")
"""These ask before they delete. Nobody answers here."""


def lines(page: Path) -> list[str]:
    """The commands of a page that run here, in the order of the page."""
    typed = re.findall(r"^(?:    |\$ )?reid ([a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        line
        for line in typed
        if line.split()[0] in RUN and not any(word in line for word in (*NOT_HERE, "...", "|"))
    ]  # fmt: skip


def words(line: str, known: dict[str, str]) -> list[str]:
    """The line as it is typed here. ``known`` says what else stands for a name of the page."""
    typed = [known.get(word, WORDS.get(word, word)) for word in shlex.split(line, comments=True)]
    return [*typed, *(["--yes"] if len(typed) > 1 and typed[1] in ASKS else [])]


def people_of(gallery: Path, known: dict[str, str]) -> dict[str, str]:
    """What stands for the people of a page and for their tracklets: the two people with the most records, at first."""
    with Gallery.open(gallery, create=False) as store:
        book = Book(store, str(gallery), now=time.time())
    if "person-000012" not in known:
        most = sorted(book.by_person, key=lambda person: -len(book.by_person[person]))
        known |= {"person-000012": book.name(most[0]), "person-000031": book.name(most[1])}
    shown = [record for record, belongs in book.grouped if book.name(belongs.person) == known["person-000012"]]
    if len(shown) > 2:
        known["hall-00007"], known["hall-00009"] = shown[-1].tracklet, shown[-2].tracklet
        known["hall-00007@hall"] = f"{shown[-1].tracklet}@{shown[-1].camera}"
    return known


def test_there_are_commands_to_run() -> None:
    assert sum(len(lines(page)) for page in PAGES) > 60


@pytest.mark.parametrize("page", [page for page in PAGES if lines(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_of(capsys, "enroll people --model model.onnx --gallery gallery")
    failed, known = [], {}
    for number, line in enumerate(lines(page)):
        known["OUT"] = f"out-{number}"
        with pytest.raises(SystemExit) as left:
            main(words(line, known))
        said = capsys.readouterr()
        if left.value.code:
            failed.append(f"reid {line}: {said.err.strip()}")
        if line.startswith("people "):
            known = people_of(here / "gallery", known)
    assert not failed, "a wrong line, or one that WORDS or NOT_HERE should know"
