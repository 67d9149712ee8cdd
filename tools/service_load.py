"""The load that bench_service.py puts on a service, for locust. It reads what to do from the environment.

REID_LOAD is JSON. Its "mode" is "search" (a picture, at "rate" searches a second over all users) or "mixed" (what a
page and programs ask, until "requests" were answered). It asks with "token", "picture" (a file) and "people" (names).
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, constant_throughput, events, task

WANTED = json.loads(os.environ.get("REID_LOAD", '{"mode": "mixed"}'))
ANSWERED = [0]


@events.request.add_listener
def count(**_: Any) -> None:
    """Stop when enough requests were answered."""
    ANSWERED[0] += 1


class User(HttpUser):
    """A program with a token."""

    wait_time = constant_throughput(WANTED["rate"] / WANTED["users"]) if WANTED["mode"] == "search" else lambda _: 0

    def on_start(self) -> None:
        self.client.headers["Authorization"] = f"Bearer {WANTED['token']}"
        self.picture = Path(WANTED["picture"]).read_bytes()
        self.records: list[str] = []
        self.random = random.Random(id(self))

    @task
    def ask(self) -> None:
        """One request."""
        if WANTED["mode"] == "search" or self.random.random() < 0.05:
            self.search()
        elif ANSWERED[0] >= WANTED["requests"]:
            gevent.spawn(self.environment.runner.quit)  # not from here, because it ends this user too
            gevent.sleep(1)
        else:
            self.look()

    def search(self) -> None:
        """Search by a picture."""
        answer = self.client.post(
            "/api/v1/search", files=[("picture", ("someone.jpg", self.picture))], data={"top_k": 10}, name="search"
        )
        if answer.ok:
            self.records = [one["id"] for one in answer.json()["matches"]]

    def look(self) -> None:
        """What else a page asks."""
        person = self.random.choice(WANTED["people"])
        paths = [
            ("/api/v1/whoami", "whoami"), ("/api/v1/gallery", "gallery"), ("/healthz", "healthz"),
            ("/api/v1/people?limit=50", "people"), (f"/api/v1/people/{person}", "person"),
            ("/api/v1/search/filters?camera=camera-01", "filters"),
            *[(f"/api/v1/records/{one}/picture", "picture") for one in self.records[:3]],
        ]  # fmt: skip
        path, name = self.random.choice(paths)
        self.client.get(path, name=name)
