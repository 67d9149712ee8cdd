"""What other programs import: short, and pinned here."""

import importlib
import inspect
import subprocess
import sys

import pytest

import reid_toolkit

NAMES = {
    "reid_toolkit": ["Crop", "Match", "Record", "ReidError", "Tracklet", "__version__"],
    "reid_toolkit.calibration": ["Calibration", "beside", "calibrate", "load_calibration"],
    "reid_toolkit.datasets": ["Dataset", "Split", "open_dataset", "without_identities"],
    "reid_toolkit.gallery": ["Filter", "Gallery", "GalleryStore", "Page", "open_gallery"],
    "reid_toolkit.runtime": ["Embedder", "TrackletAverage"],
}

SIGNATURES = {
    "reid_toolkit.method.merging:merge_clusters": (
        "features", "labels", "merges", "trade_off", "within", "linkage", "metric", "size_weight", "cannot_link",
        "device", "max_memory",
    ),
    "reid_toolkit.evaluation.ranking:rank": (
        "distances", "query_ids", "gallery_ids", "query_cameras", "gallery_cameras",
    ),
    "reid_toolkit.runtime:Embedder.embed": ("self", "images"),
    "reid_toolkit.runtime:Embedder.embed_tracklet": ("self", "images"),
    "reid_toolkit.gallery:Gallery.add": ("self", "vectors", "records"),
    "reid_toolkit.gallery:Gallery.search": ("self", "vector", "top_k", "cameras", "since", "until"),
}  # fmt: skip
"""The first parameters of what DESIGN promises; others may follow."""


@pytest.mark.parametrize("module", NAMES)
def test_what_a_package_exports(module: str) -> None:
    package = importlib.import_module(module)
    assert sorted(package.__all__) == NAMES[module]
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_that_others_rely_on(name: str) -> None:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    assert tuple(inspect.signature(found).parameters)[: len(SIGNATURES[name])] == SIGNATURES[name]


def test_the_version_is_a_plain_one() -> None:
    assert all(part.isdecimal() for part in reid_toolkit.__version__.split(".")[:2])


def loaded_by(program: str) -> set[str]:
    """Names of the top-level modules a fresh interpreter has after running ``program``."""
    ending = "\nimport sys\nprint('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", program + ending], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import reid_toolkit") & {"numpy", "torch", "cv2", "onnxruntime"}


def test_help_loads_every_command_and_nothing_heavy() -> None:
    program = (
        "from reid_toolkit.cli.app import COMMANDS, reid\n"
        "import click\n"
        "for name in COMMANDS: assert reid.get_command(click.Context(reid), name).get_short_help_str()\n"
    )
    heavy = {"torch", "torchvision", "cv2", "onnxruntime", "trackers", "supervision", "scipy", "hnswlib"}
    assert not loaded_by(program) & heavy


def test_the_edge_runs_without_torch() -> None:
    program = (
        "import reid_toolkit.runtime, reid_toolkit.search, reid_toolkit.datasets, reid_toolkit.html_page\n"
        "import reid_toolkit.calibration.measure, reid_toolkit.config\n"
        "import reid_toolkit.evaluation.protocol, reid_toolkit.evaluation.html_report\n"
    )
    assert not loaded_by(program) & {"torch", "torchvision", "scipy", "trackers", "supervision", "onnx"}
