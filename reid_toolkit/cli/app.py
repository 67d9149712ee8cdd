"""The ``reid`` command group. It loads the module of a command only when needed, and prints errors as one line."""

import errno
import importlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
import rich_click

from reid_toolkit.cli.console import fail, forgive_stdout
from reid_toolkit.errors import ReidError, did_you_mean
from reid_toolkit.times import zone
from reid_toolkit.version import __version__

COMMANDS = (
    "demo", "ingest", "train", "report", "distill", "export", "calibrate", "enroll", "search", "evaluate",
    "gallery", "people", "serve", "embed", "watch", "dataset", "frigate", "tracks", "models", "adopt", "model",
    "doctor",
)  # fmt: skip
"""In the order of use. ``reid --help`` loads all these modules, so they import torch and other heavy packages inside
functions."""

EXTRA_OF_MODULE = {
    "torch": "train", "torchvision": "train", "safetensors": "train", "tensorboard": "train", "onnx": "train",
    "onnxscript": "train", "openvino": "openvino", "scipy": "train", "av": "footage", "trackers": "footage",
    "supervision": "footage", "pyarrow": "parquet", "pymilvus": "milvus", "milvus_lite": "milvus", "sklearn": "train",
    "paho": "events", "fastapi": "serve", "uvicorn": "serve", "multipart": "serve", "python_multipart": "serve",
    "prometheus_client": "serve", "fsspec": "storage", "s3fs": "storage",
}  # fmt: skip


class LazyGroup(rich_click.RichGroup):
    """A command group. The command NAME is the function ``command`` of the module ``reid_toolkit.cli.NAME``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"reid_toolkit.cli.{cmd_name}").command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names. An unknown name is refused with the most similar known name."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            ctx.fail(f"No such command {name!r}{did_you_mean(name, COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reid")
def reid() -> None:
    """Find people again across cameras, with a model that learns from your recordings without labels."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with status 0 (done), 1 (error), 2 (wrong usage) or 130 (interrupted)."""
    # Service managers stop a process with SIGTERM. Treat it as Ctrl-C, so that partial files are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    forgive_stdout()
    try:
        zone()  # refuses a wrong REID_TIMEZONE before any work is done
        result = reid.main(args=arguments, prog_name="reid", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        fail(explain_usage(error), status=error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        fail(
            "interrupted; finished work is kept: run the same command again to continue (train: with --resume)",
            status=130,
        )
    except ReidError as error:
        fail(str(error))
    except ImportError as error:
        fail(explain_import_error(error))
    except OSError as error:
        fail(explain_os_error(error))


def explain_usage(error: click.ClickException) -> str:
    """One line for wrong usage, in the same style as all other errors."""
    said = error.format_message()
    if isinstance(error, click.NoSuchOption):
        said = f"no such option {error.option_name!r}{did_you_mean(error.option_name, error.possibilities or ())}"
    said = re.sub(r"\. Did you mean ('.*')\?$", r" (did you mean \1?)", said.strip().removesuffix("."))
    if isinstance(error, click.UsageError) and error.ctx is not None:
        path = error.ctx.command_path
        return f"{path}: {said[:1].lower()}{said[1:]}; see `{path} --help`"
    return said


def explain_import_error(error: ImportError) -> str:
    """One line for a missing extra or a missing system library. Any other import error is a bug and is raised again."""
    extra = EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
    if extra:
        # reid is not on a package registry yet: its name alone would find nothing, or another author's package.
        return f"this command needs {error.name}, which is not installed: in reid's checkout, pip install '.[{extra}]'"
    if "cannot open shared object file" in str(error):
        return f"{error}: OpenCV needs it; install the system packages libgl1 and libglib2.0-0"
    raise error


def explain_os_error(error: OSError) -> str:
    """One line for an error of the operating system."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}no space left on the disk: free some space and run the same command again"
    if error.errno == errno.EEXIST:
        return f"{where}is a file, expected a folder: choose another path, or move the file"
    return f"{where}{error.strerror or error}"
