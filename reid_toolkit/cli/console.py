"""Output and questions: messages, progress bars and questions on stderr, JSON on stdout."""

import io
import re
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
"""Called by long library functions with (done, total). total is None if it is not known."""
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode characters that change the direction of writing. The text after them would be shown in another order."""


class BestEffort(io.TextIOBase):
    """Stderr, without errors. If it cannot be written (full disk, closed pipe, closed terminal), the text is dropped,
    so that a long job does not end because nobody reads its messages."""

    @property
    def stream(self) -> Any:
        """The current stderr. If rich has replaced it by a proxy, the stream behind the proxy."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self.stream is not None:  # None if the shell has closed stderr
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
"""Prints messages for people, on stderr. stdout carries results only."""


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error as one line on stderr, and exit with ``status``."""
    line = " ".join(message.split())
    log.print(f"[bold red]error:[/] {rich_escape(printable(line))}", soft_wrap=True)
    sys.exit(status)


def warn_bad(bad: list[str] | None) -> None:
    """Warn how many images --skip-bad left out, and why the first was."""
    if bad:
        warn(f"{len(bad)} unreadable images were left out; the first: {bad[0]}")


def warn(message: str) -> None:
    """Print a warning as one line on stderr."""
    log.print(f"[yellow]warning:[/] {rich_escape(printable(message))}", soft_wrap=True)


@contextmanager
def warnings_on_log() -> Iterator[None]:
    """Print each warning of the library as one line on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: warn(str(message))
        yield


def rich_escape(text: str) -> str:
    """``text``, escaped so that rich prints square brackets literally."""
    from rich.markup import escape

    return escape(text)


def printable(text: str) -> str:
    """``text`` on one line, safe to print on a terminal. For names from records, datasets and files.

    Control characters, line ends, characters that change the direction of writing, and bytes that are not Unicode are
    written as in a Python string, such as ``\\n`` and ``\\x1b``. All other characters and scripts stay unchanged.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(sign: str) -> str:
    unsafe = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in TURNS
    return sign.encode("unicode_escape").decode() if unsafe else sign


def counted(count: int, what: str) -> str:
    """A number of things in words: "1 camera", "12,936 crops"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document on stdout."""
    import json

    # A byte of a name that is no Unicode is escaped as JSON does it, so that the document is always valid.
    text = re.sub(
        "[\ud800-\udfff]", lambda sign: rf"\u{ord(sign[0]):04x}", json.dumps(value, indent=2, ensure_ascii=False)
    )
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):  # such as Latin-1, which lacks most signs
        text = json.dumps(value, indent=2)
    click.echo(text)


def forgive_stdout() -> None:
    """From now on, what the encoding of stdout lacks is written as in a Python string, such as ``\\udcff``.

    Else a file name that is no Unicode would end a command with a traceback when its work is done. Any other way than
    "strict" stays, such as the one of the locale C.UTF-8, which gives such a name its own bytes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[OnProgress]:
    """Yield a callback ``(done, total)`` that draws a bar with the speed in ``unit``/s and the time left."""
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
    """Like :func:`progress_bar`, but the bar appears at the first report. For work that often has nothing to do."""
    with progress_bars({title: unit}) as on_progress:
        yield partial(on_progress, title)


@contextmanager
def progress_bars(units: dict[str, str]) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a callback ``(what, done, total)`` that draws bars one after the other.

    ``units`` maps each title ``what`` to the unit that its bar counts.
    """
    with ExitStack() as stack:
        bars: dict[str, OnProgress] = {}

        def on_progress(what: str, done: int, total: int | None) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(progress_bar(what, units[what]))
            bars[what](done, total)

        yield on_progress


yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on stderr. Raises :class:`InputError` if nobody can answer, as in a cron job."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as abort:
        # click raises Abort both for the end of stdin and for Ctrl-C.
        if not isinstance(abort.__context__, EOFError):
            fail("interrupted: nothing was done", status=130)
    except (UnicodeDecodeError, RuntimeError, OSError):  # stdin is not text, is closed ("lost sys.stdin"), or a folder
        pass
    click.echo(err=True)  # ends the line of the question
    raise InputError("nobody answered the question, so nothing was done: run it in a terminal, or give --yes")
