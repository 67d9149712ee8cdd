"""Figures for Prometheus."""

import time
from functools import partial
from http import HTTPMethod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reid_toolkit.service.context import Context

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset(HTTPMethod)
OTHER = "other"
"""The route of requests to no route. Their addresses are not kept, because a client could invent any number of them."""


class Metrics:
    """The figures of one service."""

    def __init__(self, context: Context) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "reid_requests", "Answered requests", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "reid_request_seconds", "Seconds until the answer begins", ("route",), registry=self.registry,
            buckets=SECONDS,
        )  # fmt: skip
        self.streams = Gauge("reid_event_streams", "Clients that follow events", registry=self.registry)
        self.records = Gauge("reid_records", "Records in the gallery", registry=self.registry)
        began = Gauge("reid_start_time_seconds", "When the service was started, Unix time", registry=self.registry)
        began.set(context.began)
        pending = Gauge("reid_pending", "Requests that are worked on or wait", ("pool",), registry=self.registry)
        for pool in (context.embedding, context.reading, context.pictures, context.slow):
            pending.labels(pool.name).set_function(partial(getattr, pool, "pending"))

    def text(self, records: int) -> bytes:
        """All figures, in the format of Prometheus."""
        self.records.set(records)
        return generate_latest(self.registry)


class Measuring:
    """Middleware: counts and times requests by their route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and measure it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", OTHER)
                method = scope["method"] if scope["method"] in METHODS else OTHER
                self.metrics.requests.labels(method, route, str(message["status"])).inc()
                self.metrics.seconds.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self.app(scope, receive, sending)
