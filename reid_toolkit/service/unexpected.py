"""Middleware that answers errors which nobody expected."""

import logging
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reid_toolkit.service.guard import Answer

LOG = logging.getLogger(__name__)
Explain = Callable[[Request, Exception], Awaitable[Response]]


class Unexpected:
    """Middleware: writes an error into the log, and sends the answer that ``explain`` makes of it.

    Starlette would do so outside of all other middleware, and the answer would have no security headers and would not
    be counted.
    """

    def __init__(self, app: ASGIApp, explain: Explain) -> None:
        self.app, self.explain = app, explain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if that fails."""
        answer = Answer(send)
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            if scope["type"] != "http" or answer.begun:
                raise  # the server writes it into the log, and closes the connection
            LOG.exception("%s %s failed", scope["method"], getattr(scope.get("route"), "path", "(no route)"))
            response = await self.explain(Request(scope), error)
            await response(scope, receive, send)
