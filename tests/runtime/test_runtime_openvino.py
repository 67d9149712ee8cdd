"""The embedder in the package openvino: asked for by name, or chosen by a trial."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_model import PROJECTION, build_model

from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime import embedder as embedder_module
from reid_toolkit.runtime import session as session_module
from reid_toolkit.runtime.session import PROVIDERS
from reid_toolkit.runtime.trial import Choice

pytest.importorskip("openvino", reason="needs openvino: pip install '.[openvino]'")
pytestmark = pytest.mark.skipif(
    PROVIDERS["openvino"] in onnxruntime.get_available_providers(), reason="onnxruntime itself has OpenVINO here"
)

OPENVINO, CPU = PROVIDERS["openvino"], PROVIDERS["cpu"]


@pytest.fixture(autouse=True)
def unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_PROVIDER")
    monkeypatch.setenv("REID_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """``choose(several, alone)`` makes every measurement end so. Returns a list that grows with each."""

    def make(several: str, alone: str) -> list[Any]:
        measured: list[Any] = []

        def compare(plain: Any, other: Any, batch_size: int, size: tuple[int, int], cores: int) -> Choice:
            batch = np.random.default_rng(0).integers(0, 256, (5, *size, 3)).astype(np.uint8)
            measured.append((plain(batch), other(batch), plain(batch[:1]), other(batch[:1])))
            return Choice(several, alone, "as the test wants")  # type: ignore[arg-type]

        monkeypatch.setattr(embedder_module, "compare", compare)
        return measured

    return make


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (20 + i, 10 + i % 3, 3)).astype(np.uint8) for i in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
def test_by_name_it_gives_the_cpus_descriptors(model: Path, threads: int) -> None:
    there = Embedder(model, batch_size=4, threads=threads, providers=["openvino"], strict=True)
    assert (there.provider, there.provider_alone, there.choice) == (OPENVINO, OPENVINO, None)
    plain = Embedder(model, providers=["cpu"], threads=1)
    assert there.metadata == plain.metadata
    images = pictures(11)
    for count in (0, 1, 2, 11):
        np.testing.assert_allclose(there.embed(images[:count]), plain.embed(images[:count]), atol=1e-6)
    with pytest.raises(InputError, match="image 5: expected a uint8 array"):
        there.embed([image / 255 if number == 5 else image for number, image in enumerate(images)])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_can_share_it(model: Path, threads: int) -> None:
    there = Embedder(model, threads=threads, providers=["openvino"])
    images = pictures(40)
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(lambda image: there.embed([image])[0], images))
        several = list(pool.map(lambda first: there.embed(images[first : first + 5]), range(0, 40, 5)))
    expected = Embedder(model, providers=["cpu"]).embed(images)
    np.testing.assert_allclose(alone, expected, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(several), expected, atol=1e-6)


def test_it_computes_in_float32_on_every_processor(model: Path) -> None:
    there = Embedder(model, threads=2, providers=["openvino"])
    for session in (there._session, there._single):
        assert session._model.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"  # type: ignore[union-attr]
        assert not session._model.get_property("ENABLE_CPU_PINNING")  # type: ignore[union-attr]


def test_what_is_preferred_to_it_is_used_first(model: Path) -> None:
    assert Embedder(model, providers=["cpu", "openvino"]).provider == CPU
    assert Embedder(model, providers=["openvino", "cpu"]).provider == OPENVINO


def test_if_it_fails_the_cpu_is_used_and_said_aloud(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(session_module, "has_package", lambda: True)
    with pytest.warns(RuntimeWarning, match=f"runs on {CPU}, not on {OPENVINO} as asked: the package openvino failed"):
        assert Embedder(model, providers=["openvino"]).provider == CPU
    with pytest.raises(ModelError, match="the package openvino failed"):
        Embedder(model, providers=["openvino"], strict=True)


def test_damaged_files_are_refused_as_everywhere(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for content in (b"", b"a text\n" * 100, whole[: len(whole) // 2], bytes(5000)):
        model.write_bytes(content)
        with pytest.raises(ModelError, match="not a usable ONNX model"):
            Embedder(model, providers=["openvino"])
    weights = PROJECTION.copy()
    weights[3, 2] = np.nan
    onnx.save_model(build_model(weights), model)
    with pytest.raises(ModelError, match="the network is damaged"):
        Embedder(model, providers=["openvino"]).embed(pictures(1))
    onnx.save_model(build_model(batch=1), model)
    with pytest.raises(ModelError, match="the network failed on 2 images: "):
        Embedder(model, threads=1, providers=["openvino"]).embed(pictures(2))
    onnx.save_model(build_model(), model, save_as_external_data=True, location="weights.bin", size_threshold=100)
    with pytest.raises(ModelError, match="its weights are in a second file"):
        Embedder(model, providers=["openvino"])


CASES = [("openvino", "openvino"), ("openvino", "cpu"), ("cpu", "openvino"), ("cpu", "cpu")]


@pytest.mark.parametrize(("several", "alone"), CASES)
def test_each_case_runs_where_a_trial_chose(
    model: Path, choose: Callable[..., list[Any]], several: str, alone: str
) -> None:
    measured = choose(several, alone)
    for _ in range(2):  # measured, then remembered
        here = Embedder(model, batch_size=4, threads=2)
        assert (here.provider, here.provider_alone) == (PROVIDERS[several], PROVIDERS[alone])
        assert here.choice is not None
        assert here.choice.why == "as the test wants"
        images = pictures(9)
        expected = Embedder(model, providers=["cpu"]).embed(images)
        np.testing.assert_allclose(here.embed(images), expected, atol=1e-6)
        np.testing.assert_allclose(here.embed(images[:1]), expected[:1], atol=1e-6)
    ((plain, other, plain_alone, other_alone),) = measured
    np.testing.assert_allclose(plain, other, atol=1e-6)
    np.testing.assert_allclose(plain_alone, other_alone, atol=1e-6)


def test_with_one_thread_the_model_is_in_memory_once(model: Path, choose: Callable[..., list[Any]]) -> None:
    choose("openvino", "openvino")
    here = Embedder(model, threads=1)
    assert (here.provider, here.provider_alone, here._single) == (OPENVINO, OPENVINO, None)
    np.testing.assert_allclose(
        here.embed(pictures(5)), Embedder(model, providers=["cpu"]).embed(pictures(5)), atol=1e-6
    )


def test_a_named_provider_needs_no_trial(
    model: Path, choose: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = choose("openvino", "openvino")
    assert Embedder(model, providers=["cpu"]).provider == CPU
    assert Embedder(model, trial=False).provider == CPU
    monkeypatch.setenv("REID_PROVIDER", "cpu")
    assert Embedder(model).provider == CPU
    monkeypatch.setenv("REID_PROVIDER", " openvino, cpu ")
    assert Embedder(model).provider == OPENVINO
    assert Embedder(model, providers=["cpu"]).provider == CPU, "the program's word counts first"
    monkeypatch.setenv("REID_PROVIDER", "gpu")
    with pytest.raises(InputError, match="REID_PROVIDER: no execution provider 'gpu': expected tensorrt, cuda"):
        Embedder(model)
    assert measured == []
    assert not (tmp_path / "cache").exists()


def test_without_the_package_nothing_is_tried(
    model: Path, choose: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = choose("openvino", "openvino")
    monkeypatch.setattr(embedder_module, "has_package", lambda: False)
    here = Embedder(model)
    assert (here.provider, here.choice, measured) == (CPU, None, [])
    assert not (tmp_path / "cache").exists()


def test_what_was_chosen_but_fails_later_is_the_cpu(
    model: Path, choose: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose("openvino", "openvino")
    Embedder(model, threads=2)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(embedder_module, "has_package", lambda: True)
    here = Embedder(model, threads=2)
    assert (here.provider, here.provider_alone) == (CPU, CPU)
    assert here.choice is not None
    assert here.choice.why.startswith("OpenVINO failed: ")
    assert here.embed(pictures(3)).shape == (3, here.dimension)


def test_a_real_trial_gives_a_choice_that_is_remembered(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Embedder(model, batch_size=4, threads=2)
    assert first.choice is not None
    assert first.choice.faster is not None
    assert first.choice.difference is not None
    assert first.choice.difference < 1e-5
    for case, provider in (("several", first.provider), ("alone", first.provider_alone)):
        assert provider == PROVIDERS["openvino" if first.choice.faster[case] >= 1.1 else "cpu"]
    monkeypatch.setattr(embedder_module, "compare", None)
    assert Embedder(model, batch_size=4, threads=2).choice == first.choice


@pytest.fixture
def loaded(model: Path) -> Callable[[str], list[str]]:
    """``loaded(code)``: which of the packages' modules a fresh process has loaded after ``code``."""

    def run(code: str) -> list[str]:
        script = f"import sys\nfrom reid_toolkit.runtime import Embedder\n{code}\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True, check=True)
        return [name for name in done.stdout.split() if name in ("openvino", "reid_toolkit.catalogue.cache")]

    return run


def test_openvino_is_imported_only_if_it_runs(loaded: Callable[[str], list[str]]) -> None:
    assert loaded("Embedder(sys.argv[1], providers=['cpu'])") == []
    assert "openvino" in loaded("Embedder(sys.argv[1], providers=['openvino'])")
