"""The stores that fsspec knows, and their errors.

Two kinds of errors leave the package ``storage``: :class:`FileNotFoundError`, as for a file, if there is no such
object, and :class:`StorageError` for everything else: no credentials, no bucket, no permission, no answer.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from reid_toolkit.errors import MissingDependencyError, StorageError, first_line

PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "http": "aiohttp", "https": "aiohttp",
}  # fmt: skip
"""The package that fsspec needs for each kind of address."""
IN_EXTRA = {"s3fs", "aiohttp"}
"""Those that the extra ``storage`` installs."""
WEB = {"http", "https"}
"""Addresses that can only be read. An object may have such an address, and so may a camera's stream."""
SLOW = "is the address right, and can the server and the network keep up? Run the same command again to continue"
ADVICE = {
    "NoCredentialsError": "expected credentials, for S3 in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in "
    "~/.aws/credentials",
    "PermissionError": "expected credentials that may do this",
    "TimeoutError": SLOW,
    "FSTimeoutError": SLOW,
    "ReadTimeoutError": SLOW,
}
"""What to do, by the class of an error."""
AGAIN = "is the store's address right (for S3, AWS_ENDPOINT_URL)? Run the same command again to continue"


def protocol_of(text: str) -> str:
    """What stands before the :// of an address, in small letters. Empty for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return found[1].lower() if found else ""


def is_address(text: str) -> bool:
    """Whether ``text`` is an address in object storage or on a web server."""
    return protocol_of(text) in PACKAGES


def in_object_storage(text: str) -> bool:
    """Whether ``text`` is an address in object storage, such as s3://bucket/people. Web addresses are not."""
    return protocol_of(text) in PACKAGES.keys() - WEB


@cache
def file_system(protocol: str) -> Any:
    """fsspec's file system for a kind of address. Raises :class:`MissingDependencyError` if it is not installed."""
    package = PACKAGES[protocol]
    try:
        import fsspec

        # Listings are not remembered: others write to the store, too.
        return fsspec.filesystem(protocol, use_listings_cache=False, **(web_options() if protocol in WEB else {}))
    except ImportError:
        how = "'.[storage]'" if package in IN_EXTRA else f"'.[storage]' {package}"
        raise MissingDependencyError(
            f"{protocol}:// needs fsspec and {package}, which are not both installed: in reid's checkout, "
            f"pip install {how}"
        ) from None
    except Exception as error:  # such as Google's, if it finds no credentials
        raise StorageError(f"{protocol}://: cannot be used: {first_line(error)}") from None


def web_options() -> dict[str, Any]:
    """Options for web servers. aiohttp ends a download after 5 minutes, and a recording may need longer: only a server
    that sends nothing for a minute is given up."""
    import aiohttp
    from fsspec.config import conf

    options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
    for protocol in sorted(WEB):  # fsspec would drop the user's settings of the same name
        options |= conf.get(protocol, {}).get("client_kwargs", {})
    return {"client_kwargs": options}


@contextmanager
def told(path: object) -> Iterator[None]:
    """Turn the many kinds of errors that stores raise into the two of this module."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        kinds = [type(one).__name__ for one in (error, error.__cause__) if one is not None]
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in kinds:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(path)) from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of this machine's disk
            raise
        advice = next((text for kind, text in ADVICE.items() if kind in kinds), AGAIN)
        if "NoSuchBucket" in kinds:
            advice = "expected the name of a bucket that exists"
        # fsspec's error of a timeout says nothing, but its cause does.
        said = first_line(error if str(error) or error.__cause__ is None else error.__cause__).rstrip(".")
        raise StorageError(f"{path}: {said}: {advice}") from None
