"""Puts the service together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from reid_toolkit.errors import ReidError
from reid_toolkit.service import pages, signing
from reid_toolkit.service.access import Door, SignIn
from reid_toolkit.service.api import about, cameras, corrections, events, health, people, records, search
from reid_toolkit.service.context import Context
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Error, Refusal, refusal_of
from reid_toolkit.service.following import EventFile
from reid_toolkit.service.guard import API, Guard
from reid_toolkit.service.limits import Bounds
from reid_toolkit.service.metrics import Measuring, Metrics
from reid_toolkit.service.settings import Settings
from reid_toolkit.service.unexpected import Unexpected
from reid_toolkit.version import __version__

SUBJECTS = (about, search, records, cameras, events, corrections, people)
"""In this order: /people/review comes before /people/{name}."""


def build_app(settings: Settings) -> FastAPI:
    """The service of a gallery, as an ASGI application. The gallery is opened now, and closed when it shuts down.

    Raises :class:`GalleryError` if the gallery does not exist, and :class:`InputError` if the file of tokens is
    damaged, or the file of events cannot be read.
    """
    if settings.events is not None:
        EventFile(settings.events).check()
    door = Door.of(settings)
    context = Context.of(settings, Desk(settings))
    app = routes()
    app.state.door, app.state.context, app.state.metrics = door, context, Metrics(context)
    for kind in (HTTPException, RequestValidationError, ReidError, SignIn, ClientDisconnect):
        app.add_exception_handler(kind, explain)
    app.add_middleware(Bounds, limits=settings.limits)
    app.add_middleware(Unexpected, explain=explain)
    app.add_middleware(Measuring, metrics=app.state.metrics)
    app.add_middleware(Guard, settings=settings)  # the outermost
    return app


def openapi_document() -> dict[str, Any]:
    """The description of the REST API in the form of OpenAPI. Needs no gallery."""
    return routes().openapi()


def routes() -> FastAPI:
    """All routes, of the API and of the page."""
    app = FastAPI(
        title="reid", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        description="Search a gallery of people, and say who is who. See docs/service.md.",
        responses={"default": {"model": Error, "description": "An error."}},
    )  # fmt: skip
    for router in (*(subject.router for subject in SUBJECTS), health.router, signing.router, pages.router):
        app.include_router(router)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the gallery at the end."""
    yield
    app.state.context.stopping = True
    app.state.context.close()


async def explain(request: Request, error: Exception) -> Response:
    """The answer for an error: JSON for the API, and the page's own for the page."""
    if isinstance(error, SignIn):
        return RedirectResponse(error.address, 303)
    refusal = as_refusal(error)
    if not request.url.path.startswith(API) and "text/html" in request.headers.get("accept", ""):
        response = pages.error_page(request, refusal.status, refusal.message)
        response.headers.update(refusal.headers)
        return response
    return JSONResponse(refusal.document, refusal.status, refusal.headers)


def as_refusal(error: Exception) -> Refusal:
    """Any error as the answer to a request. It says nothing about errors that nobody expected."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return Refusal(422, "; ".join(map(in_words, error.errors()))[:300])
    if isinstance(error, HTTPException):
        usual = {404: "there is nothing here", 405: "this address does not take that method"}
        said = usual.get(error.status_code, str(error.detail))
        return Refusal(error.status_code, said, headers=error.headers)
    if isinstance(error, ReidError):
        return refusal_of(error)
    if isinstance(error, ClientDisconnect):
        return Refusal(400, "the client left before its request was complete")
    return Refusal(500, "something went wrong in the service; its log says what")


def in_words(fault: Any) -> str:
    """A fault that FastAPI found in a request, without the value that was sent."""
    place = ".".join(str(part) for part in fault.get("loc", ())[1:]) or "request"
    return f"{place[:60]}: {fault.get('msg', 'wrong')}"
