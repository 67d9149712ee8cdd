"""A trained run as one ONNX file that cannot be used wrongly: uint8 crops in, unit descriptors out."""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import dump_recipe
from reid_toolkit.errors import InputError, ModelError, RunError
from reid_toolkit.export.parity import Parity, check_parity
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image
from reid_toolkit.runtime.metadata import ModelMetadata
from reid_toolkit.training.checkpoint import LABELS, NEXT_LABELS, RunFolder, load_tensors
from reid_toolkit.training.network import MEAN, STD, ReidNetwork, standardise, to_rgb
from reid_toolkit.version import __version__

OPSET = 18


class ServingNetwork(nn.Module):
    """The whole of serving as one graph: (B, H, W, 3) uint8 BGR -> (B, D) float32 rows of length 1."""

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        return F.normalize(self.network(standardise(to_rgb(crops))), dim=1)


def load_network(folder: RunFolder, stage: str) -> ReidNetwork:
    """The network of a run at ``stage``: "best", "initial", "last" or a number.

    Raises :class:`RunError` when the run has no such stage or its file is damaged.
    """
    recipe = folder.recipe()
    if stage == "best":
        path = folder.path / "best.safetensors"
    elif stage == "initial":
        path = folder.checkpoints / "initial.safetensors"
    else:
        stages = folder.stages()
        number = stages[-1] if stage == "last" and stages else int(stage) if stage.isdecimal() else -1
        if number not in stages:
            known = f"0-{stages[-1]}" if stages else "none yet"
            raise RunError(f"{folder.path}: no stage {stage!r}: expected best, initial, last or one of {known}")
        path = folder.stage_path(number)
    state, _ = load_tensors(path)
    state = {key: value for key, value in state.items() if key not in (LABELS, NEXT_LABELS)}
    network = ReidNetwork(recipe.network)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit the run's config.toml: {str(error).splitlines()[-1]}") from None
    return network


def export(run: Path, out: Path, crops: list[Image], *, stage: str = "best") -> Parity:
    """Write ``out`` from a run and prove that onnxruntime gives on ``crops`` what torch gives.

    Args:
        run: a folder of ``reid train``.
        out: the ``.onnx`` file to write; it appears only once the proof has passed.
        crops: at least one (H, W, 3) uint8 BGR picture of the kind the model will see.
        stage: which model of the run, as for :func:`load_network`.

    Raises:
        InputError: no crops.
        RunError: the run has no such stage, or is damaged.
        ModelError: the exported graph differs from torch by more than ``parity.TOLERANCE``.
    """
    if not crops:
        raise InputError("export proves itself on pictures: expected at least one readable crop in the dataset")
    folder = RunFolder(run)
    fingerprint = folder.dataset()
    recipe = folder.recipe()
    network = ServingNetwork(load_network(folder, stage)).eval()
    height, width = recipe.network.height, recipe.network.width
    # Batch 2 and not 1: the exporter would take a 1 for a constant.
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        network, (example,), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=["crops"], output_names=["descriptors"],
        dynamic_shapes={"crops": {0: torch.export.Dim("batch", min=1)}},
    )  # fmt: skip
    if program is None:
        raise ModelError(f"{run}: torch.onnx.export gave no program")
    metadata = ModelMetadata(
        height=height,
        width=width,
        channels="BGR",
        layout="NHWC uint8 0-255",
        normalisation=f"inside the graph: to RGB, / 255, - {MEAN}, / {STD}; descriptors are L2-normalised",
        dimension=network.network.dimension,
        backbone=recipe.network.backbone,
        recipe=dump_recipe(recipe),
        stage=stage,
        dataset=fingerprint,
        toolkit=__version__,
    )
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata.to_strings())
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(out) as temporary:
        onnx.save_model(model, temporary, save_as_external_data=False)
        return check_parity(network, temporary, crops)
