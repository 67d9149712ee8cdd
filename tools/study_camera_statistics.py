"""Studies the gain from camera statistics on real pictures: many embedders, few records, and sets made to break them.

    python tools/study_camera_statistics.py --pictures labeled/val --models *.xml mobilenet_v2.onnx \
        --json docs/benchmarks/camera_statistics.json

``--pictures`` is a folder of CUHK03 crops named IIII_KK.jpg (identity; 00-04 camera A, 05-09 camera B). A model is an
ONNX file of `reid export`, or the .xml of an OpenVINO network that takes raw BGR, NCHW (Intel's
person-reidentification-retail), which needs OpenVINO. `pip install '.[studies]'`
installs it and what this tool needs. The mAP is over all cameras: each crop is
searched among all others, without entries of the same person in the same camera. Identities are read only to judge and
to choose whom a made set shows; no fit sees them. Rows are written as they are finished.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cuhk03 import camera_of
from numpy.typing import NDArray
from study import print_rows, run, write_json

from reid_toolkit.camera_statistics import UNHEARD, CameraStatistics, fit_camera_statistics
from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.protocol import euclidean
from reid_toolkit.evaluation.ranking import rank
from reid_toolkit.images import read_image
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.openvino import import_openvino

CROPS, TRACKLETS = (20, 50, 100, 200), (5, 10, 12, 20, 40, 70, 100)
"""Numbers per camera in the curves."""
DRAWS = 10
"""Random draws for each point of a curve, and for each made set that is random."""
BATCH = 16
"""Pictures in a batch."""


@dataclass(frozen=True)
class Crops:
    """Descriptors of crops, in rows."""

    rows: NDArray[np.float32]
    """(N, D), rows of length 1."""
    people: NDArray[np.int64]
    cameras: NDArray[np.str_]
    tracklets: NDArray[np.int64]
    """Numbers. The crops of one person in one camera are a tracklet, as a tracker would have made it."""

    def take(self, chosen: NDArray) -> "Crops":
        return Crops(self.rows[chosen], self.people[chosen], self.cameras[chosen], self.tracklets[chosen])

    def fit(self, *, each_crop: bool = False) -> CameraStatistics | None:
        """Fit statistics to these crops. With ``each_crop``, each crop counts as a tracklet of its own."""
        return fit_camera_statistics(self.rows, self.cameras.tolist(), None if each_crop else self.tracklets.tolist())

    def by(self, statistics: CameraStatistics | None, cameras: list[str | None] | None = None) -> NDArray[np.float32]:
        """Return the rows freed of their own cameras' bias, or of that of ``cameras``; unchanged without statistics."""
        return statistics.apply(self.rows, cameras or self.cameras.tolist()) if statistics else self.rows


def mean_ap(
    crops: Crops, rows: NDArray[np.float32], queries: NDArray | None = None, asked: NDArray | None = None
) -> Any:
    """Return mAP and rank-1 over all cameras for ``rows``, which are those of ``crops``, freed or not. If ``queries``
    (indices) are given, only they search; ``asked`` are their descriptors if they differ from their rows."""
    chosen = np.arange(len(rows)) if queries is None else queries
    distances = euclidean(rows[chosen] if asked is None else asked, rows)
    found = rank(distances, crops.people[chosen], crops.people, crops.cameras[chosen], crops.cameras)
    return found.mean_ap, found.rank(1)


def between(crops: Crops, rows: NDArray[np.float32], query: str, gallery: str) -> Any:
    """Return mAP and rank-1 of one camera's crops searched among another's."""
    a, b = (np.flatnonzero(crops.cameras == name) for name in (query, gallery))
    found = rank(euclidean(rows[a], rows[b]), crops.people[a], crops.people[b], crops.cameras[a], crops.cameras[b])
    return found.mean_ap, found.rank(1)


def row(what: str, plain: Any, freed: Any, **more: Any) -> dict[str, Any]:
    """Make a row: mAP and rank-1 of one set, without statistics and with them ("freed_"), as fractions 0-1."""
    return {"set": what, "mAP": plain[0], "freed_mAP": freed[0], "rank-1": plain[1], "freed_rank-1": freed[1], **more}


