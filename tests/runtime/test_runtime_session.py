"""Which processor a session becomes, and how it says so. What onnxruntime answers is put in its mouth here."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.runtime import session as session_module
from reid_toolkit.runtime.session import PROVIDERS, open_session

CUDA, CPU = PROVIDERS["cuda"], PROVIDERS["cpu"]
SHORT = {name: short for short, name in PROVIDERS.items()}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], list[list[str]]]:
    """``machine(working)`` has an onnxruntime with all of ours, of which those named work; returns what is tried."""

    def build(working: set[str]) -> list[list[str]]:
        tried: list[list[str]] = []

        def session(content: bytes, options: object, providers: list[str], **_: object) -> SimpleNamespace:
            tried.append(providers)
            if PROVIDERS["tensorrt"] in providers and "tensorrt" not in working:
                raise RuntimeError("Please install TensorRT libraries")  # onnxruntime does that for this one only
            used = [name for name in dict.fromkeys([*providers, CPU]) if name == CPU or SHORT[name] in working]
            return SimpleNamespace(get_providers=lambda: used)

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
        return tried

    return build


def test_without_a_wish_all_are_tried_in_order_and_nothing_is_said(machine) -> None:
    tried = machine({"cuda"})
    assert open_session(b"", "m.onnx").get_providers() == [CUDA, CPU]
    every = [PROVIDERS[name] for name in ("tensorrt", "cuda", "cpu")]
    assert tried == [every, every[1:]]
    machine({"tensorrt", "cuda"})
    assert open_session(b"", "m.onnx").get_providers()[0] == PROVIDERS["tensorrt"]


def test_openvino_is_told_how_many_threads(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not look at the session's own number."""
    machine({"openvino"})
    given: list[dict[str, dict[str, str]]] = []
    plain = onnxruntime.InferenceSession

    def session(content: bytes, options: object, providers: list[str], provider_options: list, **_: object) -> object:
        given.append(dict(zip(providers, provider_options, strict=True)))
        return plain(content, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for threads in (3, None):
        open_session(b"", "m.onnx", threads, ["openvino", "cpu"])
    openvino = PROVIDERS["openvino"]
    assert given == [{openvino: {"num_of_threads": "3"}, CPU: {}}, {openvino: {}, CPU: {}}]


def test_threads_never_wait_busily_between_runs_and_within_one_only_when_asked_for(model: Path) -> None:
    for threads, within in ((None, "0"), (2, "1")):
        options = open_session(model.read_bytes(), "m.onnx", threads, ["cpu"]).get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == within


def test_tensorrt_alone_where_it_is_missing_is_the_cpu(machine) -> None:
    machine(set())
    with pytest.warns(RuntimeWarning, match=f"runs on {CPU}, not on Tensorrt"):
        open_session(b"", "m.onnx", providers=["tensorrt"])


def test_a_wish_that_comes_true_is_silent(machine) -> None:
    machine({"cuda"})
    assert open_session(b"", "m.onnx", providers=["cuda"], strict=True).get_providers()[0] == CUDA
    assert open_session(b"", "m.onnx", providers=[CUDA, "cpu"], strict=True).get_providers()[0] == CUDA


def test_another_processor_than_asked_for_is_said_aloud(machine) -> None:
    machine(set())
    with pytest.warns(RuntimeWarning, match=f"m.onnx: runs on {CPU}, not on {CUDA} as asked: it needs its device"):
        session = open_session(b"", "m.onnx", providers=["cuda"])
    assert session.get_providers()[0] == CPU
    machine({"cuda"})
    with pytest.warns(RuntimeWarning, match=f"runs on {CUDA}, not on Tensorrt"):
        open_session(b"", "m.onnx", providers=["tensorrt", "cuda"])


def test_a_gpu_that_raises_is_passed_over_too(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA does where there is a driver and no device, or one that CUDA_VISIBLE_DEVICES hides."""
    machine({"tensorrt", "cuda"})
    plain = onnxruntime.InferenceSession

    def session(content: bytes, options: object, providers: list[str], **others: object) -> object:
        if {CUDA, PROVIDERS["tensorrt"]} & set(providers):
            raise ValueError("CUDA failure 100: no CUDA-capable device is detected")
        return plain(content, options, providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert open_session(b"", "m.onnx").get_providers() == [CPU]
    with pytest.warns(RuntimeWarning, match=f"runs on {CPU}, not on {CUDA} as asked"):
        open_session(b"", "m.onnx", providers=["cuda"])
    with pytest.raises(ModelError, match=f"runs on {CPU}, not on {CUDA} as asked"):
        open_session(b"", "m.onnx", providers=["cuda"], strict=True)


def test_strict_refuses_it(machine) -> None:
    machine(set())
    with pytest.raises(ModelError, match=f"runs on {CPU}, not on {CUDA} as asked"):
        open_session(b"", "m.onnx", providers=["cuda", "cpu"], strict=True)


def test_one_that_this_onnxruntime_was_not_built_with_is_the_same_case(machine, monkeypatch) -> None:
    tried = machine({"openvino"})
    monkeypatch.setattr(session_module, "has_package", lambda: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.warns(RuntimeWarning, match=r"not on OpenVINOExecutionProvider as asked.*\(this one has CPU"):
        open_session(b"", "m.onnx", providers=["openvino"])
    assert tried == [[CPU]]


def test_what_is_no_provider_is_refused(machine) -> None:
    machine(set())
    with pytest.raises(InputError, match="no execution provider 'gpu': expected tensorrt, cuda, openvino, cpu"):
        open_session(b"", "m.onnx", providers=["gpu"])
    with pytest.raises(InputError, match="providers is the string 'cuda': expected a list"):
        open_session(b"", "m.onnx", providers="cuda")
    with pytest.raises(InputError, match="strict without providers"):
        open_session(b"", "m.onnx", strict=True)


@pytest.mark.parametrize("driver", [True, False])
def test_cuda_is_taken_out_of_nvidias_wheels_where_there_is_a_driver(
    driver: bool, machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[str] = []

    def load(name: str) -> None:
        if not driver:
            raise OSError(f"{name}: cannot open shared object file")

    def preload() -> None:
        print("Failed to load libcufft.so")
        loaded.append("cuda")

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    machine({"cuda"} if driver else set())
    open_session(b"", "m.onnx", providers=["cpu"])
    assert loaded == []
    assert open_session(b"", "m.onnx").get_providers()[0] == (CUDA if driver else CPU)
    assert loaded == ["cuda"] * driver
    assert capsys.readouterr().out == ""


USES = {
    "embedder": "from reid_toolkit.runtime import Embedder; Embedder(sys.argv[1])",
    "detector": "from reid_toolkit.footage.detector import load_detector; load_detector(sys.argv[1])",
    "INT8": "from reid_toolkit.export.activation_ranges import measure_ranges; import onnxruntime; "
    "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])",
}


@pytest.mark.parametrize("use", USES)
def test_nothing_is_noted_of_the_use_of_a_model(model: Path, tmp_path: Path, use: str) -> None:
    """onnxruntime writes what it will send into the home folder, from the first session on."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{USES[use]}", str(model)],
        env=os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}, capture_output=True, text=True,
    )  # fmt: skip
    assert use == "detector" or done.returncode == 0, done.stderr
    assert not [path for path in home.rglob("*") if "onnxruntime" in str(path)]


def test_nothing_is_noted_of_the_use_of_openvino(tmp_path: Path) -> None:
    """Its converter writes to the home folder when it is imported, and sends that it was."""
    pytest.importorskip("openvino", reason="needs openvino: pip install '.[openvino]'")
    used = "from reid_toolkit.runtime.openvino import import_openvino; import_openvino('this').Core()"
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", used],
        env=environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
