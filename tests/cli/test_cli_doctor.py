"""``reid doctor``: what it finds in this environment, in broken ones, and about a gallery and a model."""

import shutil
import sqlite3
import tomllib
from pathlib import Path

import pytest

from reid_toolkit.doctor import base, examination, extras, packages
from reid_toolkit.doctor.named import look_at_gallery
from reid_toolkit.doctor.probing import probe
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.session import has_package
from reid_toolkit.runtime.trial import Choice, chosen


@pytest.fixture(scope="module")
def healthy():
    """What the probes of the packages say here. They take a second each, so only some tests run them again."""
    return {name: probe(name) for name in ("onnxruntime", "opencv", "hnswlib", "video")}


@pytest.fixture
def quick(healthy, monkeypatch):
    """The probes of packages answer at once. Those of the gallery and the model are run."""
    monkeypatch.setattr(examination, "probe", lambda name, *a: healthy[name] if name in healthy else probe(name, *a))


def broken_package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    """Put a package in front of the installed one, for the processes that probe."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


def test_it_says_what_is_here(reid):
    here = {finding["name"]: finding for finding in reid("doctor", "--json").json["findings"]}
    assert {"system", "cores", "memory", "clock", "GPU", "disk here", "onnxruntime", "opencv-python", "hnswlib"} <= set(
        here
    )
    assert not [finding for finding in here.values() if finding["status"] == "broken"]
    assert "CPUExecutionProvider" in here["onnxruntime"]["facts"]["providers"]
    assert {".jpg", ".png"} <= set(here["opencv-python"]["facts"]["pictures"])
    assert {"h264", "hevc", "mjpeg"} <= set(here["video"]["facts"]["codecs"])
    assert here["ingest"]["status"] == "ok"


def test_every_optional_thing_has_the_line_that_mends_it(monkeypatch):
    monkeypatch.setattr(packages, "installed", dict)  # nothing is installed
    findings = extras.look_at_extras(None)
    assert len(findings) == len(extras.PURPOSES)
    assert {finding.status for finding in findings} == {"missing"}
    assert all(finding.mend == f"pip install '.[{finding.facts['extra']}]'" for finding in findings)


def test_no_extra_that_a_command_needs_is_forgotten():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_developers = {"all", "test", "load", "plots", "studies", "docs"}
    assert set(project["optional-dependencies"]) - of_developers <= {purpose.extra for purpose in extras.PURPOSES}


def test_people_read_lines_and_a_missing_extra_is_no_error(reid, quick, monkeypatch):
    monkeypatch.setattr(extras, "PURPOSES", (extras.Purpose("flying", "reid fly", "wings"),))
    said = reid("doctor")
    assert said.status == 0, said.err
    assert "  missing flying" in said.out
    assert "-> pip install '.[wings]'" in said.out
    assert said.out.splitlines()[-1].endswith("-m pip")
    monkeypatch.setattr("reid_toolkit.cli.doctor.find_spec", lambda _: None)
    assert "--build-arg EXTRAS=" in reid("doctor").out.splitlines()[-1]


def test_a_conflict_ends_with_status_1_and_one_line(reid, quick, monkeypatch):
    builds = [packages.Owner("onnxruntime", "1.31", ()), packages.Owner("onnxruntime-gpu", "1.31", ())]
    owners = packages.owners
    monkeypatch.setattr(
        packages, "owners", lambda family: builds if family.package == "onnxruntime" else owners(family)
    )
    said = reid("doctor")
    assert said.status == 1
    assert "broken  onnxruntime " in said.out
    assert "-> pip uninstall -y onnxruntime onnxruntime-gpu && pip install '.'" in said.out
    assert said.err.startswith("error: 1 thing cannot be used here: onnxruntime")
    assert len(said.err.splitlines()) == 1


def test_a_package_that_crashes_on_this_processor_is_found(tmp_path, monkeypatch):
    broken_package(tmp_path, monkeypatch, "hnswlib", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    finding = base.imported("hnswlib", probe("hnswlib"), gpu=False)
    assert finding.status == "broken"
    assert "SIGILL" in finding.found
    assert "HNSWLIB_NO_NATIVE=1" in str(finding.mend)


def test_a_system_library_that_is_missing_is_named_with_its_package(tmp_path, monkeypatch):
    said = "libGL.so.1: cannot open shared object file: No such file or directory"
    broken_package(tmp_path, monkeypatch, "cv2", f"raise ImportError({said!r})")
    finding = base.imported("opencv", probe("opencv"), gpu=False)
    assert (finding.status, finding.mend) == ("broken", "apt-get install libgl1 libglib2.0-0")
    assert said in finding.found


def test_what_a_package_prints_does_not_disturb(tmp_path, monkeypatch):
    code = "import os; print('noise'); os.write(1, b'more noise'); raise OSError('no')"
    broken_package(tmp_path, monkeypatch, "hnswlib", code)
    assert probe("hnswlib") == {"error": "no", "kind": "OSError"}


def test_a_probe_that_does_not_end_is_given_up(tmp_path, monkeypatch):
    broken_package(tmp_path, monkeypatch, "hnswlib", "import time; time.sleep(600)")
    assert probe("hnswlib", seconds=1) == {"error": "does not answer within 1 s"}


@pytest.mark.parametrize(
    ("answer", "mend"),
    [
        ({"error": "libxyz.so.3: cannot open shared object file"}, "install the system package with libxyz.so.3"),
        ({"error": "libgomp.so.1: cannot open shared object file"}, "apt-get install libgomp1"),
        ({"error": "No module named 'numpy'", "kind": "ModuleNotFoundError", "package": "numpy"}, "pip install '.'"),
        (
            {"error": "something else"},
            f"pip install --force-reinstall --no-deps hnswlib=={packages.version_of('hnswlib')}",
        ),
    ],
)
def test_remedies(answer, mend):
    assert base.remedy("hnswlib", answer) == mend


def test_a_gpu_that_is_not_used_is_a_note():
    facts = {"providers": ["CPUExecutionProvider"], "cuda": None}
    finding = base.providers("onnxruntime", "onnxruntime 1.31", facts, gpu=True)
    assert finding.status == "note"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu &&" in str(finding.mend)
    facts = {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda": "libcudnn.so.9: cannot open"}
    finding = base.providers("onnxruntime", "onnxruntime-gpu 1.31", facts, gpu=True)
    assert "libcudnn" in finding.found
    assert "pip install torch" in str(finding.mend)
    assert base.providers("onnxruntime", "x", facts | {"cuda": "works"}, gpu=True).status == "ok"


def test_a_gallery_and_its_model_are_tried_together(reid, quick, gallery, model):
    document = reid("doctor", "--gallery", gallery, "--model", model, "--json").json
    found = {finding["area"]: finding for finding in document["findings"]}
    assert (found["gallery"]["status"], found["model"]["status"]) == ("ok", "ok")
    assert found["gallery"]["facts"]["records"] > 0
    assert found["gallery"]["facts"]["model"] == found["model"]["facts"]["fingerprint"]


def test_what_cannot_be_used_ends_with_status_1(reid, quick, tmp_path):
    (tmp_path / "damaged.onnx").write_bytes(b"not a model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.txt").write_text("")
    said = reid("doctor", "--gallery", tmp_path / "other", "--model", tmp_path / "damaged.onnx")
    assert said.status == 1
    assert "is not a gallery" in said.out
    assert "not a usable ONNX model" in said.out
    assert said.err.startswith("error: 2 things cannot be used here: ")


def test_it_says_where_a_model_runs_and_why(reid, quick, model, tmp_path, monkeypatch):
    def found() -> str:
        return reid("doctor", "--model", model, "--json").json["findings"][-1]["found"]

    assert "the environment variable REID_PROVIDER names cpu" in found()
    monkeypatch.delenv("REID_PROVIDER")
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    fingerprint = Embedder(model, providers=["cpu"]).fingerprint
    chosen(fingerprint, 3, 16, lambda: Choice("openvino", "cpu", "it was 1.50 times as fast"))
    if "CUDAExecutionProvider" in Embedder(model, trial=False)._session.get_providers():
        return  # a GPU is used without a trial
    words = "in batches of 16, 3 threads: openvino for several crops, cpu for a crop alone: it was 1.50 times as fast"
    assert (words in found()) is has_package()
    shutil.rmtree(tmp_path / "cache")
    assert ("the next command that embeds many crops measures" in found()) is has_package()
    assert not (tmp_path / "cache").exists(), "looking changes nothing"


def test_a_gallery_of_another_model_is_refused(gallery):
    held = probe("gallery", str(gallery))
    model = {"dimension": held["dimension"], "fingerprint": "0" * 16}
    finding = look_at_gallery(str(gallery), held, model)
    assert finding.status == "broken"
    assert "another model" in finding.found


def test_a_gallery_of_an_older_toolkit_is_not_upgraded(reid, quick, gallery):
    with sqlite3.connect(gallery / "gallery.sqlite") as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    before = {file.name: file.read_bytes() for file in gallery.iterdir() if file.is_file()}
    document = reid("doctor", "--gallery", gallery, "--json").json
    finding = document["findings"][-1]
    assert (finding["status"], finding["facts"]["version"]) == ("note", 3)
    assert "reid gallery info" in finding["mend"]
    assert {file.name: file.read_bytes() for file in gallery.iterdir() if file.is_file()} == before


def test_looking_makes_nothing(reid, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    said = reid("doctor", "--gallery", tmp_path / "gone")
    assert said.status == 1
    assert "no gallery there" in said.out
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_the_gallery_says_that_its_own_is_gone(reid, gallery, model, tmp_path):
    held = probe("gallery", str(gallery)) | {"model_file": str(tmp_path / "moved.onnx")}
    finding = look_at_gallery("g", held, None)
    assert (finding.status, finding.mend) == ("note", "give commands --model FILE")
    held |= {"model_file": None, "last": 4e9}
    assert "in the future" in look_at_gallery("g", held, None).found
    held |= {"last": None, "writable": False}
    assert "cannot write" in look_at_gallery("g", held, None).found


def test_the_folder_of_a_gallery_with_an_odd_name_is_printed_safely(reid, quick, gallery, tmp_path):
    odd = tmp_path / "a\x1b[31mb"
    shutil.copytree(gallery, odd)
    said = reid("doctor", "--gallery", odd)
    assert said.status == 0, said.err
    assert "\x1b" not in said.out
