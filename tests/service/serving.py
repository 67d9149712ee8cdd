"""A small gallery with people, an app on it, and a real server on a free port, for the tests of the service."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient
from three_people import COLOURS, EPOCH, picture, write_model

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Crop
from reid_toolkit.runtime import Embedder
from reid_toolkit.search.enroll import Unit, enroll, record_of
from reid_toolkit.service.app import build_app
from reid_toolkit.service.server import Server, bind
from reid_toolkit.service.settings import Settings
from reid_toolkit.service.tokens import FILE, add_token

CAMERAS = ("door", "hall")
VISITS = 2


def make_gallery(
    folder: Path,
    *,
    cameras: tuple[str, ...] = CAMERAS,
    names: dict[int, str] | None = None,
    grouped: bool = True,
    audit: bool = True,
    tags: tuple[str, ...] = ("morning",),
    colours: tuple[str, ...] = tuple(COLOURS),
) -> Path:
    """A gallery in ``folder``/gallery: red, green and blue, each twice in each camera, as persons 1, 2 and 3.

    Tracklets are called like "door-red-0". ``names`` names people by number. No torch is needed.
    """
    model = write_model(folder / "model.onnx")
    units = []
    for visit in range(VISITS):
        for place, camera in enumerate(cameras):
            for person, colour in enumerate(colours):
                path = folder / "crops" / str(place) / f"{person}-{visit}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture(tuple(COLOURS)[person % 3], 1 - 0.15 * place - 0.02 * visit))
                at = EPOCH + 1000 * visit + 100 * place + 10 * person
                crop = Crop(path, camera, f"{camera}-{colour}-{visit}", 0, at, 0, 0, 16, 32)
                units.append(Unit(record_of([crop], camera, folder / "site", tags if visit else ()), (crop,)))
    where = folder / "gallery"
    with Gallery.open(where) as store:
        if audit:
            store.switch_audit(True)
        embedder = Embedder(model, threads=1)
        store.expect(embedder.dimension, embedder.fingerprint)
        store.remember_model_file(model)
        enroll(store, embedder, units, thumbnails=True)
        if grouped:
            people = {f"{camera}-{colour}-{visit}": number for camera in cameras
                      for number, colour in enumerate(colours, start=1) for visit in range(VISITS)}  # fmt: skip
            members = {key_digest(unit.record): Membership(*[people[unit.record.tracklet]] * 3) for unit in units}
            store.people.write(store.people.read(), members=members, names=names or {})
    return where


def settings_of(gallery: Path, **changes: Any) -> Settings:
    """The settings of a service on this gallery, whose file of tokens is in the gallery's folder."""
    return Settings(**{"gallery": str(gallery), "tokens": gallery / FILE, **changes})


def tokens_of(gallery: Path) -> dict[str, str]:
    """A new token of each role, by role. They are called "anna", "rita" and "ada"."""
    names = {"search": "anna", "review": "rita", "admin": "ada"}
    return {role: add_token(gallery / FILE, name, role) for role, name in names.items()}


def bearer(token: str) -> dict[str, str]:
    """The header of a program that has a token."""
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def client_of(settings: Settings, **changes: Any) -> Iterator[TestClient]:
    """A client of the app, without a network. It does not follow redirects."""
    app = build_app(settings)
    with TestClient(
        app, **{"base_url": "http://localhost:8000", "follow_redirects": False, "raise_server_exceptions": False}
        | changes
    ) as client:  # fmt: skip
        yield client


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """A real server in a thread, at the address that this gives, such as ``http://127.0.0.1:41234``."""
    app: FastAPI = build_app(settings)
    listener = bind(settings.host, 0)
    port = listener.getsockname()[1]
    server = Server(app, settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.context.stopping = True
        server.should_exit = True
        thread.join(90)  # it needs a tenth of a second, but not on a machine that does much else
        listener.close()
        assert not thread.is_alive()


def jpeg(colour: str = "red", shade: float = 0.97) -> bytes:
    """A picture of one of the three people."""
    return bytes(cv2.imencode(".jpg", picture(colour, shade))[1])


def png(height: int = 32, width: int = 16) -> bytes:
    """A grey picture of any size."""
    return bytes(cv2.imencode(".png", np.full((height, width, 3), 127, np.uint8))[1])
