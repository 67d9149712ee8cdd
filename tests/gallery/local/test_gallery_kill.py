"""Real processes, killed at random moments: what was acknowledged is there, once, and search is exact."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from worker import EXACT_BELOW, record_of, vector_of

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local import search as searcher

State = dict[str, int]
"""Version of each name that is enrolled."""


def after(state: State, change: dict) -> State:
    return {
        name: version for name, version in (state | dict(change.get("rows", ()))).items() if name != change.get("name")
    }


def run_and_kill(path: Path, seed: int, chance: random.Random) -> list[str]:
    """What the worker said until it was killed, some time after its first words."""
    said = path.parent / "said"
    with open(said, "wb") as stdout:
        worker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(path), str(seed)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        while not said.stat().st_size and worker.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.random() ** 2 * 0.8)
        worker.send_signal(signal.SIGKILL)
        _, errors = worker.communicate()
    assert worker.returncode == -signal.SIGKILL, errors
    # What it was about to say when it was killed may be cut off.
    return [line for line in said.read_text().split("\n")[:-1] if line]


def kill_often(path: Path, times: int) -> dict[str, int]:
    """Kill ``times`` workers, and look at the gallery after each; how often which change was under way."""
    chance = random.Random(times)
    state: State = {}
    interrupted: dict[str, int] = {}
    for seed in range(times):
        change = None
        for line in run_and_kill(path, seed, chance):
            if line == "done":
                assert change is not None
                state, change = after(state, change), None
            else:
                change = json.loads(line)
        possible = [state] if change is None else [state, after(state, change)]
        if change is not None:
            interrupted[change["kind"]] = interrupted.get(change["kind"], 0) + 1
        state = look(path, possible)
    return interrupted


def look(path: Path, possible: list[State]) -> State:
    """Which of the ``possible`` states the gallery is in; all of it is whole, and search is exact."""
    with Gallery.open(path, exact_below=EXACT_BELOW) as gallery:
        held = [(record, vector) for rows, part in gallery.records() for record, vector in zip(rows, part, strict=True)]
        state = {record.tracklet: int(record.tags[0][1:]) for record, _ in held}
        assert len(state) == len(held) == len(gallery), "each is there once"
        assert state in possible
        assert gallery.check().sound
        for record, vector in held:
            version = state[record.tracklet]
            assert record == record_of(record.tracklet, version)
            assert np.array_equal(vector, vector_of(record.tracklet, version))
        if held:
            matrix = np.array([vector for _, vector in held])
            for query in (matrix[0], vector_of("somebody", 0)):
                query = query.astype(np.float64) / np.linalg.norm(query)
                nearest = np.sort(np.linalg.norm(matrix.astype(np.float64) - query, axis=1))[:10]
                found = gallery.search(query, 10, camera_statistics=False)
                assert np.allclose([m.distance for m in found], nearest, atol=1e-6)
                # With statistics: those of one version, before the kill or after it.
                statistics = gallery.statistics()
                if statistics is not None:
                    freed = statistics.apply(matrix, [record.camera for record, _ in held]).astype(np.float16)
                    asked = statistics.apply(query[None], ["a"])[0].astype(np.float64)
                    nearest = np.sort(np.linalg.norm(freed.astype(np.float64) - asked, axis=1))[:10]
                found = gallery.search(query, 10, query_camera="a")
                assert np.allclose([m.distance for m in found], nearest, atol=1e-6)
    return state


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    assert kill_often(tmp_path / "g", 8)


@pytest.mark.slow
def test_hundreds_of_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "LOAD_AFTER", 0)
    interrupted = kill_often(tmp_path / "g", 300)
    assert {"add", "delete", "compact", "index", "refresh"} <= interrupted.keys()


KILLED_IN_SAVE = """
import os, signal, sys
import hnswlib
from reid_toolkit.gallery import Gallery
class Killed(hnswlib.Index):
    def save_index(self, path):
        super().save_index(path)
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
hnswlib.Index = Killed
with Gallery.open(sys.argv[1], exact_below=100) as gallery:
    gallery.compact() if sys.argv[2] == "compact" else gallery.build_index()
"""


@pytest.mark.parametrize("verb", ["compact", "build_index"])
def test_a_kill_while_the_index_is_saved(indexed: Path, verb: str) -> None:
    from gallery_people import N, make_people

    from reid_toolkit.records import Record

    vectors, _ = make_people(seed=3)
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.add(vectors, [Record(f"u{i}", "a") for i in range(N)])  # so that a save is due
    done = subprocess.run([sys.executable, "-c", KILLED_IN_SAVE, str(indexed), verb], check=False)
    assert done.returncode == -signal.SIGKILL
    with Gallery.open(indexed, exact_below=100) as gallery, Gallery.open(indexed, exact_below=10**9) as exact:
        # A killed save leaves the files of the one before; compact has removed them first.
        assert (gallery.info().index is None) == (verb == "compact")
        for query in vectors[::40]:
            assert gallery.search(query) == exact.search(query)
        gallery.build_index()
        assert gallery.info().index["rows"] == 2 * N
        assert gallery.search(vectors[0]) == exact.search(vectors[0])
    assert not list(indexed.glob(".*")), "what the killed save left is cleared away by the next"
