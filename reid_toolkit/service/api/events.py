"""Live events, as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from reid_toolkit.service.access import Searcher, Visitor, door_of
from reid_toolkit.service.context import Context, Here
from reid_toolkit.service.errors import Refusal, busy
from reid_toolkit.service.following import EventFile, Line

router = APIRouter(prefix="/api/v1", tags=["events"])
POLL, BEAT, LONGEST = 0.25, 15.0, 3600.0
"""Seconds: between two looks at the file, between two signs of life, and of one answer."""


@router.get("/events", response_class=StreamingResponse)
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
    streams = request.app.state.metrics.streams
    if here.streams >= here.settings.limits.streams:
        raise busy(30, "too many clients follow events")
    file = EventFile(here.settings.events)
    place = await asyncio.to_thread(file.start, last_event_id, recent)

    async def stream() -> AsyncIterator[str]:
        here.streams += 1
        streams.set(here.streams)
        try:
            async for part in follow(file, place, request, visitor, here):
                yield part
        finally:
            here.streams -= 1
            streams.set(here.streams)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


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
