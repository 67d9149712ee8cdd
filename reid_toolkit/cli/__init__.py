"""The ``reid`` command. Each module parses its options, calls a library function, and prints the result."""

from reid_toolkit.cli.app import main

__all__ = ["main"]
