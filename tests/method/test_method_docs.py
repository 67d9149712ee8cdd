"""The example in docs/method.md runs as it stands."""

from pathlib import Path
from textwrap import dedent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "method.md"


def test_the_example_of_the_page_runs():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    import numpy"))
    end = next(i for i, line in enumerate(lines) if line.startswith("## "))
    exec(dedent("\n".join(lines[start:end])), {})
