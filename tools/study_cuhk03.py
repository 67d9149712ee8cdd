"""Measures how well a run without labels finds real people across two cameras: the rows in docs/benchmarks.md.

    python tools/study_cuhk03.py --pictures labeled --weights mobilenet_v2.pth --runs runs --json cuhk03_rounds.json

``--pictures`` holds CUHK03's ``train`` and ``val``, crops named IIII_KK.jpg (identity; 00-04 camera A, 05-09 camera B).
Every training crop is a sample of its own; in rows of few tracklets, a person's crops in a camera are a tracklet.
Training is given no identity. ``--weights`` is an ImageNet state dict of the backbone. After the last round or stage,
each crop of ``val`` is ranked: camera A against B, B against A, and each against all others, without and with camera
statistics. Rows whose names begin with "taught" need ``--teacher``.

All rows but the GPU's take about ten hours on two cores. Rows are written into the JSON as they are finished. A call
after an interruption goes on: it keeps rows in the JSON and resumes unfinished runs. ``--rows`` and ``--seeds`` choose
rows. Calls with different rows or seeds may run at the same time and write into one JSON: on two cores, two calls with
``OMP_NUM_THREADS=1`` get more done than one after the other.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cuhk03 import link_pictures
from study import DEVICE, add_rows, add_trial_options, embedded, in_miniature, known_rows, print_rows, train_run
from study import run as run_study

from reid_toolkit.config import Recipe
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.evaluation.protocol import evaluate, free_of_cameras
from reid_toolkit.evaluation.ranking import Ranking
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.records import Crop
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.choosing import for_gpu, shortened
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.selection import START
from reid_toolkit.training.teaching import taught_by

SIZE = {"height": 128, "width": 64}
UNTRAINED = "not trained"
"""The row of a network before training."""


@dataclass(frozen=True)
class Row:
    """A recipe with changes, and the seeds to train it with."""

    recipe: str
    seeds: tuple[int, ...] = (0,)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Changed settings, by table of the recipe."""
    rounds: int = 0
    """Number of rounds, instead of the recipe's."""
    gpu: bool = False
    """Whether it needs a GPU to train in reasonable time. Without a GPU it runs only if --rows names it."""
    taught: bool = False
    """Whether the first two thirds of the rounds take their clusters from --teacher."""
    clusters_only: bool = False
    """Whether the network does not learn the teacher's distances (``teacher_weight`` 0)."""
    tracklets_of: int = 0
    """Train on tracklets of this many people, other people for each seed: one tracklet per person and camera, as a
    tracker makes them. If 0, train on every crop of everybody as a sample of its own."""

    def of(self, seed: int, weights: Path) -> Recipe:
        """Return the recipe to train with this seed, from ``weights``."""
        recipe = for_gpu(load_recipe(self.recipe)) if self.gpu else load_recipe(self.recipe)
        recipe = shortened(recipe, self.rounds) if self.rounds else recipe
        changes = {part: dict(values) for part, values in self.changes.items()}
        changes.setdefault("network", {})["weights"] = str(weights)
        if not self.tracklets_of:
            changes.setdefault("training", {}).update(samples="images", frames=1)
        parts = {part: replace(getattr(recipe, part), **values) for part, values in changes.items()}
        return replace(recipe, seed=seed, **parts)


def shorter(**changes: dict[str, Any]) -> Row:
    """Make a row of the ablation: dbc_cameras with 12 rounds and ``changes``."""
    return Row("dbc_cameras", changes=changes, rounds=12)


