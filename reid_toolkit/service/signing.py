"""Signing in to the page with a token, and signing out."""

import re
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from reid_toolkit.service.access import CSRF, LONGEST_GOAL, door_of
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.forms import Form, read_form
from reid_toolkit.service.sessions import COOKIE
from reid_toolkit.service.settings import Limits

router = APIRouter(include_in_schema=False)
FORM = Limits(pictures=0)
LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this service, and not ``//elsewhere``."""


@router.post("/login")
async def login(request: Request) -> Response:
    """Sign in with the form's "token", and go on to its "next", a path of this service.

    A browser that gives a wrong token comes back to /login?failed=1, or /login?wait=SECONDS after too many. Others get
    the status and JSON of the API.
    """
    form = await read_form(request, FORM)
    goal = local_path(form.one("next"))
    try:
        cookie = door_of(request).sign_in(request, form.one("token") or "")
    except Refusal as refusal:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        wait = refusal.headers.get("Retry-After")
        words = f"wait={wait}" if wait else "failed=1"
        return RedirectResponse(f"/login?{words}" + ("" if goal == "/" else f"&next={quote(goal, safe='')}"), 303)
    response = RedirectResponse(goal, 303)
    set_cookie(request, response, cookie)
    return response


def set_cookie(request: Request, response: Response, cookie: str) -> None:
    """The session's cookie: no script can read it, and no other site's request carries it."""
    door = door_of(request)
    response.set_cookie(
        COOKIE, cookie, max_age=int(door.sessions.seconds), httponly=True, samesite="strict",
        secure=is_encrypted(request), path="/",
    )  # fmt: skip


def is_encrypted(request: Request) -> bool:
    """Whether the browser speaks TLS, perhaps with a proxy."""
    return request.url.scheme == "https" or request.headers.get("origin", "").lower().startswith("https://")


def local_path(text: str | None) -> str:
    """A path of this service, "/" for anything else."""
    known = text and len(text) <= LONGEST_GOAL and LOCAL_PATH.fullmatch(text) and not text.startswith("/login")
    return text if text and known else "/"


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session. The page's secret comes in the header, or in the form's field "csrf"."""
    cookie = request.cookies.get(COOKIE, "")
    session = door_of(request).sessions.find(cookie)
    if session is None:
        return RedirectResponse("/login", 303)
    sent = request.headers.get(CSRF) or (await csrf_field(request))
    if sent != session.csrf:
        raise Refusal(403, "the page is out of date: load it again", "wrong_csrf")
    door_of(request).sessions.end(cookie)
    response: Any = RedirectResponse("/login", 303)
    if "application/json" in request.headers.get("accept", ""):
        response = JSONResponse({"signed_out": True})
    response.delete_cookie(COOKIE, path="/")
    return response


async def csrf_field(request: Request) -> str | None:
    """The page's secret, from a form."""
    if not request.headers.get("content-type", "").startswith(("multipart/", "application/x-www-form-urlencoded")):
        return None
    form: Form = await read_form(request, FORM)
    return form.one("csrf")
