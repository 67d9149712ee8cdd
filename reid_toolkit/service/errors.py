"""Errors of the service as JSON: a status, a code for programs, and one clear line that holds no path of the server."""

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from reid_toolkit.errors import (
    AuditError,
    GalleryError,
    ImageError,
    InputError,
    MissingDependencyError,
    ModelError,
    ReidError,
    UnavailableError,
)

CODES = {
    400: "bad_request", 401: "not_signed_in", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "too_slow", 409: "conflict", 413: "too_large", 415: "not_a_picture", 421: "wrong_host",
    422: "invalid", 429: "too_many_requests", 500: "internal", 501: "not_supported",
    503: "busy", 504: "timeout",
}  # fmt: skip
PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:[\\/]|/(?=[^\s/'\"`]+))[^\s'\"`,;:)]*")
QUOTED = re.compile(r"'((?:[A-Za-z]:[\\/]|[\\/~])[^']*)'")
"""A text in quotes that begins like a path, which may have spaces. Names of cameras may have slashes inside."""
COMMAND = re.compile(r"[:;,]? [^:;,]*`reid [^`]*`.*$|[:;,] (?:give|run|expected .*give) --.*$", re.DOTALL)
"""Advice that only who is at the command line can follow."""


class Fault(BaseModel):
    """What was wrong."""

    code: str = Field(description="For programs.")
    message: str = Field(description="For people: one line.")


class Error(BaseModel):
    """Every answer with a status of 400 or more."""

    error: Fault


class Refusal(HTTPException):
    """An answer other than success."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """``code`` is by default the usual one of the status."""
        super().__init__(status, message)
        self.status, self.message, self.code = status, message, code or CODES.get(status, "error")
        self.headers: dict[str, str] = dict(headers or {})

    @property
    def document(self) -> dict[str, object]:
        """The JSON of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def busy(seconds: int, message: str = "the service is busy: try again later") -> Refusal:
    """Status 503, with the time after which to try again."""
    return Refusal(503, message, headers={"Retry-After": str(seconds)})


def refusal_of(error: ReidError, hidden: Sequence[str] = (), *, input_status: int = 400) -> Refusal:
    """The answer for an error of the library. ``hidden`` are paths that its message may hold."""
    message = without_paths(str(error), hidden)
    if isinstance(error, UnavailableError | AuditError):
        return Refusal(503, message, "unavailable", {"Retry-After": "5"})
    if isinstance(error, ImageError):
        return Refusal(415, message)
    if isinstance(error, InputError):
        return Refusal(input_status, message)
    if isinstance(error, MissingDependencyError):
        return Refusal(501, message)
    if isinstance(error, GalleryError | ModelError):
        return Refusal(409, message)
    return Refusal(500, message)


def without_paths(message: str, hidden: Sequence[str] = ()) -> str:
    """A message of the library for a reader who cannot see the server: on one line, without paths and commands.

    ``hidden`` are paths that may hold spaces, so that they cannot be recognised.
    """
    for place in sorted(hidden, key=len, reverse=True):
        message = message.replace(place, last_part(place))
    text = " ".join(COMMAND.sub("", message).split())
    text = QUOTED.sub(lambda found: f"'{last_part(found[1])}'", text)
    return PATH.sub(lambda found: last_part(found[0]), text)


def last_part(path: str) -> str:
    """The last part of a path."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
