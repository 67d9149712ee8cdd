"""Measures `reid serve` on loopback, with a gallery of drawn descriptors: first view, searches, many requests, kills.

    python tools/bench_service.py --folder bench --model model.onnx --out docs/benchmarks/service.json

It draws a gallery of 100,000 records of 5,000 people in 20 cameras, with people and small pictures, and starts a
service on it. Then it measures, by locust (extra `load`):

first view: seconds from a start until the page and what it asks first are there, one request after the other.
searches: by a picture, 4 a second for --seconds, while `reid watch` writes a drawn camera into the same gallery.
requests: 10,000 of all kinds, as fast as 8 users can; errors, and the memory of the service before and after.
kills: the service is killed while two programs enroll and name; what it acknowledged must be there afterwards.

The folder keeps the gallery, so that another run need not draw it again; other --rows, --people or --model need another
folder. "load" in the JSON is the load average at the beginning: how many other programs ran beside it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from machine import origin, resident, save

from reid_toolkit.demo.footage import draw_footage
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.images import thumbnail
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder
from reid_toolkit.service.tokens import FILE, add_token, read_tokens, revoke_token

ROOT = Path(__file__).resolve().parent.parent
CAMERAS, START, PART, USERS = 20, 1_790_000_000.0, 5_000, 8
WRITES, LONGEST = 50, 30.0
"""A service is killed after so many acknowledged writes, or so many seconds."""
SETTLES = 5.0
"""Seconds that `reid watch` has to start."""
FIRST_VIEW = ("/", "/api/v1/whoami", "/api/v1/gallery", "/api/v1/search/filters")


def draw_gallery(where: Path, model: Path, rows: int, people: int) -> None:
    """A gallery of drawn descriptors, in clusters as of people, who are grouped already."""
    embedder = Embedder(model)
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(people, embedder.dimension)).astype(np.float32)
    small = thumbnail(rng.integers(0, 255, (128, 64, 3), np.uint8).astype(np.uint8))
    with Gallery.open(where, embedder.dimension, embedder.fingerprint) as store:
        store.remember_model_file(model.resolve())
        members: dict[str, Membership] = {}
        for first in range(0, rows, PART):
            numbers = np.arange(first, min(first + PART, rows))
            vectors = looks[numbers % people] + 0.4 * rng.normal(size=(len(numbers), embedder.dimension))
            vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
            records = [
                Record(f"t{number:06d}", f"camera-{number // people % CAMERAS:02d}", START + number, START + number + 5,
                       "drawn", "", (), small)
                for number in numbers.tolist()
            ]  # fmt: skip
            store.add(vectors, records)
            members |= {
                key_digest(record): Membership(*[number % people + 1] * 3)
                for record, number in zip(records, numbers.tolist(), strict=True)
            }
        store.people.write(store.people.read(), members=members)
        store.refresh_statistics()
        store.build_index()


def kept_gallery(folder: Path, model: Path, rows: int, people: int) -> Path:
    """Return the folder's gallery, drawn if there is none. It has its name only when it is complete."""
    gallery, about, wanted = folder / "gallery", folder / "gallery.json", {"rows": rows, "people": people}
    wanted |= {"model": model.name}
    if gallery.exists():
        known = json.loads(about.read_text()) if about.exists() else None
        if known != wanted:
            sys.exit(f"error: {gallery}: is drawn as {known}: expected {wanted}: name another folder, or remove it")
        return gallery
    with tempfile.TemporaryDirectory(dir=folder) as drawing:
        draw_gallery(Path(drawing) / "gallery", model, rows, people)
        save(about, wanted)
        (Path(drawing) / "gallery").rename(gallery)
    return gallery


@contextmanager
def service(gallery: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """A running service: its process, its address, and the seconds until it was there."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "reid_toolkit", "serve", "--gallery", str(gallery), "--port", "0", "--rate", "100000"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(text.split()[0] for text in process.stderr if text.startswith("http")).rstrip("/")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            while httpx.get(f"{address}/readyz").status_code != 200:
                time.sleep(0.05)
            yield process, address, time.perf_counter() - began
        finally:
            process.kill()


def first_view(address: str, token: str) -> dict[str, float]:
    """Seconds of each request of a page's first view, and of all."""
    found = {}
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        for path in FIRST_VIEW:
            began = time.perf_counter()
            answer = client.get(path)
            answer.raise_for_status()
            found[path] = round(time.perf_counter() - began, 4)
    return found | {"all": round(sum(found.values()), 4)}


def load(address: str, wanted: dict[str, Any], seconds: float | None, users: int) -> list[dict[str, Any]]:
    """What locust measured, for each kind of request."""
    line = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "tools" / "service_load.py"), "--headless", "--json",
        "--host", address, "--users", str(users), "--spawn-rate", str(users), "--loglevel", "ERROR",
        *(["--run-time", f"{seconds:g}s"] if seconds else []),
    ]  # fmt: skip
    told = os.environ | {"REID_LOAD": json.dumps(wanted | {"users": users})}
    done = subprocess.run(line, env=told, stdout=subprocess.PIPE, text=True, check=False)
    text = done.stdout
    found: list[dict[str, Any]] = json.loads(text[text.index("[") :])
    return found


