"""Evaluates every stage against identities, into ``evaluation.jsonl`` in the run folder. Training never reads it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reid_toolkit.files import parse_json, write_atomic
from reid_toolkit.reporting.study import Model, Stage, Study
from reid_toolkit.training.run_folder import network_weights
from reid_toolkit.training.selection import START
from reid_toolkit.version import __version__

NAME = "evaluation.jsonl"
MEASURES = 2
"""Version of what is measured of a stage. Rows with another version are measured again."""


def evaluate_stages(
    study: Study, device: torch.device, on_progress: Callable[[int, int | None], None] | None = None
) -> list[dict[str, Any]]:
    """Measure each finished stage, with and without labels, and store the rows in the run folder's
    ``evaluation.jsonl``.

    The file is rewritten after each stage. A stage that it already holds, of the same run and for the same identities,
    is not measured again, so an interrupted evaluation can go on. A stage costs one pass over the pictures. The file
    begins with the network before training, see :func:`read_untrained`.

    Raises :class:`reid_toolkit.errors.InputError` if no identity is known.
    """
    path, rows = study.folder.path / NAME, []
    kept = {row.get("of"): row for row in _read(study.folder.path)}
    baseline = untrained(study, device, kept)
    numbers = study.folder.stages()
    for done, number in enumerate(numbers, start=1):
        stage = Stage(study, number, device)
        key = fingerprint(study, stage.checkpoint.metrics[-1])
        trained = stage.checkpoint.metrics[-1]
        row = {"stage": number, "clusters": trained["clusters"], "loss": trained["loss"], "of": key}
        rows.append(kept.get(key) or row | stage.truth() | stage.figures())
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in [*baseline, *rows]))
        if on_progress:
            on_progress(done, len(numbers))
    return rows


def untrained(study: Study, device: torch.device, kept: dict[str | None, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the row of the network before training; none if an older version did not store its weights."""
    path = study.folder.stage_path(START)
    if not path.exists():
        return []
    key = fingerprint(study, START)
    row = kept.get(key) or {"stage": START, "of": key, **Model(study, network_weights(path), device).retrieval()}
    return [row]


def read_evaluation(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``evaluation.jsonl``, one per stage; none if it is missing or damaged, because it can be
    remade."""
    return [row for row in _read(run) if row["stage"] != START]


def read_untrained(run: Path) -> dict[str, Any] | None:
    """Return the row of the network before training in ``evaluation.jsonl``; None if there is none."""
    return next((row for row in _read(run) if row["stage"] == START), None)


def _read(run: Path) -> list[dict[str, Any]]:
    try:
        rows = [parse_json(line) for line in (run / NAME).read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("stage"), int)]


def fingerprint(study: Study, stage: object) -> str:
    """16 hex digits over a stage's line of metrics.jsonl, all identities, and the version of what is measured."""
    parts = (study.samples, study.query, study.gallery)
    people = [[(t.name, t.crops[0].identity) for t in part.tracklets] for part in parts]
    content = json.dumps([__version__, MEASURES, study.folder.dataset(), stage, people])
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:16]
