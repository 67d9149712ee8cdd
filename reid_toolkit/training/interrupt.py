"""Ctrl-C and SIGTERM while a network trains: the step is finished and the run is saved, and then it ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._held = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take over those of the signals that raise KeyboardInterrupt, as Ctrl-C does in Python and SIGTERM does in
        ``reid``; others mean something else to whoever called."""
        # Python hands signals to its main thread alone.
        main = threading.current_thread() is threading.main_thread()
        taken = [number for number in SIGNALS if main and signal.getsignal(number) is signal.default_int_handler]
        for number in taken:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, signal.default_int_handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The first signal inside only sets ``asked``: a step that ends halfway leaves nothing to save. The second
        does not wait."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was held back."""
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self._held:
            raise KeyboardInterrupt
        self.asked = True
