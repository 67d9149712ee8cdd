import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime import InferenceSession
from tiny_model import DIMENSION, HEIGHT, METADATA, PROJECTION, WIDTH, build_model

from reid_toolkit.errors import InputError, ModelError, ReidError
from reid_toolkit.images import resize
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.metadata import ModelMetadata


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """``save(**changes)`` writes :func:`build_model`'s file and returns its path."""

    def write(*arguments: Any, **changes: Any) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save_model(build_model(*arguments, **changes), path)
        return path

    return write


@pytest.fixture
def embedder(save: Callable[..., Path]) -> Embedder:
    return Embedder(save(), batch_size=3, threads=1, providers=["CPUExecutionProvider"])


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Noise in ``count`` sizes, some smaller than the input and some larger, some wider than high."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (5 + 7 * i % 60, 3 + 11 * i % 50, 3)).astype(np.uint8) for i in range(count)]


def expected(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    row = resize(image, HEIGHT, WIDTH).astype(np.float32).mean(axis=1).reshape(-1) @ PROJECTION
    return row / np.linalg.norm(row)


def test_it_says_what_it_is(embedder: Embedder) -> None:
    assert embedder.dimension == DIMENSION
    assert embedder.metadata == METADATA
    assert embedder.provider == "CPUExecutionProvider"
    assert len(embedder.fingerprint) == 16


def test_two_models_have_two_fingerprints(embedder: Embedder, save: Callable[..., Path]) -> None:
    assert Embedder(save()).fingerprint == embedder.fingerprint
    assert Embedder(save(PROJECTION * 2)).fingerprint != embedder.fingerprint


def test_pictures_of_any_size_become_unit_rows(embedder: Embedder) -> None:
    images = pictures(8)
    rows = embedder.embed(images)
    assert rows.shape == (8, DIMENSION)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows, [expected(image) for image in images], atol=1e-5)


def test_a_batch_gives_what_each_picture_gives_alone(embedder: Embedder) -> None:
    images = pictures(7)
    alone = np.concatenate([embedder.embed([image]) for image in images])
    np.testing.assert_allclose(embedder.embed(images), alone, atol=1e-6)


