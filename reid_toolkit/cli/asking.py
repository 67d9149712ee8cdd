"""Questions before something is deleted."""

import click

from reid_toolkit.cli.root import fail
from reid_toolkit.errors import InputError

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
