"""Options that several commands share, so that they work and read the same everywhere."""

import math
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from reid_toolkit.cli.paths import AnyPath, FileOrFolder
from reid_toolkit.files import as_name
from reid_toolkit.records import without_password
from reid_toolkit.times import read_moment


class Number(click.FloatRange):
    """A finite float in a range. click's own type accepts NaN in every range."""

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
        sides = re.fullmatch(r"(\d{1,9})x(\d{1,9})", str(value))
        if not sides:
            self.fail(f"{str(value)[:50]!r} is not a height and a width in pixels, e.g. 128x64.", param, ctx)
        return int(sides[1]), int(sides[2])


class Name(click.ParamType):
    """The name of a camera, a tracklet or a tag, in its stored form (:func:`reid_toolkit.files.as_name`)."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return as_name(value)


NAME = Name()


class ModelFile(FileOrFolder):
    """An embedder: a file, or a name in the catalogue. If a file has that name, the file is used."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if not (path.exists() if self.dir_okay else path.is_file()):
            from reid_toolkit.catalogue.cache import named_model

            value = named_model(str(value), "embedder") or value
        return super().convert(value, param, ctx)


class DetectorName(click.ParamType):
    """A detector: motion, torchvision, a file, or a name in the catalogue. If a file has that name, it is used."""

    name = "name or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in ("motion", "torchvision") and not Path(value).is_file():
            from reid_toolkit.catalogue.cache import named_model

            value = named_model(value, "detector") or value
        return str(value)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(given: Sequence[Decorator]) -> Decorator:
    """Join several options to one decorator. Help lists them in this order."""

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
ANY_PATH = AnyPath(path_type=Path)

json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
skip_bad = click.option(
    "--skip-bad", is_flag=True, help="Leave out images that cannot be read; a warning says how many."
)
model_option = click.option(
    "--model",
    type=MODEL,
    required=True,
    help="The ONNX model: a file from `reid export` or `reid adopt`, or a name from `reid models`.",
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
allow = click.option("--allow", is_flag=True, help="Also bring back records that `reid gallery forget` deleted.")
thumbnails = click.option("--thumbnails", is_flag=True, help="Store a small picture with each record in the gallery.")
batch_size = click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Crops that the model runs on at once."
)
provider = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Where the model runs: tensorrt, cuda, openvino, cpu, or onnxruntime's name of another provider. Repeat it "
    "for several, the preferred one first. [default: what the environment variable REID_PROVIDER names; else tensorrt, "
    "cuda or cpu, the first that works, and on a CPU openvino if it is installed and measured to be faster]",
)
strict = click.option("--strict", is_flag=True, help="Stop with an error if the first --provider cannot be used.")


camera_statistics = click.option(
    "--camera-statistics/--no-camera-statistics",
    default=True,
    help="Remove each camera's bias before comparing, if there are camera statistics.  [default: on]",
)


query_camera = click.option(
    "--query-camera",
    type=NAME,
    metavar="NAME",
    help="The camera that took the query picture. [default: the camera that the dataset names; else unknown]",
)


def parse_source(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A source in its stored form: an absolute path, which need not exist any more, or the address of a stream."""
    if value == "":  # Path("") is the working directory, so it would select everything below it
        raise click.BadParameter("'': expected a dataset folder, an image or video file, or a stream's address")
    if value is None:
        return None
    from reid_toolkit.storage.store import in_object_storage

    if in_object_storage(value):
        return value.rstrip("/")
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
    """The person label that the catalogue has for the detector, if the user gave none. Else ``value``."""
    detector = ctx.params.get("detector")  # click handles options that were typed before options that were not
    if value is not None or not detector or not Path(detector).is_file():
        return value
    from reid_toolkit.catalogue.cache import person_label_of

    return person_label_of(detector)


PERSON_LABEL = click.option(
    "--person-label",
    type=click.IntRange(0),
    callback=known_label,
    metavar="N",
    help="The number of the class person, for a detector file that does not name its classes.",
)

DETECTING = (
    click.option(
        "--detector",
        type=DETECTOR,
        default="motion",
        show_default=True,
        help="motion (fixed cameras only), torchvision, a detector file (ONNX or OpenVINO .xml), or a name from "
        "`reid models`.",
    ),
    click.option("--detector-weights", type=FILE, help="For torchvision: a state dict to load instead of a download."),
    PERSON_LABEL,
    click.option(
        "--every",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="Keep every N-th crop of a tracklet; the tracker still sees every frame.",
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
        help="Widen boxes on each side by this fraction of their size.",
    ),
)
FRAME_RATE = click.option(
    "--frame-rate",
    type=Number(0.001, 1000),
    default=25.0,
    show_default=True,
    help="Frames per second of folders of frames.",
)
FOOTAGE = (
    click.option("--camera", help="Name of the camera. [default: the file's name without extension]"),
    *DETECTING,
    click.option(
        "--start",
        callback=parse_start,
        help="When the recording began, in ISO 8601; only with a single VIDEO. A time without an offset is in the "
        "zone REID_TIMEZONE, or in UTC.",
    ),
    FRAME_RATE,
)


footage = together(FOOTAGE)
"""The options that say how to find people in a recording: camera, detector, crops, times."""


CALIBRATION = (
    click.option(
        "--calibration",
        type=FILE,
        help="A calibration file from `reid calibrate`. [default: MODEL.calibration.json, if it exists]",
    ),
    click.option(
        "--people",
        type=click.IntRange(2, 10_000_000_000),  # more than all people on earth
        metavar="N",
        help="About how many different people the gallery holds; probabilities depend on it. "
        "[default: estimated from the calibration]",
    ),
    click.option(
        "--false-match-rate",
        type=Number(0, 0.5, min_open=True),
        metavar="RATE",
        help="Answer unknown if each match is at a distance that different people reach in more than RATE of "
        "comparisons, e.g. 0.001.",
    ),
)


calibration_options = together(CALIBRATION)
"""The options that turn distances into probabilities."""


UNITS = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60}
"""Seconds in each unit."""
LONGEST = 1e10
"""Seconds, about three centuries. Longer durations are refused as mistakes."""


def parse_duration(text: str) -> float:
    """The seconds of a duration such as "12h". Raises :class:`click.BadParameter` if it is malformed or zero."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([wdhm])", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(f"{text!r}: expected a duration such as 90m, 12h, 30d or 4w")
    return seconds


def parse_moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The Unix time of an age such as "30d", or of a moment in ISO 8601 (in the zone that is set, if it has no offset).

    Raises :class:`click.BadParameter` for a moment in the future or over three centuries ago.
    """
    if value is None:
        return None
    try:
        seconds = read_moment(value).timestamp()
    except ValueError:
        return time.time() - parse_duration(value)
    if seconds > time.time():
        raise click.BadParameter(f"{value!r} is in the future: every record would be older")
    if seconds < time.time() - LONGEST:
        raise click.BadParameter(f"{value!r} is over three centuries ago: expected a time at which records exist")
    return seconds


def format_duration(seconds: float) -> str:
    """The duration as :func:`parse_duration` reads it, in the largest unit that needs no fraction."""
    for unit, length in UNITS.items():
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds / UNITS['m']:g}m"
