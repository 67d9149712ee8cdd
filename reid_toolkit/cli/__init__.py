"""The ``reid`` command: each module here parses, calls one library function, and prints what it returns."""

from reid_toolkit.cli.app import main

__all__ = ["main"]
