"""reid models as a user runs it, and names where a model's file is taken."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from drawn_yard import write_video
from model_server import Offer, serving
from third_party import DIMENSION, build, save

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.records import Crop


class Place(NamedTuple):
    """A catalogue of two models, a mirror that has them, and a cache that has none."""

    catalogue: Path
    offer: Offer
    mirror: str
    cache: Path


ENTRY = """
[[model]]
name = "{name}"
kind = "{kind}"
publisher = "somebody"
page = "https://publisher.example"
licence = "MIT"
licence_text = "https://publisher.example/licence"
trained_on = "{trained_on}"
published = ""
height = 32
width = 16
output = "{output}"
{more}
"""
FILE = """
[[model.files]]
address = "https://publisher.invalid/{name}"
bytes = {size}
sha256 = "{digest}"
"""


def file_of(name: str, content: bytes) -> str:
    return FILE.format(name=name, size=len(content), digest=hashlib.sha256(content).hexdigest())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    embedder = save(build(), tmp_path / "published.onnx").read_bytes()
    graph, weights = b"<net/>" * 20_000, bytes(range(256)) * 400
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        ENTRY.format(
            name="small-eyes", kind="embedder", trained_on="", output=f"{DIMENSION} numbers",
            more='preset = "imagenet"\nrank1 = 12.5\nmap = 9.0',
        ) + file_of("published.onnx", embedder)
        + ENTRY.format(name="finder", kind="detector", trained_on="COCO", output="SSD", more="")
        + file_of("finder.xml", graph) + file_of("finder.bin", weights)
    )  # fmt: skip
    monkeypatch.setattr("reid_toolkit.catalogue.entries.CATALOGUE", catalogue)
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "REID_MODELS_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    offer = Offer({
        "/small-eyes/published.onnx": embedder, "/finder/finder.xml": graph, "/finder/finder.bin": weights,
    })  # fmt: skip
    with serving(offer) as address:
        yield Place(catalogue, offer, address, tmp_path / "cache")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    crops = []
    for number, picture in enumerate(draw_crops(6)):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), picture)
        crops.append(Crop(path, "ab"[number % 2], f"t{number}", frame=0, time=0.0))
    write_manifest(folder, crops)
    return folder


def test_models_are_listed(reid, place: Place) -> None:
    said = reid("models")
    assert said.status == 0
    assert [line.split() for line in said.out.splitlines() if line] == [
        ["embedder", "input", "MB", "rank-1", "/", "mAP", "trained", "on", "licence", "here"],
        ["small-eyes", "32x16", "0.0", "12.5", "/", "9.0", "not", "told", "MIT", "no"],
        ["detector", "input", "MB", "gives", "trained", "on", "licence", "here"],
        ["finder", "32x16", "0.2", "SSD", "COCO", "MIT", "no"],
    ]
    assert max(map(len, said.out.splitlines())) < 80
    assert "`reid models get NAME` downloads it" in said.err
    eyes, finder = reid("models", "--json").json
    assert (eyes["trained_on"], eyes["measured"]["map"], eyes["here"]) == ("not told", 9.0, False)
    assert [file["address"] for file in finder["files"]] == [
        "https://publisher.invalid/finder.xml", "https://publisher.invalid/finder.bin",
    ]  # fmt: skip
    assert all(len(file["sha256"]) == 64 for file in finder["files"])


def test_all_of_one_is_shown(reid, place: Place) -> None:
    told = reid("models", "show", "finder", "--json").json
    shown = reid("models", "show", "finder").out
    for file in told["files"]:
        assert f"  {file['address']}\n" in shown
        assert re.search(rf"sha256 +{file['sha256']}$", shown, re.MULTILINE)
    assert re.search(r"^measured +rank-1 12.5, mAP 9.0: CUHK03", reid("models", "show", "small-eyes").out, re.MULTILINE)
    assert reid("models", "show", "findr").error.startswith("error: findr: no such model (did you mean 'finder'?)")


def test_an_embedder_is_downloaded_adopted_and_taken_by_its_name(reid, place: Place, people: Path, tmp_path) -> None:
    got = reid("models", "get", "small-eyes", "--from", place.mirror)
    assert got.status == 0, got.err
    model = place.cache / "models" / "small-eyes.onnx"
    assert got.out == f"{model}: 0.0 MB, verified; commands take it as --model small-eyes\n"
    assert "on 34 drawn people" in got.err
    card = reid("model", "card", "small-eyes", "--json").json
    assert (card["license"], card["preset"], card["made_from"]) == ("MIT", "imagenet", "published.onnx")
    gallery = tmp_path / "g"
    assert reid("enroll", people, "--model", "small-eyes", "--gallery", gallery, "--json").json["enrolled"] == 6
    assert reid("gallery", "info", gallery, "--json").json["model_file"] == str(model)
    for options in ([], ["--model", "small-eyes"]):
        found = reid("search", people / "3.png", "--gallery", gallery, *options, "--json").json
        assert found["matches"][0]["tracklet"] == "t3"
    assert reid("embed", people, "--model", "small-eyes", "--out", tmp_path / "vectors", "--json").status == 0
    truth = tmp_path / "who.csv"
    truth.write_text("tracklet,identity\n" + "".join(f"t{n},p{n // 2}\n" for n in range(6)))
    assert reid("evaluate", "small-eyes", people, "--identities", truth, "--baseline", "small-eyes").status == 0


def test_a_second_get_does_nothing(reid, place: Place) -> None:
    for name, option in (("small-eyes", "--model"), ("finder", "--detector")):
        assert reid("models", "get", name, "--from", place.mirror, "--json").json["already_here"] is False
        asked = len(place.offer.asked)
        again = reid("models", "get", name)
        assert again.out.endswith(f": is here already; commands take it as {option} {name}\n")
        assert len(place.offer.asked) == asked
    assert [line.split()[-1] for line in reid("models").out.splitlines() if "MIT" in line] == ["yes", "yes"]


def test_what_is_damaged_in_the_cache_is_made_anew(reid, place: Place) -> None:
    for name in ("small-eyes", "finder"):
        reid("models", "get", name, "--from", place.mirror)
    model, weights = place.cache / "models" / "small-eyes.onnx", place.cache / "models" / "finder" / "finder.bin"
    held = model.read_bytes(), weights.read_bytes()
    model.write_bytes(held[0][:100])
    weights.write_bytes(held[1][:100])
    assert "small-eyes.onnx" in reid("models", "get", "small-eyes", "--from", place.mirror).err
    said = reid("models", "get", "finder", "--from", place.mirror).err
    assert f"{weights}: is not the file of the catalogue: it is downloaded again" in said
    assert weights.read_bytes() == held[1]
    assert reid("model", "card", model, "--json").status == 0
    assert place.offer.asked[-1][0] == "/finder/finder.bin"


def test_a_mirror_may_be_the_cache_of_another(reid, place: Place, monkeypatch, tmp_path: Path) -> None:
    reid("models", "get", "finder", "--from", place.mirror)
    lying = {f"/m/finder/{file.name}": file.read_bytes() for file in (place.cache / "models" / "finder").glob("f*")}
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "second"))
    with serving(Offer(lying)) as address:
        monkeypatch.setenv("REID_MODELS_MIRROR", f"{address}/m/")
        assert reid("models", "get", "finder", "--json").json["file"].endswith("second/models/finder/finder.xml")
    assert "expected the address of a mirror" in reid("models", "get", "small-eyes", "--from", "models").error


def test_without_a_network_files_may_be_put_there(reid, place: Place, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens, so no name is looked up either
    folder = place.cache / "models" / "finder"
    said = reid("models", "get", "finder").error
    assert said.startswith("error: https://publisher.invalid/finder.xml: cannot be reached (Connection refused): to ")
    assert said.endswith(
        f"fetch it and https://publisher.invalid/finder.bin elsewhere, put them into {folder}, and run this again"
    )
    for name in ("finder.xml", "finder.bin"):
        (folder / name).write_bytes(place.offer.files[f"/finder/{name}"])
    assert reid("models", "get", "finder", "--json").json["file"] == str(folder / "finder.xml")


def test_a_name_that_is_not_here_is_one_line(reid, place: Place, people: Path, tmp_path: Path) -> None:
    missing = "is not on this machine yet: download it with `reid models get {}` ("
    for words in (
        ["enroll", people, "--model", "small-eyes", "--gallery", tmp_path / "g"],
        ["embed", people, "--model", "small-eyes", "--out", tmp_path / "v"],
        ["calibrate", people, "--model", "small-eyes"],
        ["search", people / "1.png", "--model", "small-eyes", "--gallery", tmp_path / "g"],
        ["gallery", "forget", tmp_path / "g", "--model", "small-eyes"],
        ["watch", tmp_path / "v.mp4", "--model", "small-eyes", "--gallery", tmp_path / "g"],
        ["evaluate", "small-eyes", people],
        ["evaluate", people / "1.png", people, "--baseline", "small-eyes"],
        ["export", "small-eyes", "--int8", "--out", tmp_path / "o.onnx"],
        ["model", "card", "small-eyes"],
        ["train", people, "--out", tmp_path / "run", "--teacher", "small-eyes"],
    ):
        assert missing.format("small-eyes") in reid(*words).error
    for words in (
        ["ingest", tmp_path / "v.mp4", "--out", tmp_path / "d", "--detector", "finder"],
        ["search", people / "1.png", "--gallery", tmp_path / "g", "--detect", "--detector", "finder"],
        ["watch", tmp_path / "v.mp4", "--model", people / "1.png", "--gallery", tmp_path / "g", "--detector", "finder"],
    ):
        assert missing.format("finder") in reid(*words).error
    assert not (tmp_path / "d").exists()


def test_slips_in_names_are_one_line(reid, place: Place, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    assert reid("enroll", people, "--model", "smal-eyes", "--gallery", gallery).error == (
        "error: smal-eyes: no such file, and no model of `reid models` (did you mean 'small-eyes'?)"
    )
    assert "finder: is a detector, expected an embedder" in reid("model", "card", "finder").error
    ingest = ["ingest", write_video(tmp_path / "v.avi"), "--out", tmp_path / "d", "--detector"]
    assert "(did you mean 'finder'?)" in reid(*ingest, "fnder").error
    assert "unknown detector" in reid(*ingest, "elephant").error
    assert "cannot read the model: No such file" in reid("model", "card", "model.onnx").error


def test_a_file_of_that_name_wins(reid, place: Place, monkeypatch, tmp_path: Path) -> None:
    reid("models", "get", "small-eyes", "--from", place.mirror)
    monkeypatch.chdir(tmp_path)
    Path("small-eyes").mkdir()  # a folder is no model
    assert reid("model", "card", "small-eyes", "--json").json["file"].endswith("models/small-eyes.onnx")
    Path("small-eyes").rmdir()
    Path("small-eyes").write_text("no model")
    assert reid("model", "card", "small-eyes").error.startswith("error: small-eyes: ")


def test_a_detectors_name_is_its_file(reid, place: Place, monkeypatch, tmp_path: Path) -> None:
    reid("models", "get", "finder", "--from", place.mirror)
    asked: list[str] = []

    def load(kind: str, *_: object, **__: object) -> None:
        asked.append(kind)
        raise RuntimeError

    monkeypatch.setattr("reid_toolkit.footage.ingest.load_detector", load)
    for name in ("finder", "motion"):
        with pytest.raises(RuntimeError):
            reid("ingest", write_video(tmp_path / "v.avi"), "--out", tmp_path / "d", "--detector", name)
    assert asked == [str(place.cache / "models" / "finder" / "finder.xml"), "motion"]


@pytest.mark.parametrize(("typed", "expected"), [((), [1]), (("--person-label", 3), [3])])
def test_the_catalogue_knows_which_label_is_a_person(
    reid, place: Place, monkeypatch, tmp_path: Path, typed: tuple[object, ...], expected: list[int]
) -> None:
    place.catalogue.write_text(
        place.catalogue.read_text().replace('name = "finder"', 'name = "finder"\nperson_label = 1')
    )
    reid("models", "get", "finder", "--from", place.mirror)
    labels: list[int | None] = []

    def load(kind: str, *_: object, person_label: int | None = None) -> None:
        labels.append(person_label)
        raise RuntimeError

    monkeypatch.setattr("reid_toolkit.footage.ingest.load_detector", load)
    with pytest.raises(RuntimeError):
        reid("ingest", write_video(tmp_path / "v.avi"), "--out", tmp_path / "d", "--detector", "finder", *typed)
    assert labels == expected


def test_what_an_embedder_needs_is_said_before_its_download(reid, place: Place, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    place.catalogue.write_text(place.catalogue.read_text().replace("published.onnx", "published.xml"))
    said = reid("models", "get", "small-eyes", "--from", place.mirror).error
    assert "needs openvino, which is not installed: in reid's checkout, pip install '.[openvino]'" in said
    assert not place.offer.asked


def test_json_in_the_wrong_place_is_wrong_usage(reid, place: Place) -> None:
    found = reid("models", "--json", "show", "finder")
    assert found.status == 2
    assert "--json must come after show" in found.err


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_goes_on(reid, place: Place, sign: signal.Signals) -> None:
    """In a process of its own, whose server sends half of the second file and then nothing more."""
    program = (
        "import sys, reid_toolkit.catalogue.entries as entries\nfrom pathlib import Path\n"
        f"entries.CATALOGUE = Path({str(place.catalogue)!r})\n"
        "import reid_toolkit.catalogue.download as download\nread = download.read\n"
        "def slow(response, address):\n"
        "    if 'bin' in address and response.length < 50000: print('half', flush=True); sys.stdin.read()\n"
        "    return read(response, address)\n"
        "download.read, download.CHUNK = slow, 1 << 13\n"
        f"from reid_toolkit.cli import main\nmain(['models', 'get', 'finder', '--from', {place.mirror!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, sign)
        _, err = process.communicate()
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1].startswith("error: interrupted; finished work is kept")
    half = (place.cache / "models" / "finder" / "finder.bin.part").stat().st_size
    assert 40_000 < half < 102_400
    assert reid("models", "get", "finder", "--from", place.mirror).status == 0
    assert place.offer.asked[-1] == ("/finder/finder.bin", f"bytes={half}-")
    assert [path for path, _ in place.offer.asked].count("/finder/finder.xml") == 1
