"""Sessions of the page: a cookie stands for a token, and a second secret protects its changes from other sites."""

import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

COOKIE = "reid_session"
MOST = 1_000
"""Sessions at a time. Of more, the oldest ends."""


@dataclass(frozen=True)
class Session:
    """A signed-in user of the page."""

    digest: str
    """Of the token that was given. If it is revoked, the session ends."""
    csrf: str
    """What each change must carry in the header ``X-Reid-CSRF``."""
    ends: float
    """On the clock of ``time.monotonic``."""


class Sessions:
    """All sessions, in memory: they end with the service."""

    def __init__(self, seconds: float) -> None:
        """Each session ends after so many seconds."""
        self.seconds = seconds
        self._held: OrderedDict[bytes, Session] = OrderedDict()
        self._lock = Lock()

    def begin(self, digest: str) -> tuple[str, Session]:
        """A new session for the token with this digest, with the value of its cookie."""
        cookie = secrets.token_urlsafe(32)
        session = Session(digest, secrets.token_urlsafe(32), time.monotonic() + self.seconds)
        with self._lock:
            self._held[_key(cookie)] = session
            while len(self._held) > MOST:
                self._held.popitem(last=False)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie. None if there is none, or it has ended."""
        with self._lock:
            session = self._held.get(_key(cookie))
            if session is not None and session.ends <= time.monotonic():
                del self._held[_key(cookie)]
                return None
            return session

    def end(self, cookie: str) -> None:
        """End a session. Nothing happens if there is none."""
        with self._lock:
            self._held.pop(_key(cookie), None)


def _key(cookie: str) -> bytes:
    # Looked up by a digest, so that the time of a lookup says nothing about the cookies that exist.
    return hashlib.sha256(cookie.encode(errors="surrogateescape")).digest()
