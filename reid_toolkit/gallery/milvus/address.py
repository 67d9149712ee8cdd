"""Addresses of Milvus galleries: ``milvus://host:port/name``, or ``milvus-lite:///folder.db/name`` without a server."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reid_toolkit.errors import InputError

PORT = 19530
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
"""Names that Milvus accepts for a collection."""
SCHEMES = ("milvus://", "milvus-lite://")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a collection in a server or in a Milvus Lite folder."""

    text: str
    """The address as it was given, for messages."""
    uri: str
    """The URI for pymilvus."""
    name: str
    """Name of the collection."""
    lite: bool


def parse_address(text: str) -> Address:
    """Read an address. Raises :class:`InputError` if it has neither form."""
    lite = text.startswith(SCHEMES[1])
    if not lite and not text.startswith(SCHEMES[0]):
        raise InputError(f"{text}: expected milvus://host:port/name or milvus-lite:///folder.db/name")
    where, _, name = text.partition("://")[2].rpartition("/")
    if not NAME.fullmatch(name):
        raise InputError(
            f"{text}: {name!r} cannot be a gallery's name in Milvus: expected letters, digits and underscores, and no "
            "digit at the beginning"
        )
    return Address(text, _lite_uri(text, where) if lite else _server_uri(text, where), name, lite)


def _server_uri(text: str, where: str) -> str:
    try:
        parts = urlsplit(f"//{where}")
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host, port = None, PORT
    if not host or parts.username is not None or parts.path or parts.query:
        raise InputError(f"{text}: expected milvus://host:port/name; put a password into REID_MILVUS_TOKEN")
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _lite_uri(text: str, where: str) -> str:
    folder = Path(where)
    if not folder.is_absolute() or folder.suffix != ".db":
        raise InputError(f"{text}: expected milvus-lite:///folder.db/name, an absolute path that ends in .db")
    return str(folder)
