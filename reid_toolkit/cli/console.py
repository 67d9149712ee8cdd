"""What a person at a terminal sees and is asked: lines on stderr, progress bars, questions; and JSON for programs."""

import io
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import IO, Any, NoReturn, cast

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reid_toolkit.errors import InputError

OnProgress = Callable[[int, int | None], None]
"""Called by long library functions with (done, total); total is None when it cannot be known."""
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode's signs that turn the direction of writing: what follows would be read in another order."""


class BestEffort(io.TextIOBase):
    """Stderr. What cannot be written there, to a full disk, a closed pipe or a terminal that is gone, is left out: no
    work ends for a line that nobody reads."""

    @property
    def stream(self) -> Any:
        """Stderr as it is now; the one behind it where rich has put itself before it."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self.stream is not None:  # as it is where the shell has closed it
            with suppress(OSError):
                self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self.stream is not None:
            with suppress(OSError):
                self.stream.flush()

    def isatty(self) -> bool:
        return self.stream is not None and bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())


log = Console(file=cast("IO[str]", BestEffort()), highlight=False, emoji=False)
"""Where everything meant for a person goes; stdout carries results only."""


def fail(message: str, status: int = 1) -> NoReturn:
    """Print one line to stderr and leave."""
    line = " ".join(message.split())
    log.print(f"[bold red]error:[/] {rich_escape(printable(line))}", soft_wrap=True)
    sys.exit(status)


def warn_bad(bad: list[str] | None) -> None:
    """Say how many images --skip-bad left out, and name the first."""
    if bad:
        warn(f"{len(bad)} unreadable images were left out, the first: {bad[0]}")


def warn(message: str) -> None:
    """Print one line to stderr and go on."""
    log.print(f"[yellow]warning:[/] {rich_escape(printable(message))}", soft_wrap=True)


@contextmanager
def warnings_on_log() -> Iterator[None]:
    """What the library warns of, as one line each on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: warn(str(message))
        yield


def rich_escape(text: str) -> str:
    """``text`` with Rich's square-bracket markup taken literally."""
    from rich.markup import escape

    return escape(text)


def printable(text: str) -> str:
    """``text`` of a record, dataset or file name on one line, and without power over a terminal.

    Control characters, ends of lines, signs that turn the direction of writing, and what is no Unicode are written as
    in a Python string, such as ``\\n`` and ``\\x1b``. Other signs and scripts stay as they are.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(sign: str) -> str:
    unsafe = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in TURNS
    return sign.encode("unicode_escape").decode() if unsafe else sign


def print_json(value: Any) -> None:
    """Machine-readable output: one JSON document on stdout."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[OnProgress]:
    """Yield a callback ``(done, total)`` which draws a bar with ``unit``/s and the time left."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=log, transient=False) as progress:
        task = progress.add_task(title, total=None, rate="")

        def on_progress(done: int, total: int | None) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, completed=done, total=total, rate=f"{speed:.1f} {unit}/s" if speed else f"- {unit}/s")

        yield on_progress


@contextmanager
def late_progress_bar(title: str, unit: str) -> Iterator[OnProgress]:
    """:func:`progress_bar` for work that often finds nothing to do: the bar is drawn at its first report."""
    with progress_bars({title: unit}) as on_progress:
        yield partial(on_progress, title)


@contextmanager
def progress_bars(units: dict[str, str]) -> Iterator[Callable[[str, int, int | None], None]]:
    """A callback ``(what, done, total)`` that draws bars one after the other; ``units`` says what each counts."""
    with ExitStack() as stack:
        bars: dict[str, OnProgress] = {}

        def on_progress(what: str, done: int, total: int | None) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(progress_bar(what, units[what]))
            bars[what](done, total)

        yield on_progress


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(question: str) -> bool:
    """Ask on stderr; raises :class:`InputError` when nobody is there to answer, as in a script or under cron."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as abort:
        # click raises the same for the end of stdin and for Ctrl-C.
        if not isinstance(abort.__context__, EOFError):
            fail("interrupted: nothing was done", status=130)
    except (UnicodeDecodeError, RuntimeError, OSError):  # no text; stdin is closed ("lost sys.stdin"), or a folder
        pass
    click.echo(err=True)  # ends the line of the question
    raise InputError("there was no answer, so nothing was done: run it where you can answer, or give --yes")
