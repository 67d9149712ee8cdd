"""One look for every progress bar: done, rate, time left; on stderr, silent when that is not a terminal."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reid_toolkit.cli.root import log

OnProgress = Callable[[int, int | None], None]
"""Called by long library functions with (done, total); total is None when it cannot be known."""


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
    with ExitStack() as stack:
        bars: list[OnProgress] = []

        def on_progress(done: int, total: int | None) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(title, unit)))
            bars[0](done, total)

        yield on_progress


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
