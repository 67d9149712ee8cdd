"""Where models lie, and what a name stands for."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reid_toolkit.catalogue.cache import alone, cache_folder, folder_of, is_here, model_file, named_model
from reid_toolkit.catalogue.entries import find_entry
from reid_toolkit.errors import InputError

EMBEDDER, DETECTOR = find_entry("person-reidentification-retail-0286"), find_entry("person-detection-0200")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_cache_is_where_it_is_said_or_where_the_platform_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REID_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("REID_CACHE", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/reid")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its standard has us ignore
    assert cache_folder() == Path("/home/somebody/.cache/reid")


def test_without_a_home_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("REID_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError, match="no home folder for downloaded models: set REID_CACHE"):
        cache_folder()


def test_a_name_is_the_adopted_file_of_an_embedder(cache: Path) -> None:
    with pytest.raises(InputError, match=f"download it with `reid models get {EMBEDDER.name}`"):
        named_model(EMBEDDER.name, "embedder")
    put(folder_of(EMBEDDER) / EMBEDDER.files[0].name)
    assert not is_here(EMBEDDER)
    put(cache / "models" / f"{EMBEDDER.name}.onnx")
    assert named_model(EMBEDDER.name, "embedder") == model_file(EMBEDDER) == cache / "models" / f"{EMBEDDER.name}.onnx"


def test_a_name_is_the_first_file_of_a_detector_that_is_whole(cache: Path) -> None:
    first = put(folder_of(DETECTOR) / "person-detection-0200.xml")
    assert not is_here(DETECTOR)
    put(first.with_suffix(".bin"))
    assert named_model(DETECTOR.name, "detector") == first == cache / "models" / DETECTOR.name / first.name


def test_the_other_kind_is_refused() -> None:
    with pytest.raises(InputError, match="is a detector, expected an embedder"):
        named_model(DETECTOR.name, "embedder")
    with pytest.raises(InputError, match="is an embedder, expected a detector"):
        named_model(EMBEDDER.name, "detector")


def test_only_names_near_those_of_the_kind_are_suggested() -> None:
    with pytest.raises(InputError, match=r"yolox_tiny\.onnx: no such file, and no model .* mean 'yolox_tiny'"):
        named_model("yolox_tiny.onnx", "detector")
    assert named_model("yolox_tiny.onnx", "embedder") is None
    for path in ("model.onnx", "runs/0286", "/0286", "", ".", "0286/"):
        assert named_model(path, "embedder") is None


def test_two_processes_take_turns() -> None:
    program = f"""
import sys
from reid_toolkit.catalogue.cache import alone
from reid_toolkit.catalogue.entries import find_entry
with alone(find_entry({EMBEDDER.name!r}), print):
    print("in", flush=True)
    sys.stdin.read()
"""
    order: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"

        def wait() -> None:
            order.append("waits")
            threading.Timer(0.1, other.stdin.close).start()

        with alone(EMBEDDER, wait) as folder:
            order.append("in")
        assert folder == folder_of(EMBEDDER)
        other.wait()
        other.stdin = None  # closed already
    assert order == ["waits", "in"]
    assert other.returncode == 0


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file")
    with (
        pytest.raises(InputError, match=r"cannot be written \(Not a directory\): set REID_CACHE"),
        alone(EMBEDDER, lambda: None),
    ):
        pass
