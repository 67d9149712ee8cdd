"""What tools/gpu_session.py measures its results against: goals, each judged by the JSON of a step. Not a command.

The goals are those of docs/benchmarks.md. A figure that is only extrapolated meets no goal; it misses one if what was
measured alone takes too long.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

WHOLE = "dbc+bfloat16"
"""The row of bench_training.py that is run as a whole: as `reid train` does it on a GPU of this size."""
UNTAUGHT, TAUGHT = "dbc_cameras, ResNet-50", "taught, ResNet-50"
"""Rows of study_cuhk03.py."""
MILLION = 1_000_000
Verdict = tuple[str, str] | None
"""The result (met, missed, not measured, measured) and its figures; None if there is no figure."""


@dataclass(frozen=True)
class Goal:
    says: str
    step: str
    """The step that measures it."""
    judge: Callable[[Path], Verdict]
    """Gives the verdict on a folder of results."""


def read(path: Path) -> dict[str, Any]:
    """Return a tool's JSON; nothing if there is no such file, or if it cannot be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def rows_of(out: Path, name: str, **wanted: object) -> list[dict[str, Any]]:
    """Return the rows of a tool's JSON with these values."""
    rows = read(out / name).get("rows", [])
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def against(value: float, limit: float, *, most: bool) -> str:
    return "met" if (value <= limit if most else value >= limit) else "missed"


def whole_row(out: Path) -> dict[str, Any] | None:
    rows = [row for row in rows_of(out, "training.json", row=WHOLE) if "failed" not in row]
    return rows[-1] if rows else None


def schedule(limit: float, out: Path) -> Verdict:
    """Judge the seconds of the whole schedule."""
    row = whole_row(out)
    if row is None:
        return None
    seconds, share = row["seconds"], row["measured_share_of_steps"]
    if share >= 1:
        return against(seconds, limit, most=True), f"{seconds:.0f} s, {row['images_per_second']:.0f} images/s"
    figures = f"{100 * share:.0f}% of the steps in {row['measured_wall_seconds']:.0f} s; extrapolated {seconds:.0f} s"
    return ("missed" if row["measured_wall_seconds"] > limit else "not measured"), figures


def steps_share(limit: float, out: Path) -> Verdict:
    """Judge the share of training steps in the whole schedule."""
    row = whole_row(out)
    if row is None:
        return None
    result = against(row["shares"]["train"], limit, most=False)
    shares = ", ".join(f"{phase} {100 * share:.1f}%" for phase, share in row["shares"].items())
    return (result if row["measured_share_of_steps"] >= 1 else "not measured"), shares


def times_plain(limit: float, out: Path) -> Verdict:
    """Judge how many times as fast the whole schedule is as the plain way."""
    row, plain = whole_row(out), [row for row in rows_of(out, "plain.json", row="plain") if "failed" not in row]
    if row is None or not plain:
        return None
    times = plain[-1]["seconds"] / row["seconds"]
    figures = f"{times:.1f} times: {row['seconds']:.0f} s, and {plain[-1]['seconds']:.0f} s by the plain way's speed"
    return (against(times, limit, most=False) if row["measured_share_of_steps"] >= 1 else "not measured"), figures


def accuracy(name: str, limit: float, out: Path) -> Verdict:
    """Judge mAP of camera A against B, without camera statistics, and give all rankings."""
    rows = [row for row in rows_of(out, "cuhk03.json") if row["row"] == name or row["row"].startswith(f"{name} by ")]
    if not rows:
        return None
    found = [(f"{one['ranked']}{', freed' * one['camera_statistics']}", one) for one in rows[-1]["held_out"]]
    figures = "; ".join(f"{where} {100 * one['rank-1']:.1f} / {100 * one['mAP']:.1f}" for where, one in found)
    return against(100 * dict(found)["A to B"]["mAP"], limit, most=False), f"rank-1 / mAP: {figures}"


def merging(data: str, limit: float, out: Path) -> Verdict:
    """Judge the seconds of a million samples. A row that was given up was measured for a time."""
    rows = rows_of(out, "merging.json", data=data, samples=MILLION)
    if not rows:
        return None
    row = rows[-1]
    parts = "".join(f"; {part} {row[part]['seconds']:.1f} s" for part in ("neighbours", "merging") if part in row)
    if "failed" not in row:
        return against(row["seconds"], limit, most=True), f"{row['seconds']:.1f} s{parts}"
    seconds = row.get("at_least_seconds", 0.0)
    if seconds > limit:
        return "missed", f"not done after {seconds:.0f} s{parts}"
    return "not measured", f"{row['failed']}{parts}"


def speed(way: str, out: Path) -> Verdict:
    """Give the crops a second of a way to embed, or why there are none."""
    rows = rows_of(out, "embedder.json", way=way)
    if rows:
        found = (f"{row['crops_per_second']:.0f} at {row['batch']}" for row in rows)
        return "measured", f"crops/s: {', '.join(found)} crops a call"
    why = read(out / "embedder.json").get("left_out", {}).get(way)
    return ("not measured", why) if why else None


GOALS = (
    Goal("the whole schedule of dbc (bfloat16), 12,936 pictures, in 300 s", "training", partial(schedule, 300)),
    Goal("85% of that in training steps", "training", partial(steps_share, 0.85)),
    Goal("4 times as fast as the plain way", "plain", partial(times_plain, 4)),
    Goal(f"{UNTAUGHT}: 60 mAP from A to B on CUHK03", "cuhk03", partial(accuracy, UNTAUGHT, 60)),
    Goal(f"{TAUGHT}: 81.1 mAP from A to B on CUHK03", "taught", partial(accuracy, TAUGHT, 81.1)),
    Goal("neighbours and merging of 1,000,000 x 2048 in 60 s", "million", partial(merging, "people", 60)),
    Goal("merge_clusters on 1,000,000 x 2048 in 60 s", "clusters", partial(merging, "clustered", 60)),
    Goal("ResNet-50 embeds with CUDA", "embedder", partial(speed, "ours, CUDA")),
    Goal("ResNet-50 embeds with TensorRT", "embedder", partial(speed, "ours, TensorRT")),
)
