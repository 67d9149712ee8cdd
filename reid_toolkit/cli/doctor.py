"""``reid doctor``: what this machine has, what is missing for what, and the line that mends it."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli.console import counted, fail, print_json, printable
from reid_toolkit.cli.options import MODEL, json_output

if TYPE_CHECKING:
    from reid_toolkit.doctor import Finding

COLUMNS = 34
"""Before the text of a finding."""
WHERE = "Run these lines in reid's checkout. pip is that of this environment: {python} -m pip"
WITHOUT_PIP = (
    "Nothing can be installed here, because there is no pip. An image is built again with more extras: "
    "docker build -f Containerfile --build-arg EXTRAS=footage,events,serve,milvus -t reid ."
)
TITLES = {
    "machine": "this machine", "base": "base install: enroll, search, embed", "extras": "what else works here",
    "model": "the model", "gallery": "the gallery",
}  # fmt: skip


@click.command()
@click.option("--gallery", metavar="WHERE", help="Also try this gallery: a folder, or milvus://host:port/name.")
@click.option("--model", type=MODEL, help="Also try this model: a file, or a name from `reid models`.")
@json_output
def command(gallery: str | None, model: Path | None, as_json: bool) -> None:
    """Show what this machine has, what is missing for which command, and how to mend it.

    Nothing is changed. The exit status is 1 if the base install, or the gallery or model that you name, cannot be used;
    a missing extra is no error.
    """
    from reid_toolkit.doctor import examine

    examination = examine(gallery, None if model is None else str(model))
    if as_json:
        print_json(examination.document())
    else:
        click.echo("\n".join(report(examination.findings)))
    if broken := examination.broken:
        names = ", ".join(finding.name for finding in broken)
        fail(f"{counted(len(broken), 'thing')} cannot be used here: {names}: see above")


def report(findings: Sequence["Finding"]) -> Iterator[str]:
    """The lines for people: a title for each area, a line for each finding, and below it what mends it."""
    for number, (area, group) in enumerate(groupby(findings, lambda finding: finding.area)):
        yield f"{chr(10) if number else ''}{TITLES[area]}"
        for finding in group:
            start = f"  {finding.status:8}{printable(finding.name):23} "
            yield from folded(start, printable(finding.found))
            if finding.mend:
                yield from folded(" " * COLUMNS + "-> ", printable(finding.mend))
    if any("pip " in (finding.mend or "") for finding in findings):
        yield f"\n{WHERE.format(python=sys.executable) if find_spec('pip') else WITHOUT_PIP}"


def folded(start: str, text: str) -> list[str]:
    """``start`` and ``text``, folded to the width of the terminal. In a file or a pipe, it stays one line."""
    if not sys.stdout.isatty():
        return [start + text]
    width = max(COLUMNS + 30, shutil.get_terminal_size().columns)
    indent = " " * max(COLUMNS, len(start))
    return textwrap.wrap(start + text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
                         drop_whitespace=True)  # fmt: skip