SAME = {"network": {"backbone": "mobilenet_v2", **SIZE}}
ROWS = {
    "dbc_cameras": Row("dbc_cameras", (0, 1, 2)),
    # As many crops as 40 rounds of 110 steps of 64: 40 rounds of 27 or 28 steps of 256, or 38 epochs of all 7,239.
    "cluster_contrast": Row(
        "cluster_contrast", (0, 1),
        {"network": SAME["network"] | {"last_stride": 2},
         "rounds": {"count": 40, "steps": 28, "cameras_from": 40, "decay_every": 16}},
    ),
    "dbc_cameras, ResNet-50": Row("dbc_cameras", gpu=True),
    # Without the parts that gained nothing in 12 rounds. Last stride 1 gained four points there, but a run takes a
    # quarter longer, which is over an hour on two slow cores.
    "dbc_cameras, leaner": Row(
        "dbc_cameras", (0, 1, 2), {"merging": {"trade_off": 0.0}, "rounds": {"spread_cameras": False}}
    ),
    "dbc": Row("dbc", changes=SAME | {"training": {"later_epochs": 1}}),
    "buc_size": Row("buc_size", changes=SAME | {"training": {"later_epochs": 1}}),
    "taught": Row("dbc_cameras", (0, 1, 2), taught=True),
    "taught: clusters only": Row("dbc_cameras", (0, 1), taught=True, clusters_only=True),
    "taught, ResNet-50": Row("dbc_cameras", gpu=True, taught=True),
    "taught, short": Row("dbc_cameras", rounds=12, taught=True),
    "taught, short: clusters only": Row("dbc_cameras", rounds=12, taught=True, clusters_only=True),
    "50 tracklets": Row("dbc_cameras_tracklets", (0, 1, 2), tracklets_of=25),
    "100 tracklets": Row("dbc_cameras_tracklets", (0, 1, 2), tracklets_of=50),
    "200 tracklets": Row("dbc_cameras_tracklets", (0, 1, 2), tracklets_of=100),
    "200 tracklets in 6 rounds": Row("dbc_cameras_tracklets", (0, 1, 2), rounds=6, tracklets_of=100),
    "600 tracklets": Row("dbc_cameras_tracklets", (0, 1), tracklets_of=300),
    "600 tracklets, dbc_cameras in 12 rounds": Row("dbc_cameras", rounds=12, tracklets_of=300),
    "short": shorter(),
    "short: no camera statistics": shorter(merging={"camera_statistics": False}),
    "short: never looks at cameras": shorter(rounds={"cameras_from": 12}),
    "short: looks at cameras from the first round": shorter(rounds={"cameras_from": 0}),
    "short: DBSCAN": shorter(rounds={"clustering": "dbscan", "radius": 0.5}),
    "short: no within term (lambda 0)": shorter(merging={"trade_off": 0.0}),
    "short: clusters of 2 and more": shorter(rounds={"smallest": 2}),
    "short: samples of a cluster at random": shorter(rounds={"spread_cameras": False}),
    "short: all clusters weigh the same": shorter(rounds={"balance_cameras": False}),
    "short: average pooling": shorter(network={"pooling": "average"}),
    "short: the paper's embedding head": shorter(network={"head": "embedding", "embedding": 1024}),
    "short: last stride 1": shorter(network={"last_stride": 1}),
    "short: no erasing": shorter(training={"erasing": 0.0}),
    "short: table moves by half": shorter(training={"table_momentum": 0.5}),
    "short: SGD": shorter(training={"optimiser": "sgd"}, rounds={"learning_rate": 0.01}),
}  # fmt: skip


def without_names(pictures: Path, out: Path, people: range | None = None, *, tracklets: bool = False) -> Dataset:
    """Return the training part of ``pictures``, of these ``people`` or all. Its manifest has no identities.

    With ``tracklets``, a person's crops in one camera are a tracklet; otherwise each crop is.
    """

    def kept(crops: list[Crop]) -> list[Crop]:
        chosen = [crop for crop in crops if people is None or int(crop.identity or 0) - 1 in people]
        return [nameless(crop, grouped=tracklets) for crop in chosen]

    found = read_manifest(out) if (out / "manifest.csv").exists() else link_pictures(pictures, out, kept)
    if any(crop.identity for crop in found.crops):
        raise DatasetError(f"{out}: has identities: expected none, because it is trained on: remove the folder")
    return found


def nameless(crop: Crop, *, grouped: bool) -> Crop:
    """Return the crop without its identity. If ``grouped``, its tracklet's name does not reveal who it is."""
    if not grouped:
        return replace(crop, identity=None)
    who, number = crop.path.stem.split("_")
    name = hashlib.sha256(f"{who} {crop.camera}".encode()).hexdigest()[:12]
    return replace(crop, identity=None, tracklet=name, frame=int(number))


