"""Runs commands that another process of ours sends: JSON lines on standard input, JSON lines on standard output.

A service groups people in such a process, so that torch is never in its own. Each line has "who" asks, for the audit
log, and the "arguments" of a command. Each answer has its "status", and what it wrote as "out" and "err".
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout


def answer(line: str) -> dict[str, object]:
    """Run the command that a line holds."""
    from reid_toolkit.cli.app import main
    from reid_toolkit.gallery.local.audit import asked_by

    wanted = json.loads(line)
    status = 1
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, asked_by(wanted["who"]):
        try:
            main(wanted["arguments"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def run() -> None:
    """Answer each line until the input ends, with the process that sends it."""
    answers = sys.stdout
    for line in sys.stdin:
        answers.write(json.dumps(answer(line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    run()
