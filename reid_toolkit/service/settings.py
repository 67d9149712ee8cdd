"""The settings of a service, which do not change while it runs."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one client, and all clients together, may ask of the service."""

    picture_bytes: int = 10 * MEGABYTE
    """Of one uploaded picture."""
    body_bytes: int = 40 * MEGABYTE
    """Of a request that may bring pictures."""
    words_bytes: int = 1 << 18
    """Of any other request. It is read and parsed at once, and everybody waits meanwhile."""
    pictures: int = 32
    """In one request."""
    pixels: int = 25_000_000
    """Width times height of all pictures of a request, read from their headers before they are decoded."""
    answer_seconds: float = 30.0
    """After so long without an answer, a request gets status 504."""
    group_seconds: float = 3600.0
    """The same for grouping, which takes minutes for a large gallery."""
    body_seconds: float = 20.0
    """Within so long a request must have arrived completely."""
    head_seconds: float = 10.0
    """The same for the headers of a request."""
    connections: int = 200
    embedding: int = 2
    """Searches and enrolments at a time."""
    reading: int = 4
    """Other requests at a time. Besides them, as many pictures of records."""
    queue: int = 32
    """Requests that may wait for each of these two, except pictures. Further requests get status 503."""
    rate: float = 100.0
    """Requests a second that one token may send on average."""
    burst: float = 300.0
    """Requests that one token may send at once."""
    guesses: int = 10
    """Wrong tokens that one address may send in a minute."""
    streams: int = 20
    """Clients that may follow events at a time."""
    session_seconds: float = 12 * 3600.0
    """After so long, a user of the page must sign in again."""


@dataclass(frozen=True)
class Settings:
    """The settings of a service."""

    gallery: str
    """Folder or address."""
    model: Path | None = None
    """The gallery's model. None for the file that the gallery remembers."""
    tokens: Path | None = None
    """The file of tokens. None if there is none, which only a service on this machine may do."""
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may address the service, besides those of this machine and IP addresses."""
    proxy_header: str | None = None
    """The header in which a trusted proxy gives the name of a user whom it has authenticated."""
    proxy_role: str = "search"
    """The role of these users."""
    events: Path | None = None
    """The file that ``reid watch --events`` writes."""
    camera_statistics: bool = True
    """Whether searches remove the bias of cameras."""
    limits: Limits = field(default_factory=Limits)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
