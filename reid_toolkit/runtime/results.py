"""A job's shards joined to its result, with what could not be read named beside it.

OUT/
  descriptors.npy        (N, D) float32, or descriptors.parquet: the manifest's columns and "descriptor"
  manifest.csv           row, path, camera, tracklet, frame, time: what each row of the descriptors is
  bad.csv                path, problem: crops that could not be read
  report.json            counts; written last
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass

from reid_toolkit.errors import RunError
from reid_toolkit.files import parse_json, write_atomic
from reid_toolkit.records import Crop
from reid_toolkit.runtime.claims import Claims
from reid_toolkit.runtime.shards import WAIT_SECONDS, Job, printable
from reid_toolkit.runtime.tables import COLUMNS, WRITERS, Row, open_csv

RESULT = "result"
"""The claim on joining."""


@dataclass(frozen=True)
class EmbedReport:
    """What came of a job."""

    crops: int
    """In the list."""
    embedded: int
    bad: int
    """Could not be read."""
    first_bad: str
    """What is wrong with the first of them; empty when there is none."""
    descriptors: str
    """Name of the file of descriptors."""
    model: str
    """Fingerprint of the model file."""
    dimension: int


def result_of(job: Job, claims: Claims) -> EmbedReport:
    """Join a job's finished shards, or wait for the process that does so, and say what came of it."""
    while not job.report.exists():
        if claims.take(RESULT):
            try:
                if not job.report.exists():
                    join(job, claims)
            finally:
                claims.drop(RESULT)
        else:
            time.sleep(WAIT_SECONDS)
    shutil.rmtree(job.shards, ignore_errors=True)
    try:
        return EmbedReport(**parse_json(job.report.read_bytes()))
    except (ValueError, TypeError):
        raise RunError(f"{job.report}: damaged: delete {job.folder} and run the same command again") from None


def join(job: Job, claims: Claims) -> None:
    """Write the result, file by file and the report last; the shards are read one at a time."""
    total = sum(len(job.read(name).kept) for name in job.names)
    descriptors = f"descriptors.{job.asked.format}"
    bad: list[tuple[int, str]] = []
    with (
        WRITERS[job.asked.format](job.folder / descriptors, total, job.asked.dimension) as write,
        open_csv(job.folder / "manifest.csv", ("row", *COLUMNS)) as manifest,
    ):
        done = 0
        for name in job.names:
            claims.renew(RESULT)
            shard = job.read(name)
            rows = [row_of(job.crops[position]) for position in shard.kept.tolist()]
            write(shard.descriptors, rows)
            manifest((number, *row) for number, row in enumerate(rows, start=done))
            done += len(rows)
            bad += shard.bad
    with open_csv(job.folder / "bad.csv", ("path", "problem")) as file:
        file((printable(str(job.crops[position].path)), why) for position, why in bad)
    first = bad[0][1] if bad else ""
    report = EmbedReport(len(job.crops), total, len(bad), first, descriptors, job.asked.model, job.asked.dimension)
    write_atomic(job.report, json.dumps(asdict(report), indent=1) + "\n")


def row_of(crop: Crop) -> Row:
    return printable(str(crop.path)), printable(crop.camera), printable(crop.tracklet), crop.frame, crop.time
