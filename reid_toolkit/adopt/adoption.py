"""Turns a third party's embedder into our one file, and checks that it gives the same descriptors."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from reid_toolkit.adopt.choosing import Choice, Progress, choose, some_crops
from reid_toolkit.adopt.contract import PRESETS, Contract, preset
from reid_toolkit.adopt.known import Recognised, recognise
from reid_toolkit.adopt.network import Network, inspect, load, with_free_batch
from reid_toolkit.adopt.norms import mismatch
from reid_toolkit.adopt.openvino_graph import as_onnx
from reid_toolkit.adopt.original import Original, Run, by_onnxruntime, by_openvino
from reid_toolkit.adopt.serving import serving_model
from reid_toolkit.datasets.dataset import Dataset, read_crops
from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.export.parity import Parity, check_parity
from reid_toolkit.export.saving import save_model
from reid_toolkit.files import as_text, atomic_path
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.external_data import external_files
from reid_toolkit.runtime.metadata import FORMAT, ModelMetadata
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.runtime.session import open_session
from reid_toolkit.training.beginnings import HEAD, looks_like_checkpoint
from reid_toolkit.version import __version__

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".tar", ".pkl", ".pickle", ".bin", ".safetensors")
ADVICE = "another --preset may fit, half precision may overflow, or the file is damaged"
UNSTEADY = (
    "the file's own output may depend on the other pictures of a batch, or overflow in half precision: export it in "
    "evaluation mode and float32"
)
FAR = 0.75
"""A preset that a name suggests is doubted if it separates less than this fraction of the best preset's separation."""
SAME = 1e-4
"""If no number of two descriptors differs by more than this, the descriptors count as the same."""


@dataclass(frozen=True)
class Settings:
    """What the user says about the file; a field that is None is determined from the file."""

    preset: str | None = None
    contract: Contract | None = None
    """Used instead of a preset."""
    size: tuple[int, int] | None = None
    """Height and width, for a file that does not fix them."""
    output: str | None = None
    licence: str = ""
    anyway: bool = False
    source: str = ""
    """The source that the result names; if empty, the file's name."""


@dataclass(frozen=True)
class Adopted:
    """The result of an adoption."""

    network: Network
    preset: str
    """"custom" for the user's own contract."""
    contract: Contract
    why: str
    """How the preset was determined."""
    choice: Choice | None
    one_by_one: bool
    """Whether the batch is fixed, so that the file runs the pictures one by one inside."""
    parity: Parity


@dataclass(frozen=True)
class Source:
    """The file as it was read."""

    path: Path
    model: onnx.ModelProto
    run: Callable[[Network], Run]
    digest: str
    """SHA-256 of the file; if its weights lie in other files, of it and of them, one after the other."""
    backbone: str
    known: Recognised | None = None
    """The preset, if reading the file already told it."""


def adopt(
    path: Path,
    out: Path,
    crops: list[Image],
    dataset: Dataset | None = None,
    settings: Settings = Settings(),
    bad: list[str] | None = None,
    on_progress: Progress | None = None,
) -> Adopted:
    """Write ``out`` from a third party's ``path``: an ONNX file, the .xml of an OpenVINO model, or a torch checkpoint
    with the weights of a network that can be built here.

    Args:
        path: the file.
        out: a file that :class:`reid_toolkit.runtime.Embedder` opens. It appears only after the check has passed.
        crops: at least one (H, W, 3) uint8 BGR picture of people, for the check.
        dataset: tracklets on which presets are tried, if nothing else tells which one is right.
        settings: what is known about the file.
        bad: gets the messages of crops that cannot be read.
        on_progress: called with (presets tried, presets).

    Raises:
        InputError: ``settings`` contradict the file, or do not suffice.
        MissingDependencyError: the checkpoint's network needs a package that is not installed.
        ModelError: the file is no embedder or is damaged, or the result differs from it.
    """
    refuse_overwriting(path, out)
    source = read(path, settings)
    network = inspect(source.model, str(path), size=settings.size, output=settings.output, anyway=settings.anyway)
    free, one_by_one = freed(network)
    name, contract, why, choice = contract_of(
        source, network, free, dataset, settings, [] if bad is None else bad, on_progress
    )
    metadata = described(source, network, name, contract, settings)
    with atomic_path(out) as temporary:
        save_model(serving_model(free, contract), metadata, temporary)
        original = Original(source.run(network), network, contract)
        parity = check_parity(original, temporary, crops, of="the original", advice=ADVICE, why=UNSTEADY)
        if len(crops) > 1 and parity.spread < SAME:
            raise ModelError(f"{path}: gives all of {len(crops)} people the same descriptor: expected an embedder")
    return Adopted(network, name, contract, why, choice, one_by_one, parity)


