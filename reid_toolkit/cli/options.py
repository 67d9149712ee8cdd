"""Options that more than one command takes, so that they read the same everywhere."""

import math
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from reid_toolkit.errors import InputError
from reid_toolkit.files import as_name
from reid_toolkit.records import without_password
from reid_toolkit.times import read_moment


class Number(click.FloatRange):
    """A float in a range. Not NaN, which click lets pass every range, nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            if text.endswith("%") and text[:-1].replace(".", "", 1).isdecimal():
                self.fail(f"{text!r}: expected a fraction, {float(text[:-1]) / 100:g}", param, ctx)
            raise
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Size(click.ParamType):
    """Height and width in pixels, as "128x64"."""

    name = "HEIGHTxWIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        height, x, width = str(value).partition("x")
        if not (x and height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r} is not a height and a width in pixels, e.g. 128x64.", param, ctx)
        return int(height), int(width)


class Name(click.ParamType):
    """A camera, a tracklet or a tag, in the form in which they are stored."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return as_name(value)


NAME = Name()


class FileOrFolder(click.Path):
    """A path of one kind; of the other kind it is refused in our words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        argument = param is not None and param.param_type_name == "argument"
        order = " (are the arguments in the right order?)" if argument else ""
        if not self.dir_okay and path.is_dir():
            self.fail(f"{str(value)!r} is a folder: expected a file{order}", param, ctx)
        if not self.file_okay and path.exists() and not path.is_dir():
            self.fail(f"{str(value)!r} is a file: expected a folder{order}", param, ctx)
        return super().convert(value, param, ctx)


class ModelFile(FileOrFolder):
    """An embedder: its file, or its name in the catalogue. A file of that name wins."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if not (path.exists() if self.dir_okay else path.is_file()):
            from reid_toolkit.catalogue.cache import named_model

            value = named_model(str(value), "embedder") or value
        return super().convert(value, param, ctx)


class DetectorName(click.ParamType):
    """A detector: one that needs no file, or as :class:`ModelFile`."""

    name = "name or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in ("motion", "torchvision") and not Path(value).is_file():
            from reid_toolkit.catalogue.cache import named_model

            value = named_model(value, "detector") or value
        return str(value)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(given: Sequence[Decorator]) -> Decorator:
    """Several options as one decorator, in their order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(given):
            command = option(command)
        return command

    return add


FILE = FileOrFolder(path_type=Path, dir_okay=False)
FOLDER = FileOrFolder(path_type=Path, file_okay=False)
MODEL = ModelFile(path_type=Path, dir_okay=False)
RUN_OR_MODEL = ModelFile(path_type=Path)
DETECTOR = DetectorName()
ANY_PATH = click.Path(path_type=Path)

json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
skip_bad = click.option(
    "--skip-bad", is_flag=True, help="Leave out images that cannot be read, with a counted warning."
)
model_option = click.option(
    "--model",
    type=MODEL,
    required=True,
    help="The ONNX model of `reid export` or `reid adopt`, or the name of one of `reid models`.",
)
gallery_option = click.option("--gallery", required=True, metavar="WHERE", help="A folder, or milvus://host:port/name.")
wait = click.option(
    "--wait",
    type=Number(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait while another process writes to the gallery.",
)
allow = click.option("--allow", is_flag=True, help="Bring back also what `reid gallery forget` has forgotten.")
thumbnails = click.option("--thumbnails", is_flag=True, help="Keep a small picture of each in the gallery.")
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


camera_statistics = click.option(
    "--camera-statistics/--no-camera-statistics",
    default=True,
    help="Remove each camera's bias before comparing, where there are camera statistics.  [default: on]",
)


query_camera = click.option(
    "--query-camera",
    type=NAME,
    metavar="NAME",
    help="The camera that took the query picture. [default: that of the dataset's tracklet; else not known]",
)


def parse_source(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A source as records have it: an absolute path, though nothing need be there any more, or a stream's address."""
    if value == "":  # which would be the working directory, and everything below it
        raise click.BadParameter("'': expected a dataset folder, an image or video file, or a stream's address")
    if value is None:
        return None
    return without_password(value) if "://" in value else str(Path(value).resolve())


