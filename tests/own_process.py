"""A command in a process of its own, which a test forks or starts."""

import os
from pathlib import Path

from reid_toolkit.cli import main


def run_command(out: Path, words: list[str]) -> None:
    """What ``python -m reid_toolkit`` does, and what it says into files beside ``out``."""
    for number, name in ((1, ".stdout"), (2, ".stderr")):
        os.dup2(os.open(out.with_suffix(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    main(words)
