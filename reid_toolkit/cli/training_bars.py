"""The bars of ``reid train``: crops read, then training steps, with the time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from reid_toolkit.cli.console import log

if TYPE_CHECKING:
    from reid_toolkit.training.clock import Phase
    from reid_toolkit.training.progress import Step


class TimeLeft(TimeRemainingColumn):
    """Counts down to a task's ``ends``, a time of time.monotonic, where it has one."""

    def render(self, task: Task) -> Text:
        ends = task.fields.get("ends")
        if ends is None:
            return super().render(task)
        minutes, seconds = divmod(max(0, round(ends - time.monotonic())), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", style="progress.remaining")


DOING: "dict[Phase, str]" = {
    "load": "reads crops", "train": "learns", "extract": "describes all crops", "measure": "measures",
    "merge": "clusters", "save": "saves",
}  # fmt: skip


@contextmanager
def training_bars(
    unit: str, *, hidden: bool = False
) -> Iterator[tuple[Callable[[int, int | None], None], Callable[["Phase"], None], Callable[["Step"], None]]]:
    """Yield callbacks for crops read, for what training does now, and for training steps.

    Stages or rounds (``unit``) have the numbers that metrics and reports give them, from 0 to the last one's.
    """
    # What is longest comes last, where a narrow terminal cuts it off.
    columns = TextColumn("{task.description}"), BarColumn(), TimeLeft(), TextColumn("{task.fields[state]}")
    with Progress(*columns, console=log, disable=hidden) as progress:
        reading = progress.add_task("read crops", total=None, state="")
        training = progress.add_task("train", total=None, state="", ends=None, visible=False)
        where = ""

        def on_load(done: int, total: int | None) -> None:
            progress.update(reading, completed=done, total=total, state=f"{done}/{total}")

        def on_phase(phase: "Phase") -> None:
            progress.update(training, state=f"{where}{DOING[phase]}", visible=phase != "load")

        def on_step(step: "Step") -> None:
            nonlocal where
            where = f"{unit} {step.stage}/{step.stages - 1} · "
            ends = None if step.seconds_left is None else time.monotonic() + step.seconds_left
            state = f"{where}learns {step.clusters} clusters · loss {step.loss:.3f}"
            progress.update(training, completed=step.done, total=step.total, state=state, ends=ends)

        yield on_load, on_phase, on_step
        progress.update(training, state=f"{where}done", ends=time.monotonic())
