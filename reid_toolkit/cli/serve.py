"""``reid serve``: a gallery as a REST service with a page."""

from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import log
from reid_toolkit.errors import InputError

TOKENS = "tokens.json"


@click.command()
@options.gallery_option
@click.option("--model", type=options.MODEL, help="The ONNX model. [default: the model the gallery was enrolled with]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port to listen on.")
def command(gallery: str, model: Path | None, host: str, port: int) -> None:
    """Serve a gallery: REST under /api/v1, and a page."""
    from reid_toolkit.service.app import build_app
    from reid_toolkit.service.server import bind, serve
    from reid_toolkit.service.settings import Settings

    tokens = None if "://" in gallery else Path(gallery) / TOKENS
    settings = Settings(gallery=gallery, model=model, tokens=tokens, host=host, port=port)
    app = build_app(settings)
    if not settings.loopback and not app.state.door.tokens.refresh():
        raise InputError(f"--host {host}: other machines could use the service without a token: make a token first")
    listener = bind(host, port)
    log.print(f"http://{host}:{listener.getsockname()[1]}/", markup=False)
    serve(app, settings, listener)