def whole(crops: Crops) -> Iterator[dict[str, Any]]:
    """Measure all crops, one camera against the other, and statistics fitted to one half of the people for the
    other."""
    own, by_crop = crops.fit(), crops.fit(each_crop=True)
    plain = mean_ap(crops, crops.rows)
    assert own is not None
    # sigma^2 / tau^2, from the weight of a camera with n people: (n - 3) / (n - 3 + the ratio).
    ratios = [(one.people - UNHEARD) * (1 / one.weight - 1) for one in own.cameras]
    yield row("all, fitted to tracklets", plain, mean_ap(crops, crops.by(own)), variance_ratio=float(np.mean(ratios)))
    yield row("all, fitted to crops", plain, mean_ap(crops, crops.by(by_crop)))
    for a, b in ("AB", "BA"):
        yield row(f"{a} to {b}", between(crops, crops.rows, a, b), between(crops, crops.by(own), a, b))
    for name, half in (("even", crops.people % 2 == 0), ("odd", crops.people % 2 == 1)):
        judged = crops.take(np.flatnonzero(~half))
        other = crops.take(np.flatnonzero(half)).fit()
        freed = mean_ap(judged, judged.by(other))
        yield row(f"fitted to the {name} half of the people, judged on the other", mean_ap(judged, judged.rows), freed)


def curve(crops: Crops) -> Iterator[dict[str, Any]]:
    """Fit to random crops or tracklets of each camera, in several numbers, and judge on all: mean and minimum."""
    plain = mean_ap(crops, crops.rows)
    units = np.arange(len(crops.rows))
    for kind, sizes, names in (("crops", CROPS, units), ("tracklets", TRACKLETS, crops.tracklets)):
        for size in sizes:
            found = []
            for seed in range(DRAWS):
                rng = np.random.default_rng(seed)
                drawn = []
                for camera in ("A", "B"):
                    there = np.unique(names[crops.cameras == camera])
                    drawn.append(rng.choice(there, min(size, len(there)), replace=False))
                part = crops.take(np.flatnonzero(np.isin(names, np.concatenate(drawn))))
                found.append(mean_ap(crops, crops.by(part.fit(each_crop=kind == "crops"))))
            least = min(score for score, _ in found)
            yield row(f"{size} {kind} a camera", plain, np.mean(found, axis=0), least=least, fitted_to=[kind, size])


def third_camera(crops: Crops, people: int) -> Iterator[Crops]:
    """Yield sets in which some people's crops of camera B come from a third camera, which nobody else passes."""
    for seed in range(DRAWS):
        who = np.random.default_rng(seed).choice(np.unique(crops.people), people, replace=False)
        moved = np.isin(crops.people, who) & (crops.cameras == "B")
        yield replace(crops, cameras=np.where(moved, "C", crops.cameras))


def made_to_break(crops: Crops, darkened: Crops) -> Iterator[dict[str, Any]]:
    """Measure sets in which the mean of descriptors is not the camera's bias."""
    for people, name in ((1, "one person"), (5, "five tracklets")):
        for each_crop in (False, True):
            sets = list(third_camera(crops, people))
            freed = [one.by(one.fit(each_crop=each_crop)) for one in sets]
            as_what = ", each crop a tracklet" if each_crop else ""
            scores = [
                [mean_ap(one, one.rows) for one in sets],
                [mean_ap(*pair) for pair in zip(sets, freed, strict=True)],
            ]
            yield row(f"a third camera of {name}{as_what}: all", *np.mean(scores, axis=1))
            few = [np.flatnonzero(one.cameras == "C") for one in sets]
            scores = [
                [mean_ap(one, one.rows, queries) for one, queries in zip(sets, few, strict=True)],
                [mean_ap(one, rows, queries) for one, rows, queries in zip(sets, freed, few, strict=True)],
            ]
            yield row(f"a third camera of {name}{as_what}: its people", *np.mean(scores, axis=1))
    plain = mean_ap(crops, crops.rows)
    even = crops.people % 2 == 0
    apart = crops.take(np.flatnonzero(even == (crops.cameras == "A")))
    yield row("fitted to two cameras that share nobody", plain, mean_ap(crops, crops.by(apart.fit())))
    busy = crops.take(np.flatnonzero((crops.cameras == "A") | even))
    yield row("one camera twice as busy", mean_ap(busy, busy.rows), mean_ap(busy, busy.by(busy.fit())))
    # Half of camera B's people pass at night: first as one camera, as it is, and then enrolled as two cameras.
    night = (crops.cameras == "B") & even
    mixed = replace(crops, rows=np.where(night[:, None], darkened.rows, crops.rows))
    yield row("day and night in one camera", mean_ap(mixed, mixed.rows), mean_ap(mixed, mixed.by(mixed.fit())))
    told = np.where(night, "B at night", crops.cameras).tolist()
    statistics = fit_camera_statistics(mixed.rows, told, mixed.tracklets.tolist())
    yield row(
        "day and night, enrolled as two cameras", mean_ap(mixed, mixed.rows), mean_ap(mixed, mixed.by(statistics, told))
    )
    alone = replace(crops, cameras=np.char.add(crops.cameras, crops.tracklets.astype(str)))
    yield row(
        "each tracklet a camera of its own",
        plain,
        mean_ap(crops, crops.rows if alone.fit() is None else alone.by(alone.fit())),
    )
    ten = replace(crops, cameras=np.where(crops.cameras == "B", np.char.add("B", (crops.people % 5).astype(str)), "A"))
    yield row("camera B as five cameras of 20 people", mean_ap(ten, ten.rows), mean_ap(ten, ten.by(ten.fit())))