def figures(stats: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Requests, errors, and milliseconds at the median and at 95 and 99 in 100, by kind."""
    found = {}
    for one in stats:
        times = np.repeat(np.array([float(key) for key in one["response_times"]]), list(one["response_times"].values()))
        found[one["name"]] = {
            "requests": one["num_requests"], "errors": one["num_failures"],
            **{f"p{share}_ms": float(np.percentile(times, share)) for share in (50, 95, 99)},
        }  # fmt: skip
    return found


@contextmanager
def watching(folder: Path, gallery: Path, model: Path) -> Iterator[dict[str, Any]]:
    """`reid watch` of a drawn camera, again and again, into the gallery. The dict gets what it says in the end."""
    clip = folder / "clip"
    if not clip.exists():
        draw_footage(clip, people=6, visits=1)
    videos = (
        sorted(str(path) for path in clip.rglob("*.mp4"))[:1] or sorted(str(path) for path in clip.rglob("*.avi"))[:1]
    )
    line = [
        sys.executable, "-m", "reid_toolkit", "watch", *videos, "--model", str(model), "--gallery", str(gallery),
        "--loop", "1000", "--cores", "1", "--json",
    ]  # fmt: skip
    said: dict[str, Any] = {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            time.sleep(SETTLES)
            if process.poll() is not None:
                sys.exit(f"error: reid watch has ended with status {process.returncode}: {shlex.join(line)}")
            yield said
        finally:
            process.terminate()
        said |= json.loads(process.communicate()[0] or "{}")


def searches_beside_a_watch(
    folder: Path, gallery: Path, model: Path, search: Callable[[], list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], int]:
    """What locust measured of the searches, and how many records the watch enrolled meanwhile."""
    with watching(folder, gallery, model) as said:
        stats = search()
    # Not the growth of the gallery: a second watch of the same recording replaces the records of the first.
    if not said.get("enrolled"):
        sys.exit("error: reid watch enrolled nothing beside the searches: give it more --seconds")
    return stats, int(said["enrolled"])


def kills(gallery: Path, token: str, picture: bytes, times: int) -> dict[str, int]:
    """Kill a service that two programs write to, and look for what it had acknowledged."""
    enrolled: list[str] = []
    names: dict[str, str] = {}
    headers = {"Authorization": f"Bearer {token}"}

    def enroll(address: str, turn: int) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
            for number in range(10_000):
                form = {"camera": "gate", "tracklet": f"kill-{turn}-{number}-{os.getpid()}"}
                answer = client.post("/api/v1/records", data=form, files=[("picture", ("a.jpg", picture))])
                if answer.status_code == 201:
                    enrolled.append(answer.json()["id"])

    def name(address: str, turn: int) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
            # Others in each turn: a name that was stored but not acknowledged would look like the loss of an earlier.
            for number in range(1 + turn, 10_000, times):
                person, new = f"person-{number:06d}", f"k{turn}-{number}-{os.getpid()}"
                if client.post(f"/api/v1/people/{person}/name", json={"name": new}).status_code == 200:
                    names[person] = new

    def until_killed(function: Any, *arguments: Any) -> None:
        with suppress(httpx.HTTPError):  # the service was killed
            function(*arguments)

    for turn in range(times):
        with service(gallery) as (process, address, _):
            writers = [threading.Thread(target=until_killed, args=(one, address, turn)) for one in (enroll, name)]
            for writer in writers:
                writer.start()
            enough, deadline = len(enrolled) + len(names) + WRITES, time.monotonic() + LONGEST
            while len(enrolled) + len(names) < enough and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill()
            for writer in writers:
                writer.join()
    with Gallery.open(gallery) as store:
        held = {digest for at in range(0, len(enrolled), 500) for digest in store.held(enrolled[at : at + 500])}
        called = store.people.read().names
        sound = store.check().sound
    lost = len(set(enrolled) - held) + sum(called.get(int(key[7:])) != value for key, value in names.items())
    return {"kills": times, "acknowledged": len(enrolled) + len(names), "lost": lost, "sound": int(sound)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--no-watch", action="store_true", help="without `reid watch` beside the searches")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    about = origin()  # before the drawing, which is a load of its own
    gallery = kept_gallery(folder, options.model, options.rows, options.people)
    if any(one.name == "bench" for one in read_tokens(gallery / FILE)):
        revoke_token(gallery / FILE, "bench")
    token = add_token(gallery / FILE, "bench", "admin")
    picture = folder / "someone.jpg"
    cv2.imwrite(str(picture), np.random.default_rng(1).integers(0, 255, (256, 128, 3), np.uint8))
    people = [f"person-{number:06d}" for number in range(1, min(options.people, 500) + 1)]
    wanted = {"token": token, "picture": str(picture), "people": people, "requests": options.requests, "rate": 4}
    found: dict[str, Any] = about | {"rows": options.rows, "people": options.people, "model": options.model.name}

    def search() -> list[dict[str, Any]]:
        return load(address, wanted | {"mode": "search"}, options.seconds, 4)

    with service(gallery) as (process, address, seconds):
        found["start_seconds"] = round(seconds, 2)
        found["first_view_seconds"] = first_view(address, token)
        found["later_view_seconds"] = first_view(address, token)
        if options.no_watch:
            stats = search()
        else:
            stats, found["records_by_watch"] = searches_beside_a_watch(folder, gallery, options.model, search)
        found["searches"] = figures(stats)["search"] | {"watch": not options.no_watch}
        save(options.out, found)
        load(address, wanted | {"mode": "mixed", "requests": min(500, options.requests)}, None, USERS)  # to warm up
        memory = [resident(process.pid) / 1e6]
        stats = load(address, wanted | {"mode": "mixed"}, None, USERS)
        memory.append(resident(process.pid) / 1e6)
        found["requests"] = figures(stats)
        found["answered"] = sum(one["num_requests"] for one in stats)
        found["errors"] = sum(one["num_failures"] for one in stats)
        found["resident_mb"] = [round(one, 1) for one in memory]
    save(options.out, found)
    found["killed"] = kills(gallery, token, picture.read_bytes(), options.kills)
    save(options.out, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