def refuse_overwriting(path: Path, out: Path) -> None:
    """Raise :class:`InputError` if the new file would overwrite the old one or its weights."""
    if out.suffix.lower() != ".onnx":
        raise InputError(f"--out {out}: expected the name of an .onnx file to write")
    if out.resolve() == path.resolve():
        raise InputError(f"--out {out}: is the file that is adopted: expected another name")
    if path.is_file() and out.is_file():
        beside = external_files(path.read_bytes(), path.parent)
        if out.resolve() in [other.resolve() for other in beside]:
            raise InputError(f"--out {out}: holds weights of {path.name}, which is adopted: expected another name")


def read(path: Path, settings: Settings) -> Source:
    """Read a file in any known form. Raises :class:`ModelError` if it cannot be read."""
    if path.exists() and not path.is_file():
        raise ModelError(
            f"{path}: not a regular file: expected an ONNX file, the .xml of an OpenVINO model, or a checkpoint"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    suffix, head, digest = path.suffix.lower(), content[:HEAD], hashlib.sha256(content)
    others = external_files(content, path.parent)
    del content
    if suffix == ".xml":
        weights = path.with_suffix(".bin")
        if not weights.exists():
            raise ModelError(f"{path}: {weights.name} is missing beside it: expected the weights of OpenVINO's model")
        digest.update(weights.read_bytes())
        return Source(path, as_onnx(path), lambda network: by_openvino(path, network), digest.hexdigest(), path.stem)
    if suffix == ".bin" and path.with_suffix(".xml").exists():
        raise ModelError(f"{path}: the weights of a model in OpenVINO's form: adopt {path.with_suffix('.xml')}")
    if suffix in CHECKPOINTS or looks_like_checkpoint(head):
        return read_checkpoint(path, settings, digest.hexdigest())
    model = load(path)
    if any(entry.key == "format" and entry.value == FORMAT for entry in model.metadata_props):
        raise InputError(f"{path}: is a model of reid already: use it as it is")
    for other in others:  # only now, because load() refuses files outside the model's folder
        digest.update(other.read_bytes())
    return Source(path, model, lambda network: by_onnxruntime(model, network), digest.hexdigest(), path.stem)


def read_checkpoint(path: Path, settings: Settings, digest: str) -> Source:
    """Read a file of weights. Its network is built and exported here."""
    from reid_toolkit.adopt.from_torch import OUTPUT, from_torch  # imports torch, which ONNX files do not need

    if settings.output not in (None, OUTPUT):
        raise InputError(f"{path}: a checkpoint has one output: leave --output out")
    loaded = from_torch(path, settings.size)
    known = Recognised("imagenet", f"its tensors are those of {loaded.architecture.title}", surely=True)
    return Source(path, loaded.model, lambda _: loaded.run, digest, loaded.architecture.name, known)


def freed(network: Network) -> tuple[Network, bool]:
    """Return the network with a free batch if its graph allows it, and whether it must run the pictures one by one."""
    if network.batch is None:
        return network, False
    free = with_free_batch(network)
    return (free, False) if runs_alike(free, network) else (network, True)


def runs_alike(free: Network, fixed: Network) -> bool:
    """Whether a batch, larger than the network's own, gives the same as its pictures one by one."""
    pictures = np.random.default_rng(0).integers(0, 256, ((fixed.batch or 1) + 2, free.height, free.width, 3), np.uint8)
    rows = []
    for network in (free, fixed):
        model = serving_model(network, PRESETS["raw-bgr"])
        try:
            session = open_session(model.SerializeToString(), network.where, providers=["cpu"])
            rows.append(session.run(None, {"crops": pictures})[0])
        except Exception as error:  # onnxruntime's exceptions have no common base
            if network is fixed:
                raise ModelError(f"{network.where}: does not run: {str(error).splitlines()[0]}") from None
            return False
    return rows[0].shape == rows[1].shape and bool(np.allclose(rows[0], rows[1], atol=1e-4, equal_nan=True))


def contract_of(
    source: Source,
    network: Network,
    free: Network,
    dataset: Dataset | None,
    settings: Settings,
    bad: list[str],
    on_progress: Progress | None,
) -> tuple[str, Contract, str, Choice | None]:
    """Return the preset's name, the contract, and how it was determined: given, recognised, or tried."""
    if settings.contract is not None:
        return "custom", settings.contract, "as given", None
    if settings.preset is not None:
        return settings.preset, preset(settings.preset), "as given", None
    known = source.known or recognise(source.path, network)
    if known is not None and (known.surely or dataset is None):
        return known.preset, PRESETS[known.preset], known.by, None
    if dataset is None:
        raise InputError(
            f"{source.path}: nothing in it tells how pixels must be prepared: give --dataset, on whose tracklets every "
            f"preset is tried, or --preset ({', '.join(PRESETS)})"
        )
    try:
        choice = tried(source, network, free, dataset, bad, on_progress)
    except InputError:
        if known is None:
            raise
        return known.preset, PRESETS[known.preset], known.by, None  # the footage does not contradict it
    if known is None:
        told = "its first batch norm says so" if choice.by_norm else "it separates people best"
        return choice.preset, PRESETS[choice.preset], f"{told} on {choice.tracklets} tracklets", choice
    doubt = doubts(known, choice)
    if doubt:
        raise InputError(f"{source.path}: {doubt}: say which with --preset")
    return known.preset, PRESETS[known.preset], known.by, choice


def doubts(known: Recognised, choice: Choice) -> str:
    """Describe how the footage contradicts a preset that only a name suggests; empty if it does not."""
    separations = {trial.preset: trial.separation for trial in choice.trials}
    best, own = choice.trials[0], separations.get(known.preset, 0.0)
    if own >= FAR * best.separation:
        return ""
    return (
        f"{known.by}, which is the preset {known.preset}; but with {best.preset} it separates people far better "
        f"({best.separation:.2f} against {own:.2f}, on {choice.tracklets} tracklets)"
    )


def tried(
    source: Source,
    network: Network,
    free: Network,
    dataset: Dataset,
    bad: list[str],
    on_progress: Progress | None,
) -> Choice:
    """Try each preset on the dataset. Raises what :func:`choose` raises."""
    with tempfile.TemporaryDirectory() as folder:
        embedders, mismatches = {}, {}
        pixels = to_batch([image for _, image in read_crops(some_crops(dataset), [])], network.height, network.width)
        for name, contract in PRESETS.items():
            if network.kind == TensorProto.UINT8 and contract.scale != 1:
                continue  # a network that takes bytes prepares them itself
            trial, model = Path(folder) / f"{name}.onnx", serving_model(free, contract)
            mismatches[name] = mismatch(model, pixels)
            save_model(model, described(source, network, name, contract, Settings()), trial)
            embedders[name] = Embedder(trial, providers=["cpu"])
        return choose(dataset, embedders, mismatches, bad, on_progress)


def described(source: Source, network: Network, name: str, contract: Contract, settings: Settings) -> ModelMetadata:
    """Make the metadata of the new file."""
    return ModelMetadata(
        height=network.height,
        width=network.width,
        channels="BGR",
        layout="NHWC uint8 0-255",
        normalisation=f"inside the graph: {contract}; descriptors are L2-normalised",
        dimension=network.dimension,
        backbone=as_text(source.backbone),
        recipe="",
        stage="adopted",
        dataset="",
        toolkit=__version__,
        source=as_text(settings.source or source.path.name),
        source_sha256=source.digest,
        licence=as_text(settings.licence),
        preset=name,
    )