def sizes_of_runs(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the crops of each run of the network from now on."""
    sizes: list[int] = []
    run = embedder._run
    monkeypatch.setattr(embedder, "_run", lambda session, batch: (sizes.append(len(batch)), run(session, batch))[1])
    return sizes


def test_no_run_is_larger_than_the_batch_size(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_of_runs(embedder, monkeypatch)
    embedder.embed(pictures(7))
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9])
def test_cores_share_a_batch_and_its_order_stays(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    several = Embedder(save(), batch_size=8, threads=3, providers=["cpu"])
    sizes = sizes_of_runs(several, monkeypatch)
    images = pictures(count)
    rows = several.embed(images)
    np.testing.assert_allclose(rows, [expected(image) for image in images], atol=1e-5)
    assert sorted(sizes) == {1: [1], 2: [1, 1], 3: [1, 1, 1], 8: [2, 3, 3], 9: [1, 2, 3, 3]}[count]


def test_a_gpu_gets_a_batch_whole_that_the_cores_have_resized(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InferenceSession, "get_providers", lambda _: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    elsewhere = Embedder(save(), batch_size=5, threads=3, providers=["cuda"])
    sizes, images = sizes_of_runs(elsewhere, monkeypatch), pictures(11)
    np.testing.assert_allclose(elsewhere.embed(images), [expected(image) for image in images], atol=1e-5)
    assert sizes == [5, 5, 1]
    with pytest.raises(InputError, match="image 8: expected a uint8 array"):
        elsewhere.embed([image / 255 if number == 8 else image for number, image in enumerate(images)])


def test_of_pictures_that_are_none_the_first_is_named_whichever_core_met_it(save: Callable[..., Path]) -> None:
    images = [image / 255 if number in (5, 6, 9) else image for number, image in enumerate(pictures(10))]
    for threads in (2, 4):
        with pytest.raises(InputError, match="image 5: expected a uint8 array"):
            Embedder(save(), threads=threads).embed(images)


def test_grey_and_alpha_pictures_are_converted(embedder: Embedder) -> None:
    grey = pictures(1)[0][:, :, 0]
    bgr = np.dstack([grey] * 3)
    bgra = np.dstack([bgr, np.full_like(grey, 9)])
    rows = embedder.embed([bgr, grey, grey[:, :, None], bgra])
    np.testing.assert_array_equal(rows[1:], rows[[0] * 3])


def test_an_array_of_pictures_is_a_list_of_them(embedder: Embedder) -> None:
    images = np.stack([pictures(2)[1]] * 4)
    np.testing.assert_array_equal(embedder.embed(images), embedder.embed(list(images)))
    np.testing.assert_array_equal(embedder.embed_tracklet(images), embedder.embed_tracklet(list(images)))


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::-1], np.s_[::2, ::2], np.s_[:, :, ::-1]])
def test_views_of_an_array_are_pictures_too(embedder: Embedder, view: tuple) -> None:
    image = pictures(9)[8][view]
    np.testing.assert_array_equal(embedder.embed([image]), embedder.embed([image.copy()]))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (400, 1, 3), (5000, 4000, 3)])
def test_extreme_sizes_are_embedded(embedder: Embedder, shape: tuple[int, ...]) -> None:
    (row,) = embedder.embed([np.full(shape, 100, np.uint8)])
    np.testing.assert_allclose(row, expected(np.full((4, 4, 3), 100, np.uint8)), atol=1e-5)


def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, DIMENSION)
    assert embedder.embed([]).dtype == np.float32
    for empty in ([], np.empty((0, 4, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="a tracklet without images"):
            embedder.embed_tracklet(empty)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "got dtype float32"),
        (np.zeros((4, 4, 3), np.int64), "got dtype int64"),
        (np.zeros((4, 4, 3), bool), "got dtype bool"),
        (None, "got NoneType"),
        ([[[1, 2, 3]]], "got list"),
        ("picture.jpg", "got str"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got \(2, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"got \(4,\)"),
        (np.zeros((), np.uint8), r"got \(\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), r"got \(4, 0\)"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_place_in_the_whole_list(
    embedder: Embedder, image: Any, words: str
) -> None:
    with pytest.raises(InputError, match=f"image 7: .*{words}"):
        embedder.embed([*pictures(7), image])
    with pytest.raises(InputError, match="image 0: "):
        embedder.embed_tracklet([image])


def test_one_picture_instead_of_a_list_is_refused(embedder: Embedder) -> None:
    for call in (embedder.embed, embedder.embed_tracklet):
        with pytest.raises(InputError, match=r"one array of shape \(4, 5, 3\): put it in a list"):
            call(np.zeros((4, 5, 3), np.uint8))


def test_a_tracklet_is_the_normalised_mean_of_its_frames(embedder: Embedder) -> None:
    images = pictures(5)
    mean = np.mean([expected(image) for image in images], axis=0)
    row = embedder.embed_tracklet(images)
    assert row.shape == (DIMENSION,)
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(embedder.embed_tracklet(images[:1]), embedder.embed(images[:1])[0], atol=1e-6)


def test_frames_that_cancel_out_are_refused(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "embed", lambda images: np.array([[1, 0], [-1, 0]], np.float32))
    with pytest.raises(InputError, match="cancel out"):
        embedder.embed_tracklet(pictures(2))


def test_threads_can_share_it(embedder: Embedder) -> None:
    images = pictures(12)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda image: embedder.embed([image])[0], images))
    np.testing.assert_allclose(rows, embedder.embed(images), atol=1e-6)


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        Embedder(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_files_that_are_no_model_are_refused(tmp_path: Path, save: Callable[..., Path]) -> None:
    assert "cannot read the model: No such file" in refused(tmp_path / "gone.onnx")
    assert "cannot read the model: Is a directory" in refused(tmp_path)
    path = save()
    whole = path.read_bytes()
    for content in (b"", b"a text\n" * 100, whole[: len(whole) // 2], whole[:-20], bytes(5000)):
        path.write_bytes(content)
        refused(path)


def test_damaged_bytes_never_crash(save: Callable[..., Path]) -> None:
    """Two bytes at a time: some of these files are no model any more, and others only have other weights."""
    path, refusals = save(), 0
    whole = path.read_bytes()
    for seed in range(20):
        content = bytearray(whole)
        rng = np.random.default_rng(seed)
        for place in rng.integers(0, len(content), 2):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            rows = Embedder(path).embed(pictures(2))
        except ReidError:
            refusals += 1
            continue
        assert rows.shape == (2, DIMENSION), seed
        assert np.isfinite(rows).all(), seed
    assert 0 < refusals < 20


def test_a_model_of_others_is_refused(save: Callable[..., Path]) -> None:
    said = refused(save(metadata={}))
    assert "not a model of `reid export`: it takes crops uint8 (" in said
    assert "model.onnx --out NEW.onnx`" in said
    assert "got 'reid-embedder-9'" in refused(save(metadata=METADATA.to_strings() | {"format": "reid-embedder-9"}))


REQUIRED = sorted(field.name for field in fields(METADATA) if field.default is MISSING)


@pytest.mark.parametrize("key", REQUIRED)
def test_metadata_with_a_part_missing_is_refused(save: Callable[..., Path], key: str) -> None:
    table = METADATA.to_strings()
    del table[key]
    assert f"damaged metadata: {key} missing" in refused(save(metadata=table))


@pytest.mark.parametrize("value", ["", "wide", "-8", "8.0", "0"])
def test_metadata_that_is_no_number_is_refused(save: Callable[..., Path], value: str) -> None:
    message = refused(save(metadata=METADATA.to_strings() | {"width": value}))
    assert f"width = {value!r}: expected whole numbers" in message


def test_metadata_that_is_not_text_is_refused(save: Callable[..., Path]) -> None:
    path = save(metadata=METADATA.to_strings() | {"stage": "best-stage"})
    path.write_bytes(path.read_bytes().replace(b"best-stage", b"best\xffstage"))
    assert "damaged metadata: it is not text" in refused(path)


def test_metadata_reads_back_as_written() -> None:
    assert ModelMetadata.from_strings(METADATA.to_strings(), "here") == METADATA


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": replace(METADATA, height=32).to_strings()},
        {"metadata": replace(METADATA, dimension=6).to_strings()},
        {"input_type": TensorProto.FLOAT},
        {"size": (HEIGHT, WIDTH + 1)},
    ],
)
def test_metadata_and_graph_must_agree(save: Callable[..., Path], changes: dict[str, Any]) -> None:
    assert "metadata and graph disagree" in refused(save(**changes))


def test_a_second_input_or_output_is_refused(tmp_path: Path) -> None:
    for side, kind, shape in (("input", TensorProto.FLOAT, [1]), ("output", TensorProto.FLOAT, ["batch", 15])):
        model = build_model()
        name = "more" if side == "input" else "flat"
        getattr(model.graph, side).append(helper.make_tensor_value_info(name, kind, shape))
        path = tmp_path / "model.onnx"
        onnx.save_model(model, path)
        assert "metadata and graph disagree" in refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_found_at_the_first_run(save: Callable[..., Path], value: float) -> None:
    weights = PROJECTION.copy()
    weights[3, 2] = value
    with pytest.raises(ModelError, match=r"model\.onnx: the network is damaged"):
        Embedder(save(weights)).embed(pictures(1))


def test_a_network_that_fails_is_named(save: Callable[..., Path]) -> None:
    one_at_a_time = Embedder(save(batch=1), threads=1)
    assert one_at_a_time.embed(pictures(1)).shape == (1, DIMENSION)
    with pytest.raises(ModelError, match=r"model\.onnx: the network failed on 2 images: "):
        one_at_a_time.embed(pictures(2))


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "{here}/weights.bin"])
def test_weights_in_a_second_file_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(build_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location.format(here=folder)
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(folder)
    assert "its weights are in a second file, which is not read" in refused(path)


def test_a_provider_that_is_not_there_is_refused(save: Callable[..., Path], capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(InputError, match=r"no execution provider 'NoSuchProvider': expected tensorrt, cuda"):
        Embedder(save(), providers=["NoSuchProvider", "CPUExecutionProvider"])
    assert Embedder(save(), providers=["CPUExecutionProvider"], strict=True).provider == "CPUExecutionProvider"
    with pytest.raises(InputError, match="strict without providers"):
        Embedder(save(), strict=True)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_when_a_model_is_refused(save: Callable[..., Path], capfd: pytest.CaptureFixture) -> None:
    path = save()
    path.write_bytes(path.read_bytes()[:-100])
    refused(path)
    os.truncate(path, 0)
    refused(path)
    assert capfd.readouterr() == ("", "")


def test_a_batch_and_a_thread_are_the_least(save: Callable[..., Path]) -> None:
    for name in ("batch_size", "threads"):
        with pytest.raises(InputError, match=f"{name} is 0: expected at least 1"):
            Embedder(save(), **{name: 0})


def test_descriptors_of_another_length_are_refused(save: Callable[..., Path]) -> None:
    dark = np.zeros((4, 4, 3), np.uint8)  # all zeros: there is no direction to normalise
    with pytest.raises(ModelError, match=r"model\.onnx: the network is damaged: expected descriptors of length 1, got"):
        Embedder(save()).embed([*pictures(2), dark])


def test_a_good_frame_can_weigh_more(embedder: Embedder) -> None:
    images = pictures(5)
    weights = [embedder.quality(image) for image in images]
    assert len(set(weights)) == 5
    mean = np.average(embedder.embed(images), axis=0, weights=weights)
    np.testing.assert_allclose(embedder.embed_tracklet(images, by_quality=True), mean / np.linalg.norm(mean), atol=1e-5)
    assert np.abs(embedder.embed_tracklet(images, by_quality=True) - embedder.embed_tracklet(images)).max() > 1e-3