def parse_sources(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[str]:
    return [source for value in values if (source := parse_source(context, option, value)) is not None]


def parse_start(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return read_moment(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not ISO 8601, e.g. 2026-11-22T14:30:00+01:00") from None


def known_label(ctx: click.Context, _: click.Parameter, value: int | None) -> int | None:
    """Of a detector of the catalogue that does not say it in its file, where the user does not, either."""
    detector = ctx.params.get("detector")  # what was typed is known before what was not
    if value is not None or not detector or not Path(detector).is_file():
        return value
    from reid_toolkit.catalogue.cache import person_label_of

    return person_label_of(detector)


PERSON_LABEL = click.option(
    "--person-label",
    type=click.IntRange(0),
    callback=known_label,
    metavar="N",
    help="For a detector's file that does not say it: the label that people have.",
)

FOOTAGE = (
    click.option("--camera", help="Name of the camera. [default: the file's stem]"),
    click.option(
        "--detector",
        type=DETECTOR,
        default="motion",
        show_default=True,
        help="motion (fixed cameras), torchvision, a detector's file (ONNX, or the .xml of OpenVINO), or the name of "
        "one of `reid models`.",
    ),
    click.option("--detector-weights", type=FILE, help="For torchvision: a state dict, instead of a download."),
    PERSON_LABEL,
    click.option(
        "--every",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="Take every K-th crop of a tracklet; the tracker sees every frame.",
    ),
    click.option(
        "--min-crops",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        help="Drop tracklets with fewer crops.",
    ),
    click.option(
        "--margin",
        type=Number(0, 1),
        default=0.05,
        show_default=True,
        help="Widen boxes on each side by this part of their size.",
    ),
    click.option(
        "--start",
        callback=parse_start,
        help="When the one VIDEO began, ISO 8601; without an offset in the zone of REID_TIMEZONE, or UTC.",
    ),
    click.option(
        "--frame-rate",
        type=Number(0, min_open=True),
        default=25.0,
        show_default=True,
        help="Frames a second of folders of frames.",
    ),
)


footage = together(FOOTAGE)
"""How to find people in a recording: camera, detector, which crops, times."""


CALIBRATION = (
    click.option(
        "--calibration",
        type=FILE,
        help="What distances mean, by `reid calibrate`. [default: MODEL.calibration.json, if it is there]",
    ),
    click.option(
        "--people",
        type=click.IntRange(2, 10_000_000_000),  # as many as there are
        metavar="N",
        help="How many different people the gallery holds, about: the query is one of so many. "
        "[default: by the calibration]",
    ),
    click.option(
        "--false-match-rate",
        type=Number(0, 0.5, min_open=True),
        metavar="RATE",
        help="Answer unknown where other people come as near in more than RATE of comparisons, e.g. 0.001.",
    ),
)


calibration_options = together(CALIBRATION)
"""How to say what distances mean."""


def refuse_unwritable(path: Path) -> None:
    """Raise :class:`InputError` where ``write_atomic`` of ``path`` would fail; nothing of the attempt stays."""
    from reid_toolkit.files import temporary_beside

    folder = path.parent
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is there and no file: expected the name of a file to write")
        while not _is_there(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"{path}: cannot be written, as {folder} is no folder: choose another place")
        trial = folder / temporary_beside(path).name
        try:
            trial.touch(exist_ok=False)
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another place") from error


def _is_there(folder: Path) -> bool:
    try:
        folder.lstat()  # where a name is too long, or a folder may not be entered, it says so
    except FileNotFoundError:
        return False
    return True


class OutputFile(click.Path):
    """A file to write, at a place where that is possible."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        refuse_unwritable(path)
        return path


class PageFile(OutputFile):
    """A page to write. A file that is there must be one, since it is replaced: a slip would cost a manifest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        with open(path, "rb") if path.exists() else BytesIO() as held:
            start = held.read(64).lstrip().lower()
        if start and not start.startswith(b"<!doctype html"):
            raise InputError(f"{path}: is there and no page: expected a new name, or that of a page to replace")
        return path


OUTPUT = OutputFile()
PAGE = PageFile()


UNITS = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60}
"""Seconds in each."""
LONGEST = 1e10
"""Seconds, three centuries: times before are no dates any more."""


def parse_duration(text: str) -> float:
    """Seconds; raises :class:`click.BadParameter` for what is no length of time, or none at all."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([wdhm])", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(f"{text!r}: expected a length of time such as 90m, 12h, 30d or 4w")
    return seconds


def parse_moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The Unix time so long ago, or the ISO 8601 time itself, without an offset in the zone that is set; none that is
    to come."""
    if value is None:
        return None
    try:
        seconds = read_moment(value).timestamp()
    except ValueError:
        return time.time() - parse_duration(value)
    if seconds > time.time():
        raise click.BadParameter(f"{value!r} is still to come: everything would be older")
    if seconds < time.time() - LONGEST:
        raise click.BadParameter(f"{value!r} is over three centuries ago: expected a time of some record")
    return seconds


def format_duration(seconds: float) -> str:
    """As :func:`parse_duration` reads it, in the largest unit that needs no fraction."""
    for unit, length in UNITS.items():
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds / UNITS['m']:g}m"
