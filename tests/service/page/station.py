"""What the tests of the page know of the service that they look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from reid_toolkit.demo.day import Day

DAY = Day(people=14, seed=8, cameras=("north", "hall", "gate"), crowd=14, stays=(1, 1), places=(3, 4))
"""A crowd, because a calibration needs people whom one camera sees at once."""
PATIENCE = 60_000
"""Milliseconds that a test waits for what the page should show. It is long for machines that do much else."""

Visit = Callable[..., Any]
"""Opens a page of Playwright."""


class Site(NamedTuple):
    """A running service."""

    address: str
    tokens: dict[str, str]
    """A token of each role."""
    gallery: Path
    crops: Path
    """The folder of the drawn crops."""
    events: Path
