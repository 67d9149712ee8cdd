"""``reid serve``: a gallery as a REST service with a page."""

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import counted, log, print_json, printable, warn
from reid_toolkit.cli.paths import AnyPath
from reid_toolkit.errors import InputError, ReidError
from reid_toolkit.times import format_moment

if TYPE_CHECKING:
    from reid_toolkit.service.settings import Settings

ROLES = ("search", "review", "admin")
IN_GALLERY = "tokens.json"
MEGABYTE = 1 << 20
FILE_OF_TOKENS = AnyPath(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Where:
    """Which gallery or file of tokens a command is about."""

    gallery: str | None
    tokens: Path | None

    def merged(self, gallery: str | None, tokens: Path | None) -> "Where":
        """With the options of a command below."""
        return Where(gallery or self.gallery, tokens or self.tokens)

    @property
    def file(self) -> Path | None:
        """The file of tokens: the one that was named, or the one in the gallery's folder. None if neither is known."""
        if self.tokens is not None or self.gallery is None or "://" in self.gallery:
            return self.tokens
        return Path(self.gallery) / IN_GALLERY


@click.group(cls=rich_click.RichGroup, invoke_without_command=True)
@click.option("--gallery", metavar="WHERE", help="A folder, or milvus://host:port/name.")
@click.option("--model", type=options.MODEL, help="The ONNX model. [default: the model the gallery was enrolled with]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on. Others need tokens.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 for any free port."
)
@click.option("--tokens", type=FILE_OF_TOKENS, help="The file of tokens. [default: tokens.json in its folder]")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which clients address the service, besides localhost and IP addresses; may be given several times.",
)
@click.option(
    "--trust-proxy-header",
    "proxy_header",
    metavar="HEADER",
    help="Trust a proxy, which must be the only way to the service: HEADER holds the name of the user.",
)
@click.option(
    "--proxy-role", type=click.Choice(ROLES), default="search", show_default=True, help="The role of the proxy's users."
)
@click.option("--events", type=FILE_OF_TOKENS, metavar="FILE", help="The file that `reid watch --events FILE` writes.")
@options.camera_statistics
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Searches and enrolments at a time."
)
@click.option(
    "--queue", type=click.IntRange(0, 10_000), default=32, show_default=True, help="Requests that may wait for them."
)
@click.option(
    "--time-limit", type=options.Number(1), default=30.0, show_default=True, metavar="SECONDS", help="Of an answer."
)
@click.option(
    "--rate", type=options.Number(0, min_open=True), default=100.0, show_default=True, metavar="N",
    help="Requests a second that one token may send on average; three times as many at once.",
)  # fmt: skip
@click.option(
    "--max-picture", type=options.Number(0, min_open=True), default=10.0, show_default=True, metavar="MB",
    help="Size of one uploaded picture.",
)  # fmt: skip
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser, if this machine has a screen.")
@click.pass_context
def command(context: click.Context, gallery: str | None, tokens: Path | None, open_page: bool, **given: Any) -> None:
    """Serve a gallery to programs and people: REST under /api/v1, and a page.

    Without tokens, only this machine can use it, and everybody on it may do everything. Make tokens with `reid serve
    token add NAME --role ROLE`. Ctrl-C or SIGTERM stops the service, after it has finished what it is doing.
    """
    where = Where(gallery, tokens)
    context.obj = where
    if context.invoked_subcommand is not None:
        return
    if gallery is None:
        raise click.UsageError("missing option '--gallery'")
    from reid_toolkit.service.app import build_app
    from reid_toolkit.service.server import bind, serve

    settings = settings_of(where, given)
    app = build_app(settings)
    try:
        refuse_open(settings, app, named=tokens is not None)
        listener = bind(settings.host, settings.port)
        warm_up(app)
        address = announce(settings, app, listener.getsockname()[1])
        if open_page and has_screen():
            webbrowser.open(address)  # the socket listens already, so the browser waits for the answer
    except BaseException:
        app.state.context.close()
        raise
    serve(app, settings, listener)
    log.print("stopped", markup=False)


def settings_of(where: Where, given: dict[str, Any]) -> "Settings":
    """The settings that the options make."""
    from reid_toolkit.service.settings import Limits, Settings

    limits = Limits(
        embedding=given["workers"], queue=given["queue"], answer_seconds=given["time_limit"], rate=given["rate"],
        burst=max(1.0, 3 * given["rate"]), picture_bytes=int(given["max_picture"] * MEGABYTE),
        body_bytes=max(Limits.body_bytes, int(4 * given["max_picture"] * MEGABYTE)),
    )  # fmt: skip
    return Settings(
        gallery=where.gallery or "", model=given["model"], tokens=where.file, host=given["host"], port=given["port"],
        allowed_hosts=given["allowed_hosts"], proxy_header=given["proxy_header"], proxy_role=given["proxy_role"],
        events=given["events"], camera_statistics=given["camera_statistics"], limits=limits,
    )  # fmt: skip


