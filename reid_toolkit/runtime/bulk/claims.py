"""Claims: files in a shared folder that say which process works on which shard.

A claim only saves work: if two processes embed the same shard, both write the same complete result. So no lock server
is needed, machines' clocks may differ by seconds, and a slow network folder does no harm.
"""

import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path


class Claims:
    """The claims of a process in ``folder``. Each claim is a file, and belongs to the process that creates it first.

    A claim is taken over if its process ran on this machine and no longer exists, or if the claim was not renewed for
    ``stale_after`` seconds.
    """

    def __init__(self, folder: Path, stale_after: float) -> None:
        self.folder = folder
        self.stale_after = stale_after
        self.host = socket.gethostname()
        self.owner = f"{self.host} {os.getpid()} {secrets.token_hex(8)}"

    def path(self, name: str) -> Path:
        """The file of the claim on ``name``."""
        return self.folder / f"{name}.claim"

    def take(self, name: str) -> bool:
        """Claim ``name``. False if another process holds it."""
        path = self.path(name)
        if self.is_stale(path):
            # Only one process can rename it. For a second process, it is missing or is a new claim.
            aside = path.with_name(f".{secrets.token_hex(8)}.stale")
            try:
                path.rename(aside)
            except FileNotFoundError:
                return False
            aside.unlink(missing_ok=True)
        try:
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(self.owner)
        except (FileExistsError, FileNotFoundError):  # another process was quicker, or the job is done and cleared away
            return False
        return True

    def is_stale(self, path: Path) -> bool:
        """Whether the claim exists and its owner seems to have stopped."""
        try:
            age = time.time() - path.stat().st_mtime
            host, _, rest = path.read_text(encoding="utf-8", errors="replace").partition(" ")
        except FileNotFoundError:
            return False
        process = rest.partition(" ")[0]
        if host == self.host and process.isdecimal() and not is_alive(int(process)):
            return True
        return age > self.stale_after

    def renew(self, name: str) -> None:
        """Give a sign of life for ``name``."""
        with suppress(FileNotFoundError):  # it was taken over, because this process was slow: the result is the same
            os.utime(self.path(name))

    def drop(self, name: str) -> None:
        """Give up the claim on ``name``, if this process still holds it."""
        path = self.path(name)
        with suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8", errors="replace") == self.owner:
                path.unlink()


def is_alive(process: int) -> bool:
    """Whether this machine has a process with this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
