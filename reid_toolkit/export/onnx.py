"""Exports a trained run as one ONNX file that contains its preprocessing: uint8 crops in, unit descriptors out."""

from pathlib import Path

import torch

from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.export.float_forms import join_gelus
from reid_toolkit.export.parity import Parity, check_parity
from reid_toolkit.export.saving import save_model
from reid_toolkit.export.serving import ServingNetwork
from reid_toolkit.export.torch_embedder import TorchEmbedder
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image
from reid_toolkit.recipe_files import dump_recipe
from reid_toolkit.runtime.metadata import ModelMetadata
from reid_toolkit.training.run_folder import RunFolder, load_network
from reid_toolkit.version import __version__

OPSET = 18


def export(run: Path, out: Path, crops: list[Image], *, stage: str = "best") -> Parity:
    """Write ``out`` from a run, after checking that onnxruntime gives on ``crops`` what torch gives.

    Args:
        run: a folder of ``reid train``.
        out: the ``.onnx`` file to write. It appears only after the check has passed.
        crops: at least one (H, W, 3) uint8 BGR picture of the kind that the model will see.
        stage: which model of the run, as for :func:`load_network`.

    Raises:
        InputError: no crops.
        RunError: the run has no such stage, or is damaged.
        ModelError: the exported graph differs from torch by more than ``parity.TOLERANCE``.
    """
    if not crops:
        raise InputError("export checks the file on pictures: expected at least one readable crop in the dataset")
    folder = RunFolder(run)
    fingerprint = folder.dataset()
    recipe = folder.recipe()
    network = load_network(folder, stage).eval()
    height, width = recipe.network.height, recipe.network.width
    # Batch 2 and not 1, because the exporter would take a 1 for a constant.
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        ServingNetwork(network).eval(), (example,), dynamo=True, opset_version=OPSET, verbose=False,
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
        normalisation=f"inside the graph: to RGB, / 255, - {network.mean}, / {network.std}; "
        "descriptors are L2-normalised",
        dimension=network.dimension,
        backbone=recipe.network.backbone,
        recipe=dump_recipe(recipe),
        stage=stage,
        dataset=fingerprint,
        toolkit=__version__,
    )
    model = program.model_proto
    join_gelus(model)
    with atomic_path(out) as temporary:
        save_model(model, metadata, temporary)
        return check_parity(TorchEmbedder(network, height, width), temporary, crops)