def ranked(run: Path, stage: str, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield the rankings by the run's network at ``stage``, without and with camera statistics; fractions 0-1."""
    plain = embedded(RunFolder(run), stage, dataset)
    for freed, pair in ((False, (plain, plain)), (True, free_of_cameras(plain, plain))):
        if pair is None:
            continue
        evaluation = evaluate(*pair)
        rankings: dict[str, Ranking | None] = {f"{a} to {b}": found for (a, b), found in evaluation.pairs.items()}
        for where, ranking in (rankings | {"all cameras": evaluation.overall}).items():
            if ranking:
                yield {
                    "ranked": where, "camera_statistics": freed, "rank-1": ranking.rank(1), "mAP": ranking.mean_ap,
                }  # fmt: skip


def at_its_place(run: Path, dataset: Dataset) -> dict[str, Any]:
    """Rank the tracklets that the run learned from, before and after training, by their identities.

    This measures the use in practice: these people, in front of these cameras.
    """
    who = {one.name: str(int(one.crops[0].path.stem.split("_")[0]) + 1) for one in dataset.tracklets}
    named = dataset.with_identities(who)
    found: dict[str, Any] = {"tracklets": len(named.tracklets), "verdict": RunFolder(run).model().get("verdict")}
    for when, stage in (("before", "initial"), ("after", "last")):
        found[when] = [*ranked(run, stage, named)]
    return found


def smaller(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return the recipe as the options for trials change it."""
    recipe = in_miniature(recipe, options)
    network, training = recipe.network, recipe.training
    if options.he_2015:
        network = replace(network, stride_in_1x1=True)
    if options.epochs:
        training = replace(training, first_epochs=options.epochs[0], later_epochs=options.epochs[1])
    if options.precision:
        training = replace(training, precision=options.precision)
    return replace(recipe, network=network, training=training)


def main(options: argparse.Namespace) -> None:
    for part in ("train", "val"):
        if not (options.pictures / part).is_dir():
            raise DatasetError(f"{options.pictures}: no folder {part}: expected CUHK03's labeled/, with train and val")
    table = ROWS | {name: Row(name) for name in options.recipes or ()}
    usual = [name for name, row in ROWS.items() if (DEVICE.type == "cuda" or not row.gpu) and not row.taught]
    chosen = options.recipes or options.rows or usual
    for name in chosen:
        if name not in table:
            raise InputError(f"--rows {name!r}: expected some of {', '.join(map(repr, ROWS))}")
    teacher = Embedder(options.teacher) if options.teacher else None
    if not teacher and any(table[name].taught for name in chosen):
        raise InputError("a row that is taught needs --teacher MODEL, a file of `reid adopt`")
    options.runs.mkdir(parents=True, exist_ok=True)
    known = options.runs / "val"
    val = read_manifest(known) if known.exists() else link_pictures(options.pictures / "val", known)
    everybody = range(options.people) if options.people else None
    train = without_names(options.pictures / "train", options.runs / "train", everybody)
    for name in chosen:
        for seed in options.seeds or table[name].seeds:
            tutor = teacher if table[name].taught else None
            shown_as = f"{name} by {options.teacher.stem}" if tutor else name
            if any((row["row"], row["seed"]) == (shown_as, seed) for row in known_rows(options.json)):
                continue
            recipe = smaller(table[name].of(seed, options.weights), options)
            recipe = taught_by(recipe, tutor) if tutor else recipe
            if table[name].clusters_only:
                recipe = replace(recipe, rounds=replace(recipe.rounds, teacher_weight=0.0))
            called = Path(name).stem if options.recipes else shown_as  # a teacher's name may have a dot
            run = options.runs / f"{called.replace(' ', '-').replace(':', '').replace(',', '')}-{seed}"
            began, learned_from, count = time.time(), train, table[name].tracklets_of
            if count:
                some, folder = range(seed * count, (seed + 1) * count), options.runs / f"tracklets-{count}-{seed}"
                learned_from = without_names(options.pictures / "train", folder, some, tracklets=True)
            train_run(learned_from.root, recipe, run, tutor)
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            metrics = [line for line in lines if line["stage"] != START]
            about = {
                "stages": len(metrics), "training_seconds": round(sum(row["seconds"] for row in metrics)),
                "this_call_seconds": round(time.time() - began), "recipe": asdict(recipe),
            }  # fmt: skip
            if count:
                about |= at_its_place(run, learned_from)
            rows = [
                *untrained(options.json, run, recipe, val),
                {"row": shown_as, "seed": seed, "held_out": [*ranked(run, "last", val)], **about},
            ]
            crops = {"training_crops": len(train.crops), "held_out_crops": len(val.crops)}
            add_rows(options.json, rows, ("row", "seed", "network"), **crops)
    print_rows(shown(known_rows(options.json)))


def untrained(path: Path, run: Path, recipe: Recipe, val: Dataset) -> Iterator[dict[str, Any]]:
    """Yield the row of the run's network before training, unless the JSON has one of the same network."""
    network = asdict(recipe.network)
    if not any(row["row"] == UNTRAINED and row.get("network") == network for row in known_rows(path)):
        held_out = [*ranked(run, "initial", val)]
        yield {"row": UNTRAINED, "seed": recipe.seed, "network": network, "held_out": held_out}


def shown(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Format each row as a line: mAP of every ranking, and rank-1 of the first."""
    for row in rows:
        found = {f"{one['ranked']}{' freed' * one['camera_statistics']}": one for one in row["held_out"]}
        rank_1 = {"A to B rank-1": found["A to B"]["rank-1"]} if "A to B" in found else {}
        network = row.get("network")
        of = f", {network['backbone']} {network['height']}x{network['width']}" if network else ""
        yield {"row": row["row"] + of, "seed": row["seed"], **rank_1, **{key: one["mAP"] for key, one in found.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; unfinished ones go on")
    parser.add_argument("--json", type=Path, required=True)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--rows", nargs="+", metavar="ROW", help="of the table; by default all that suit the machine")
    chosen.add_argument(
        "--recipes", nargs="+", metavar="RECIPE",
        help="instead of rows: shipped recipes or TOML files, with --weights, and each crop as a sample",
    )  # fmt: skip
    parser.add_argument("--teacher", type=Path, help="a model of `reid adopt`, for the rows that are taught")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="by default those of the table")
    parser.add_argument("--he-2015", action="store_true", help="--weights have the stride on the first 1x1 convolution")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="instead of the row's")
    parser.add_argument("--people", type=int, help="of the training part; all of them by default")
    parser.add_argument("--epochs", type=int, nargs=2, metavar=("FIRST", "LATER"))
    add_trial_options(parser)
    run_study(main, parser)
