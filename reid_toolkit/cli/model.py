"""``reid model``: show what a model file says about itself."""

from pathlib import Path

import click
import rich_click

from reid_toolkit.cli.console import log, print_json, printable
from reid_toolkit.cli.options import MODEL, json_output

CROPS, ROUNDS = 32, 3


@click.group(cls=rich_click.RichGroup)
def command() -> None:
    """Show what a model file says about itself."""


@command.command()
@click.argument("file", type=MODEL)
@json_output
def card(file: Path, as_json: bool) -> None:
    """Show the origin, input, output and size of FILE, and measure its speed on this machine.

    FILE may also be a name from `reid models`.
    """
    import time

    from reid_toolkit.demo.crops import draw_crops
    from reid_toolkit.runtime import Embedder

    embedder = Embedder(file)
    about, crops = embedder.metadata, draw_crops(CROPS)
    embedder.embed(crops)
    times = []
    for _ in range(ROUNDS):
        clock = time.perf_counter()
        embedder.embed(crops)
        times.append(time.perf_counter() - clock)
    adopted = bool(about.source)
    facts: dict[str, object] = {
        "file": str(file),
        "made_from": about.source if adopted else f"a run of reid train ({about.stage})",
        "sha256": about.source_sha256 or None,
        "license": (about.licence or "not given") if adopted else "that of its training data and weights",
        "backbone": about.backbone,
        "input": f"{about.height} x {about.width}, {about.layout}, {about.channels}",
        "preset": about.preset or None,
        "preparation": about.normalisation,
        "dimension": about.dimension,
        "precision": about.precision,
        "fingerprint": embedder.fingerprint,
        "bytes": file.stat().st_size,
        "crops_per_second": round(CROPS / min(times), 1),
        "provider": embedder.provider,
        "provider_chosen": embedder.choice.why if embedder.choice else None,
        "toolkit": about.toolkit,
    }
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    lines = [
        f"{name.replace('_', ' '):{width}}  {printable(str(value))}"
        for name, value in facts.items()
        if value is not None
    ]
    log.print("\n".join(lines), markup=False, soft_wrap=True)
