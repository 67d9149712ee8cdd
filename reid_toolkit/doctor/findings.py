"""What an examination finds."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "note", "missing", "broken"]
"""``note``: works, but look at it. ``missing``: an optional part cannot be used. ``broken``: reid, or the gallery or
model that was named, cannot be used here."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    area: str
    """"machine", "base", "extras", "model" or "gallery"."""
    name: str
    status: Status
    found: str
    """What is there, in one line."""
    mend: str | None = None
    """What to do, as a command line where there is one."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""
