"""Live events, as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from reid_toolkit.service.access import Searcher, Visitor, door_of
from reid_toolkit.service.context import Context, Here
from reid_toolkit.service.errors import Refusal, busy
from reid_toolkit.service.following import EventFile, Line
from reid_toolkit.service.metrics import Metrics

router = APIRouter(prefix="/api/v1", tags=["events"])
STREAM: dict[int | str, Any] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
POLL, BEAT, LONGEST = 0.25, 15.0, 3600.0
"""Seconds: between two looks at the file, between two signs of life, and of one answer."""


class Stream(StreamingResponse):
    """An answer of events, which calls ``leave`` when it ends, even if it never began."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncIterator[str], leave: Callable[[], None]) -> None:
        super().__init__(parts, headers={"X-Accel-Buffering": "no"})
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end, or the client leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


@router.get("/events", response_class=StreamingResponse, responses=STREAM)
async def events(
    request: Request,
    visitor: Searcher,
    here: Here,
    last_event_id: Annotated[str | None, Header(max_length=60)] = None,
    recent: Annotated[int, Query(ge=0, le=200, description="So many of the last events come first.")] = 0,
) -> StreamingResponse:
    """The events that `reid watch --events FILE` writes into the file that this service follows.

    A client that sends Last-Event-ID, as browsers do by themselves, gets everything after that event.
    """
    if here.settings.events is None:
        raise Refusal(404, "this service follows no events: start it with --events FILE, the file of reid watch")
    if here.streams >= here.settings.limits.streams:
        raise busy(30, "too many clients follow events")
    leave = enter(here, request.app.state.metrics)
    try:
        file = EventFile(here.settings.events)
        place = await asyncio.to_thread(file.start, last_event_id, recent)
    except BaseException:
        leave()
        raise
    return Stream(follow(file, place, request, visitor, here), leave)


def enter(here: Context, metrics: Metrics) -> Callable[[], None]:
    """Count one more stream, and return what counts it no more."""

    def count(change: int) -> None:
        here.streams += change
        metrics.streams.set(here.streams)

    count(1)
    return partial(count, -1)


async def follow(
    file: EventFile, place: tuple[int, int], request: Request, visitor: Visitor, here: Context
) -> AsyncIterator[str]:
    """Events until the service stops, the token is revoked, or the time is over: then the client comes back."""
    inode, at = place
    yield "retry: 2000\n\n"
    began = beat = time.monotonic()
    while not here.stopping and time.monotonic() - began < LONGEST:
        inode, at, lines = await asyncio.to_thread(file.read, inode, at)
        for line in lines:
            yield as_text(line)
        now = time.monotonic()
        if now - beat > BEAT:
            beat = now
            if not still_there(request, visitor):
                return
            yield ": still here\n\n"
        if not lines:
            await asyncio.sleep(POLL)


def still_there(request: Request, visitor: Visitor) -> bool:
    """Whether the visitor may still ask."""
    try:
        found = door_of(request).recognise(request)
    except Refusal:
        return False
    return found is not None and found.name == visitor.name


def as_text(line: Line) -> str:
    """An event as it is sent. Its JSON holds no line end."""
    return f"id: {line.id}\nevent: {line.kind}\ndata: {line.text}\n\n"
