"""Runs the demo over several seeds: does training help, how much, and which stage's model would have been the best?

    python tools/bench_demo.py --seeds 0 1 2 --folder demos --out docs/benchmarks/demo_rounds.json

Runs `reid demo` for each seed in its own folder, then exports and evaluates every stage of the run. A stage's true mAP
is computed here, after training; nothing that trains or selects reads it. The "best" column is an oracle: it can only
be known afterwards. Figures are with camera statistics, as in a search; figures without them are given too.

Each seed is written when it is done, and seeds that OUT has are skipped: name a new file to measure them again. If
--folder already has a demo, the tool goes on with it, and gives no seconds, because some of its work was done before.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import origin, save

from reid_toolkit.cli.evaluate import PLAIN
from reid_toolkit.training.selection import START


def reid(*arguments: object) -> Any:
    """Run a command with --json and return what it printed."""
    line = [sys.executable, "-m", "reid_toolkit", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)


def stages(demo: Path) -> list[dict[str, Any]]:
    """Return each stage's row of metrics.jsonl with its true rank-1 and mAP."""
    lines = [json.loads(line) for line in (demo / "run" / "metrics.jsonl").read_text().splitlines()]
    rows = [line for line in lines if line["stage"] != START]
    people, model = demo / "people", demo / "stage.onnx"
    for row in rows:
        reid("export", demo / "run", "--stage", row["stage"], "--dataset", people, "--out", model)
        found = reid("evaluate", model, people, "--identities", demo / "identities.csv")
        freed, plain = found[model.name], found[PLAIN.format(model.name)]
        row |= {"true_rank-1": freed["rank-1"], "true_mAP": freed["mAP"]}
        row |= {"true_plain_rank-1": plain["rank-1"], "true_plain_mAP": plain["mAP"]}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, required=True, help="where the demos go")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = json.loads(arguments.out.read_text())["runs"] if arguments.out.exists() else []
    for seed in arguments.seeds:
        if any(run["seed"] == seed for run in runs):
            continue
        demo = arguments.folder / f"{seed}"
        was_there = demo.exists()
        summary = reid("demo", "--seed", seed, "--out", demo)
        del summary["report"]
        if was_there:
            summary["seconds"] = None
        rows = stages(demo)
        selected = json.loads((demo / "run" / "model.json").read_text())["stage"]
        runs.append({**summary, "selected": selected, "stages": rows})
        save(arguments.out, origin() | {"runs": runs})
    print(
        "seed  tracklets  untrained, plain / freed     trained, plain / freed       best stage, freed (oracle)  seconds"
    )
    for run in runs:
        by_stage = {row["stage"]: row for row in run["stages"]}
        best = max(run["stages"], key=lambda row: row["true_mAP"])
        kept = by_stage[run["selected"]]["true_mAP"] if run["selected"] != START else run["before"]["mAP"]
        assert abs(kept - run["after"]["mAP"]) < 1e-6
        columns = [run["before_plain"], run["before"], run["after_plain"], run["after"]]
        pairs = [(one["rank-1"], one["mAP"]) for one in columns] + [(best["true_rank-1"], best["true_mAP"])]
        seconds = "-" if run["seconds"] is None else round(run["seconds"])
        text = "  ".join(f"{100 * a:5.1f} / {100 * b:5.1f}" for a, b in pairs)
        print(f"{run['seed']:4}  {run['tracklets']:9}  {text}  {seconds}")


if __name__ == "__main__":
    main()
