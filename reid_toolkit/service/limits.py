"""Middleware that bounds what a request may send: bytes, time, and the bytes of all requests together. It reads no body
for the API before it knows who sends it."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reid_toolkit.service.access import visitor_of
from reid_toolkit.service.errors import Refusal, busy
from reid_toolkit.service.guard import API, Answer, refuse
from reid_toolkit.service.settings import Limits

AT_ONCE = 6
"""All requests together may hold the bytes of so many of the largest."""
PICTURES = frozenset({"/api/v1/search", "/api/v1/records"})
"""The addresses that take pictures."""


class Bounds:
    """Middleware: counts the bytes of a request while they arrive, and gives up on one that comes too slowly."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.held = 0
        """Bytes of all requests that are being answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a bounded body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = Body(self, scope, receive)
        answer = Answer(send)
        try:
            body.check_length(Headers(scope=scope))
            await self.app(scope, body.receive, answer.send)
        except Refusal as refusal:
            if answer.begun:
                raise
            refusal.headers.setdefault("Connection", "close")
            await refuse(refusal, send)
        finally:
            self.held -= body.size


class Body:
    """The body of one request."""

    def __init__(self, bounds: Bounds, scope: Scope, receive: Receive) -> None:
        self.bounds, self._scope, self._receive, self.size = bounds, scope, receive, 0
        limits = bounds.limits
        self._most = limits.body_bytes if scope["path"] in PICTURES else min(limits.words_bytes, limits.body_bytes)
        self._deadline = asyncio.get_running_loop().time() + limits.body_seconds
        self._complete = False

    def check_length(self, headers: Headers) -> None:
        """Refuse a request that says that it is too large."""
        lengths = headers.getlist("content-length")
        if len(lengths) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].isdigit())):
            raise Refusal(400, "expected one Content-Length, and a number")
        if lengths and int(lengths[0]) > self._most:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is too large: expected at most {self._most:,} bytes")

    async def receive(self) -> Message:
        """The next part of the body. Raises :class:`Refusal` 413, 408 or 503, and for the API what
        :func:`visitor_of` raises: FastAPI reads and parses a whole body of JSON before it asks who sends it."""
        if self._complete:
            return await self._receive()  # waits until the client leaves
        if self._scope["path"].startswith(API):
            visitor_of(Request(self._scope))
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            limit = self.bounds.limits.body_seconds
            raise Refusal(408, f"the request came too slowly: expected all of it within {limit:g} s") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.size += size
            self.bounds.held += size
            if self.size > self._most:
                raise self._too_large()
            if self.bounds.held > AT_ONCE * self.bounds.limits.body_bytes:
                raise busy(5)
            self._complete = not message.get("more_body", False)
        return message
