"""A stub of Frigate's HTTP API, as its documentation describes it, on loopback."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import cv2
import numpy as np
from model_server import running

WIDTH, HEIGHT = 320, 180
BEGIN = 1_795_000_000.0
BOX = (0.25, 0.25, 0.125, 0.5)
"""x, y, width, height as fractions: 80, 45, 40, 90 pixels."""


def picture(shade: int, width: int = WIDTH, height: int = HEIGHT, suffix: str = ".png") -> bytes:
    """A frame, whose person is of one shade."""
    frame = np.full((height, width, 3), 90, np.uint8)
    x, y, w, h = (round(part * size) for part, size in zip(BOX, (width, height, width, height), strict=True))
    frame[y : y + h, x : x + w] = shade
    return bytes(cv2.imencode(suffix, frame)[1])


@dataclass
class Frigate:
    """What it has, and how well it answers."""

    cameras: dict[str, Any] = field(default_factory=lambda: {"north": {"detect": {"width": WIDTH, "height": HEIGHT}}})
    events: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    """Under "ID/snapshot.jpg" and so on."""
    login: tuple[str, str] | None = None
    fail: list[int] = field(default_factory=list)
    """Statuses of the next answers, before it answers well."""
    refused: dict[str, int] = field(default_factory=dict)
    """Statuses with which pictures are always answered, under the names of ``pictures``."""
    cut: int = 0
    """How many of the next pictures are cut off."""
    asked: list[str] = field(default_factory=list)
    """Paths with queries."""
    tokens: list[str] = field(default_factory=list)
    """Tokens that came."""

    def add(self, name: str, *, clean: str = "snapshot-clean.png", camera: str = "north", **about: Any) -> None:
        """An event, half a minute after the one before, with its picture."""
        data = {"box": list(BOX), "score": 0.8, "top_score": 0.9} | about.pop("data", {})
        start = BEGIN + 30 * len(self.events)
        event = {
            "id": name, "camera": camera, "label": "person", "has_snapshot": True, "start_time": start,
            "end_time": start + 10, "data": data,
        }  # fmt: skip
        self.events.append(event | about)
        if clean:
            self.pictures[f"{name}/{clean}"] = picture(10 + len(self.events))

    def listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Events as ``GET /api/events`` lists them: the newest first."""
        found = sorted(self.events, key=lambda event: -event["start_time"])
        if query.get("cameras", "all") != "all":
            found = [event for event in found if event["camera"] in query["cameras"].split(",")]
        if query.get("labels", "all") != "all":
            found = [event for event in found if event["label"] in query["labels"].split(",")]
        if "has_snapshot" in query:
            found = [event for event in found if event["has_snapshot"] == bool(int(query["has_snapshot"]))]
        found = [event for event in found if event["start_time"] > float(query.get("after", 0))]
        found = [event for event in found if event["start_time"] < float(query.get("before", 1e12))]
        return found[: int(query.get("limit", 100))]

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """JSON, bytes, or None for 404."""
        if path == "/api/config":
            return {"cameras": self.cameras}
        if path == "/api/events":
            return self.listed(query)
        return self.pictures.get(path.removeprefix("/api/events/"))


@contextmanager
def frigate(held: Frigate) -> Iterator[str]:
    """The address at which it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.asked.append(unquote(self.path))
            if held.fail:
                self.give(held.fail.pop(0), b"")
                return
            token = self.headers.get("Authorization", "")
            if held.login and token != "Bearer the.token":
                self.give(401, b"")
                return
            held.tokens.append(token)
            parts = urlsplit(self.path)
            if refused := held.refused.get(unquote(parts.path).removeprefix("/api/events/")):
                self.give(refused, b"")
                return
            found = held.answer(unquote(parts.path), dict(parse_qsl(parts.query)))
            if found is None:
                self.give(404, b'{"success": false}')
            else:
                self.give(200, found if isinstance(found, bytes) else json.dumps(found).encode())

        def do_POST(self) -> None:
            held.asked.append(unquote(self.path))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            right = self.path == "/api/login" and (body["user"], body["password"]) == held.login
            self.give(200 if right else 401, b"{}", {"Set-Cookie": "frigate_token=the.token; Path=/"} if right else {})

        def give(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if 300 < status < 400:
                self.send_header("Location", "http://elsewhere.example/login?secret=1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if held.cut and "snapshot" in self.path and status == 200:
                held.cut -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running(Handler) as address:
        yield address
