"""Options that more than one command takes, so that they read the same everywhere."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
ANY_PATH = click.Path(path_type=Path)

json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
skip_bad = click.option(
    "--skip-bad", is_flag=True, help="Leave out images that cannot be read, with a counted warning."
)
model_option = click.option("--model", type=FILE, required=True, help="The ONNX model of `reid export`.")
gallery_option = click.option("--gallery", type=ANY_PATH, required=True, help="The gallery folder.")
batch_size = click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
provider = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="tensorrt, cuda, openvino or cpu, or onnxruntime's name of another; several in order of preference. "
    "[default: the first of these that works]",
)
strict = click.option("--strict", is_flag=True, help="Stop when the first --provider is not the one in use.")
