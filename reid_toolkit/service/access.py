"""Who is asking, and what they may do."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from reid_toolkit.errors import InputError
from reid_toolkit.files import as_name
from reid_toolkit.service.errors import Refusal, busy
from reid_toolkit.service.rates import RateLimit
from reid_toolkit.service.sessions import COOKIE, Sessions
from reid_toolkit.service.settings import Settings
from reid_toolkit.service.tokens import ROLES, Token, TokenFile, digest_of, find_token

CSRF = "x-reid-csrf"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_TOKEN = 200
LONGEST_GOAL = 2000
"""Characters of the path to which signing in leads. A longer one would not fit into the line of a request."""
MOST = 10_000
"""Of :attr:`Door.welcome`."""
BEARER = HTTPBearer(scheme_name="token", description="A token of `reid serve token add`.", auto_error=False)
"""Only describes the header: :class:`Door` checks it."""
LOCAL = "local"
"""The name of whoever asks a service without tokens, from this machine."""


@dataclass(frozen=True)
class Visitor:
    """Who asks, as far as the service knows."""

    name: str
    """Of the token, or what a trusted proxy says. It goes into the audit log."""
    role: str
    csrf: str | None = None
    """What the page must send with changes. None for programs, which send no cookie."""
    how: str = "token"
    """"token", "session", "proxy" or "local"."""

    def may(self, role: str) -> bool:
        """Whether the visitor has this role, or a higher one."""
        return ROLES.index(self.role) >= ROLES.index(role)


class SignIn(Exception):  # noqa: N818 (it is no error)
    """The visitor of a page has to sign in first."""

    def __init__(self, request: Request) -> None:
        query = request.url.query
        back = quote(request.scope["path"]) + (f"?{query}" if query else "")
        usual = back == "/" or len(back) > LONGEST_GOAL
        self.address = "/login" if usual else f"/login?next={quote(back, safe='')}"
        super().__init__("sign in first")


@dataclass
class Door:
    """Checks who asks. One for each service."""

    settings: Settings
    tokens: TokenFile
    sessions: Sessions
    guesses: RateLimit
    requests: RateLimit
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    welcome: dict[tuple[str, str], None] = field(default_factory=dict)
    """Addresses and digests of right tokens that came from there. They need not wait while others guess, because all
    clients of a proxy have one address."""
    guarded: bool = False
    """Whether there was a file of tokens since the start. Then the service stays closed when the last token is revoked,
    also after the next start, because the file stays."""

    @classmethod
    def of(cls, settings: Settings) -> "Door":
        """The door of a service. Raises :class:`InputError` if the file of tokens cannot be read."""
        limits = settings.limits
        door = cls(
            settings, TokenFile(settings.tokens), Sessions(limits.session_seconds),
            RateLimit(limits.guesses / 60, limits.guesses), RateLimit(limits.rate, limits.burst),
        )  # fmt: skip
        door.held()
        return door

    @property
    def open(self) -> bool:
        """Whether everybody on this machine is admin: there are no tokens, and nobody else can reach the service."""
        held = self.held()
        return self.settings.loopback and not self.settings.proxy_header and not held and not self.guarded

    def held(self) -> tuple[Token, ...]:
        """The tokens now. Raises :class:`Refusal` 503 if their file is damaged."""
        try:
            tokens = self.tokens.refresh()
        except InputError:
            self.guarded = True
            raise busy(30, "the tokens of this service cannot be read: its operator has to look") from None
        self.guarded = self.guarded or bool(tokens) or self.tokens.there
        return tokens

    def visitor(self, request: Request) -> Visitor:
        """Who asks. Raises :class:`Refusal`: 401 for nobody or a wrong token, 429 for too many wrong tokens or
        requests, 403 for a change without the page's secret."""
        found = self.recognise(request)
        if found is None:
            challenge = {"WWW-Authenticate": 'Bearer realm="reid"'}
            raise Refusal(401, "sign in, or send a token: Authorization: Bearer TOKEN", headers=challenge)
        if seconds := self.requests.take(f"{found.how}:{found.name}"):
            raise Refusal(429, f"too many requests: try again in {seconds} s", headers={"Retry-After": str(seconds)})
        if request.method not in READING and found.how in ("session", "proxy"):
            sent = request.headers.get(CSRF, "")
            if not found.csrf or not hmac.compare_digest(sent.encode(), found.csrf.encode()):
                raise Refusal(403, "the page is out of date: load it again", "wrong_csrf")
        return found

    def recognise(self, request: Request) -> Visitor | None:
        """Who asks, None for nobody. Raises :class:`Refusal` for a wrong token."""
        header = request.headers.get("authorization")
        if header is not None:
            kind, _, token = header.partition(" ")
            if kind.lower() != "bearer":
                raise Refusal(401, "expected Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"})
            found = self.check(request, token.strip())
            return Visitor(found.name, found.role)
        if self.settings.proxy_header:
            return self._proxied(request)
        cookie = request.cookies.get(COOKIE)
        session = self.sessions.find(cookie) if cookie else None
        if session is not None:
            entry = next((one for one in self.held() if one.digest == session.digest), None)
            if entry is not None:
                return Visitor(entry.name, entry.role, session.csrf, "session")
        return Visitor(LOCAL, "admin", self._csrf(LOCAL), "local") if self.open else None

    def _proxied(self, request: Request) -> Visitor | None:
        given = request.headers.getlist(self.settings.proxy_header or "")
        if len(given) != 1 or not given[0].strip() or not given[0].isprintable():
            return None
        name = as_name(given[0].strip())[:100]
        return Visitor(name, self.settings.proxy_role, self._csrf(name), "proxy")

    def _csrf(self, name: str) -> str:
        return hmac.new(self.secret, name.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    def check(self, request: Request, token: str) -> Token:
        """The entry of a token. Raises :class:`Refusal`: 401 if it is wrong, 429 after too many wrong tokens."""
        client = request.client.host if request.client else ""
        known = client, digest_of(token)
        if known not in self.welcome and (seconds := self.guesses.wait(client)):
            raise Refusal(
                429, f"too many wrong tokens: try again in {seconds} s", headers={"Retry-After": str(seconds)}
            )
        found = find_token(self.held(), token) if 0 < len(token) <= LONGEST_TOKEN else None
        if found is None:
            self.guesses.take(client)
            self.welcome.pop(known, None)
            raise Refusal(401, "this token is wrong, or was revoked", "wrong_token", {"WWW-Authenticate": "Bearer"})
        self.welcome[known] = None
        if len(self.welcome) > MOST:
            del self.welcome[next(iter(self.welcome))]
        return found

    def sign_in(self, request: Request, token: str) -> str:
        """Begin a session, and return the value of its cookie. Raises what :meth:`check` raises."""
        found = self.check(request, token.strip())
        cookie, _ = self.sessions.begin(found.digest)
        return cookie


def door_of(request: Request) -> Door:
    """The door of the service that a request belongs to."""
    door: Door = request.app.state.door
    return door


def visitor_of(request: Request) -> Visitor:
    """Who asks. It is only found out once for a request. Raises what :meth:`Door.visitor` raises."""
    held: Visitor | None = getattr(request.state, "visitor", None)
    if held is None:
        held = request.state.visitor = door_of(request).visitor(request)
    return held


def need(role: str) -> Any:
    """A dependency of the API: the visitor, who must have this role. Raises :class:`Refusal`, 401 or 403."""

    def visitor(request: Request, _: Annotated[object, Depends(BEARER)]) -> Visitor:
        found = visitor_of(request)
        if not found.may(role):
            raise Refusal(403, f"this needs the role {role}: the token {found.name!r} has the role {found.role}")
        return found

    return Depends(visitor)


def page_visitor(request: Request) -> Visitor:
    """A dependency of pages: the visitor, of any role. Whoever is not signed in is sent to /login."""
    try:
        return visitor_of(request)
    except Refusal as refusal:
        if refusal.status == 401:
            raise SignIn(request) from None
        raise


Searcher = Annotated[Visitor, need("search")]
Reviewer = Annotated[Visitor, need("review")]
Admin = Annotated[Visitor, need("admin")]
PageVisitor = Annotated[Visitor, Depends(page_visitor)]