def unknown_camera(crops: Crops) -> Iterator[dict[str, Any]]:
    """Measure the cost of not knowing the query's camera, and the result of guessing it from the descriptor."""
    statistics = crops.fit()
    assert statistics is not None
    rows, everyone = crops.by(statistics), np.arange(len(crops.rows))
    plain = mean_ap(crops, crops.rows)
    asked = crops.by(statistics, [None] * len(rows))
    yield row("the query's camera is not known", plain, mean_ap(crops, rows, everyone, asked))
    distances = np.stack([np.linalg.norm(crops.rows - mean, axis=1) for mean in statistics.means])
    guess = [statistics.cameras[place].camera for place in distances.argmin(axis=0)]
    right = float(np.mean(np.array(guess) == crops.cameras))
    asked = crops.by(statistics, list(guess))
    yield row("it is guessed by the nearest mean", plain, mean_ap(crops, rows, everyone, asked), guessed_right=right)


Embed = Callable[[list[NDArray[np.uint8]]], NDArray[np.float32]]


def open_model(path: Path) -> Embed:
    """Return a function from pictures to unit descriptors (N, D)."""
    if path.suffix != ".xml":
        return Embedder(path).embed
    try:
        core = import_openvino(str(path)).Core()
    except ImportError as error:
        raise InputError(f"{path}: OpenVINO is not installed: pip install '.[studies]' in reid's checkout") from error
    model = core.read_model(path)
    _, _, height, width = model.input().shape
    network = core.compile_model(model, "CPU")

    def embed(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        found = []
        for image in images:
            crop = cv2.resize(image, (width, height)).transpose(2, 0, 1)[None].astype(np.float32)
            found.append(network(crop)[0].reshape(-1))
        rows = np.array(found, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return embed


def darken(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change a picture as if seen at night: a third of the light, little colour, bluish."""
    grey = image.mean(axis=2, keepdims=True)
    return np.clip((0.3 * image + 0.7 * grey) * np.array([0.38, 0.33, 0.3]), 0, 255).astype(np.uint8)


def read_crops(pictures: Path, embed: Embed, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Crops:
    paths = sorted(pictures.glob("*.jpg"))
    if not paths:
        raise InputError(f"{pictures}: no pictures: expected files named IIII_KK.jpg")
    rows = [embed([change(read_image(path)) for path in paths[at : at + BATCH]]) for at in range(0, len(paths), BATCH)]
    people = np.array([int(path.stem.split("_")[0]) + 1 for path in paths])  # from 1, because 0 is a distractor
    cameras = np.array([camera_of(path) for path in paths])
    return Crops(np.concatenate(rows), people, cameras, 2 * people + (cameras == "B"))


def study(crops: Crops, darkened: Crops) -> Iterator[dict[str, Any]]:
    """Yield every row of one embedder."""
    yield from whole(crops)
    yield from curve(crops)
    yield from made_to_break(crops, darkened)
    yield from unknown_camera(crops)


def main(options: Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for path in options.models:
        embed = open_model(path)
        crops = read_crops(options.pictures, embed, lambda image: image)
        darkened = read_crops(options.pictures, embed, darken)
        for found in study(crops, darkened):
            rows.append({"model": path.stem, **found})
            write_json(options.json, {"crops": len(crops.rows), "rows": rows})
        print_rows(
            [
                {key: one[key] for key in ("model", "set", "mAP", "freed_mAP", "rank-1", "freed_rank-1")}
                for one in rows
                if one["model"] == path.stem
            ]
        )
    changes = [100 * (one["freed_mAP"] - one["mAP"]) for one in rows]
    worst = int(np.argmin(changes))
    least = f"{changes[worst]:+.1f}: {rows[worst]['model']}, {rows[worst]['set']}"
    print(f"mean gain {np.mean(changes):+.1f} points of mAP; the least {least}")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--json", type=Path, required=True)
    run(main, parser)