def refuse_open(settings: "Settings", app: Any, *, named: bool) -> None:
    """Refuse a service that others could use without a token although its user expects otherwise.

    named: whether the user has named the file of tokens.
    """
    door = app.state.door
    option = "" if settings.tokens is None else f" --tokens {settings.tokens}"
    if settings.proxy_header or door.tokens.refresh():
        return
    if door.open and named:
        raise InputError(
            f"{settings.tokens}: no file of tokens there, and without tokens everybody on this machine may do "
            f"everything: make a token first with `reid serve token add NAME --role search{option}`, or leave "
            "--tokens out"
        )
    if door.open and settings.allowed_hosts:
        why = f"--allowed-host {settings.allowed_hosts[0]}"  # a proxy on this machine brings others' requests
    elif not settings.loopback:
        why = f"--host {settings.host}"
    else:
        return
    raise InputError(
        f"{why}: other machines could use the service without a token: make one first with `reid "
        f"serve token add NAME --role search{option}`, or let a proxy authenticate (--trust-proxy-header NAME)"
    )


def warm_up(app: Any) -> None:
    """Read what the first requests need. Warns about what will not work."""
    desk = app.state.context.desk
    try:
        desk.warm_up()
    except ReidError as error:
        warn(f"searches by picture do not work yet: {error}")


def has_screen() -> bool:
    """Whether a browser can be opened: not over SSH, and on Linux only with a display."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def announce(settings: "Settings", app: Any, port: int) -> str:
    """Say where the service is, and who may use it. Returns the page's address."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{port}/"
    log.print(f"{address}  (Ctrl-C stops it)", markup=False, soft_wrap=True)
    if settings.proxy_header:
        warn(
            f"whoever can reach this port can be anybody: the header {settings.proxy_header} is believed, and "
            f"its users have the role {settings.proxy_role}. Let only the proxy reach it"
        )
    if app.state.door.open:
        log.print("no tokens: everybody on this machine may do everything", markup=False, soft_wrap=True)
    else:
        count = len(app.state.door.tokens.refresh())
        who = f"who may use it: {counted(count, 'token')}"
        if not count and not settings.proxy_header:
            who = (
                f"who may use it: nobody, because {settings.tokens} has no tokens: make one with `reid serve token add "
                f"NAME --role admin --tokens {settings.tokens}`; the service knows it at once"
            )
        log.print(who, markup=False, soft_wrap=True)
    return address


@command.group()
def token() -> None:
    """Make, list and revoke the tokens of a service."""


def token_options(function: Any) -> Any:
    """Options that say which file of tokens is meant."""
    function = click.option("--gallery", metavar="WHERE", help="The gallery; its folder holds the tokens.")(function)
    return click.option("--tokens", type=FILE_OF_TOKENS, help="The file of tokens.")(function)


def file_of(context: click.Context, gallery: str | None, tokens: Path | None) -> Path:
    """The file of tokens that a command is about."""
    where = (context.obj or Where(None, None)).merged(gallery, tokens)
    if where.file is None:
        raise click.UsageError("give --gallery FOLDER or --tokens FILE: where are the tokens?")
    if where.tokens is None and not where.file.parent.is_dir():
        raise InputError(f"{where.gallery}: no gallery there: expected a gallery's folder, or --tokens FILE")
    return where.file


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="search", show_default=True, help="What its owner may do.")
@token_options
@options.json_output
@click.pass_context
def add(context: click.Context, name: str, role: str, gallery: str | None, tokens: Path | None, as_json: bool) -> None:
    """Make a token called NAME, and print it. It is shown only now: only a digest of it is stored.

    search: look for people, and at them. review: also correct who is who. admin: also enroll, group and delete.
    """
    from reid_toolkit.service.tokens import add_token

    made = add_token(file_of(context, gallery, tokens), name, role)
    if as_json:
        print_json({"name": name, "role": role, "token": made})
        return
    click.echo(made)
    log.print(f"the token {name!r} has the role {role}; keep it safe, it is not shown again", markup=False)


@token.command("list")
@token_options
@options.json_output
@click.pass_context
def show(context: click.Context, gallery: str | None, tokens: Path | None, as_json: bool) -> None:
    """List the tokens: name, role, and when each was made."""
    from reid_toolkit.service.tokens import read_tokens

    held = read_tokens(file_of(context, gallery, tokens))
    if as_json:
        print_json({"tokens": [{"name": one.name, "role": one.role, "made": one.made} for one in held]})
        return
    for one in held:
        click.echo(printable(f"{one.name}  {one.role}  {format_moment(one.made)}"))
    if not held:
        log.print("no tokens")


@token.command()
@click.argument("name")
@token_options
@click.pass_context
def revoke(context: click.Context, name: str, gallery: str | None, tokens: Path | None) -> None:
    """Delete the token called NAME. A running service refuses it from now on, and its sessions end."""
    from reid_toolkit.service.tokens import revoke_token

    gone = revoke_token(file_of(context, gallery, tokens), name)
    click.echo(f"the token {gone.name!r} ({gone.role}) is revoked")
