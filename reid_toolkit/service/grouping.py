"""Groups people in a process of its own, because grouping needs torch and much memory."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from queue import Empty, Queue
from threading import Lock, Thread, Timer
from typing import Any

from reid_toolkit.service.errors import Refusal, without_paths

IDLE = 120.0
"""Seconds after which the process ends if nobody needs it."""
PATIENCE = 60.0
NO_TORCH = "this service cannot group people: it needs the extra train, which is not installed there"
WORKER = "reid_toolkit.cli.worker"


class Grouper:
    """Runs `reid people` for a gallery, one command at a time."""

    def __init__(self, gallery: str, seconds: float) -> None:
        """A command may take so many seconds."""
        self.gallery, self.seconds = gallery, seconds
        self._one = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._idle: Timer | None = None
        self._closed = False

    def run(self, who: str, command: str, *options: str, operands: Sequence[str] = (), wait: float = PATIENCE) -> Any:
        """Run `reid people COMMAND OPTIONS GALLERY OPERANDS` for the user ``who``. Returns its JSON if it has --json.

        wait: seconds for which it waits for another command to end.

        Raises :class:`Refusal`: 409 if a command still runs or if it failed, 501 without torch, 504 if it takes too
        long.
        """
        if not self._one.acquire(timeout=wait):
            raise Refusal(409, "people are being grouped at the moment: try again later", headers={"Retry-After": "5"})
        try:
            done = self._ask({"who": who, "arguments": ["people", command, *options, "--", self.gallery, *operands]})
        finally:
            self._one.release()
        if done["status"] == 0:
            return json.loads(done["out"]) if "--json" in options else None
        lines = [line for line in done["err"].splitlines() if line.startswith("error:")]
        message = lines[-1].removeprefix("error:").strip() if lines else "grouping failed"
        if "needs torch" in message or "needs scipy" in message:
            raise Refusal(501, NO_TORCH)
        raise Refusal(409, without_paths(message, [self.gallery]))

    def _ask(self, wanted: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        answers: Queue[str] = Queue()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(wanted) + "\n")
            process.stdin.flush()
        except OSError:
            self._end()
            raise Refusal(503, "grouping failed to start: try again", headers={"Retry-After": "5"}) from None
        Thread(target=lambda: answers.put(process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]
        try:
            line = answers.get(timeout=self.seconds)
        except Empty:
            self._end()
            raise Refusal(504, f"grouping did not end within {self.seconds:g} s, and was stopped") from None
        if not line:
            self._end()
            raise Refusal(503, "grouping was stopped before its end", headers={"Retry-After": "5"})
        self._idle = Timer(IDLE, self._rest)
        self._idle.daemon = True
        self._idle.start()
        done: dict[str, Any] = json.loads(line)
        return done

    def _started(self) -> subprocess.Popen[str]:
        if self._idle is not None:
            self._idle.cancel()
        if self._closed:
            raise Refusal(503, "the service is stopping", headers={"Retry-After": "5"})
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=os.name == "posix",
            )  # fmt: skip
        return self._process

    def _rest(self) -> None:
        if self._one.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._one.release()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # nothing is half written: the gallery changes in one transaction
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        """End the process, even if it is grouping."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        if self._process is not None:
            self._process.kill()
        with self._one:
            self._end()
