"""The routes of the page. Each view is a frame with its words; a script fills it from the API."""

import asyncio
import json
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from reid_toolkit.service.access import PageVisitor, Visitor, door_of, visitor_of
from reid_toolkit.service.context import context_of
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.following import EventFile
from reid_toolkit.service.pages.files import static_files, version
from reid_toolkit.service.signing import local_path
from reid_toolkit.times import zone

router = APIRouter(include_in_schema=False)
LINKS = (("/", "Search"), ("/people", "People"), ("/review", "Review"), ("/cameras", "Cameras"), ("/days", "Days"))
LIVE = ("/live", "Live")
FOR_EVER = "public, max-age=31536000, immutable"
"""A file with another content has another address."""
HEADINGS = {
    403: "You may not do this", 404: "There is nothing here", 405: "There is nothing here",
    429: "Too many requests", 503: "The service is busy",
}  # fmt: skip


@cache
def templates() -> Environment:
    """The templates, which escape all text."""
    loader = PackageLoader("reid_toolkit.service.pages")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def render(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    values = {"visitor": None, "static": f"/static/{version()}"} | values
    return HTMLResponse(templates().get_template(name).render(values), status)


def view(request: Request, visitor: Visitor, name: str, current: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page with the frame that all pages have."""
    context = context_of(request)
    limits = context.settings.limits
    shown = {"bytes": limits.picture_bytes, "pictures": limits.pictures, "all": limits.body_bytes,
             "answer": limits.answer_seconds, "change": limits.group_seconds}  # fmt: skip
    return render(
        name, status, visitor=visitor, current=current, gallery=context.desk.label, zone=str(zone()),
        signed_in=visitor.how == "session", links=(*LINKS, LIVE) if context.settings.events else LINKS,
        limits=json.dumps(shown), **values,
    )  # fmt: skip


@router.get("/")
async def search(request: Request, visitor: PageVisitor) -> Response:
    """Search by pictures, a record or a person."""
    return view(request, visitor, "search.html", "/")


@router.get("/people")
async def people(request: Request, visitor: PageVisitor) -> Response:
    """Everybody."""
    return view(request, visitor, "people.html", "/people")


@router.get("/people/{name:path}")
async def person(name: str, request: Request, visitor: PageVisitor) -> Response:
    """Where a person was."""
    return view(request, visitor, "person.html", "/people", person=name)


@router.get("/review")
async def review(request: Request, visitor: PageVisitor) -> Response:
    """Questions, for who may answer them."""
    if not visitor.may("review"):
        text = "You may search and look at people. To answer questions, a token needs the role review."
        return message(request, visitor, 403, HEADINGS[403], text, current="/review")
    return view(request, visitor, "review.html", "/review")


@router.get("/cameras")
async def cameras(request: Request, visitor: PageVisitor) -> Response:
    """The cameras and what is known of their light."""
    return view(request, visitor, "cameras.html", "/cameras")


@router.get("/days")
async def days(request: Request, visitor: PageVisitor) -> Response:
    """How many people, by day, hour and camera."""
    return view(request, visitor, "days.html", "/days")


@router.get("/live")
async def live(request: Request, visitor: PageVisitor) -> Response:
    """Events as they come, if the service was given their file."""
    events = context_of(request).settings.events
    if events is None:
        raise Refusal(404, "This service shows no live events. It was started without --events.")
    inode, end = await asyncio.to_thread(EventFile(events).start, None, 0)
    return view(request, visitor, "live.html", "/live", begin=f"{inode}-{end}")


@router.get("/login")
async def login(
    request: Request,
    back: Annotated[str, Query(alias="next")] = "/",
    failed: str = "",
    wait: Annotated[str, Query(max_length=6)] = "",
) -> Response:
    """The form that asks for a token, with what was wrong with the last one."""
    door = door_of(request)
    if door.settings.proxy_header or door.open:
        return RedirectResponse("/", 303) if door.open else sign_in_elsewhere()
    problem = "This token is wrong, or was revoked." if failed else ""
    if wait.isascii() and wait.isdigit():
        problem = f"Too many wrong tokens. Try again in {int(wait)} s."
    return render("login.html", 401 if problem else 200, next=local_path(back), problem=problem)


def sign_in_elsewhere() -> Response:
    """What /login says if a proxy signs users in."""
    text = "The proxy in front of this service signs you in, and it did not say who you are."
    return render("stop.html", 401, heading="You are not signed in", text=text)


@router.get("/static/{digest}/{name}")
async def static(digest: str, name: str) -> Response:
    """A file of the page."""
    found = static_files().get(name)
    if found is None or digest != version():
        raise Refusal(404, "no such file: load the page again")
    return Response(found.content, media_type=found.media_type, headers={"Cache-Control": FOR_EVER})


def message(
    request: Request, visitor: Visitor, status: int, heading: str, text: str, current: str = ""
) -> HTMLResponse:
    """A page that only says something."""
    return view(request, visitor, "message.html", current, status, heading=heading, text=text)


def error_page(request: Request, status: int, text: str) -> HTMLResponse:
    """An error as a page. Whoever is not signed in sees it without the frame, which would name the gallery."""
    heading = HEADINGS.get(status, "This did not work")
    text = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
    if text == f"{heading}.":
        text = "Check the address, or begin with a search."
    try:
        visitor = visitor_of(request)
    except Refusal:
        return render("stop.html", status, heading=heading, text=text)
    return message(request, visitor, status, heading, text)
