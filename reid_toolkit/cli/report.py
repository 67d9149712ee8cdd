"""``reid report``: draw a training run as one HTML page."""

from pathlib import Path

import click

from reid_toolkit.cli.console import log, print_json, printable, progress_bar, rich_escape, warn_bad
from reid_toolkit.cli.options import FILE, FOLDER, json_output, skip_bad
from reid_toolkit.cli.paths import PAGE


@click.command()
@click.argument("run", type=FOLDER)
@click.option(
    "--dataset", type=FOLDER, help="The dataset that the run learned from: adds pictures of clusters and a t-SNE plot."
)
@click.option(
    "--identities",
    type=FILE,
    help="CSV with columns tracklet,identity; needs --dataset. [default: the identities of the dataset]",
)
@click.option("--out", type=PAGE, help="The HTML page to write.  [default: report.html in RUN]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@skip_bad
@json_output
def command(
    run: Path,
    dataset: Path | None,
    identities: Path | None,
    out: Path | None,
    device: str,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Draw RUN, finished or not, as one HTML page: curves, clusters, and the stage that each selection rule would keep.

    If identities are known, each stage is measured with them, and the figures are kept in RUN/evaluation.jsonl.
    Training never reads that file.
    """
    if identities and not dataset:
        raise click.UsageError("--identities names the people of a dataset: give --dataset too")
    if skip_bad and not dataset:
        raise click.UsageError("--skip-bad leaves out crops of a dataset: give --dataset too")
    from reid_toolkit.errors import InputError
    from reid_toolkit.reporting.page import read_story, write_page
    from reid_toolkit.reporting.stage_evaluation import evaluate_stages
    from reid_toolkit.reporting.study import open_study
    from reid_toolkit.training.devices import choose_device

    chosen, path = choose_device(device), out or run / "report.html"
    bad: list[str] | None = [] if skip_bad else None
    study = open_study(run, dataset, identities, bad) if dataset else None
    warn_bad(bad)
    PAGE.refuse(path)
    left_out = []
    if study and (identities or study.people):
        try:
            with progress_bar("measure against identities", "stages") as on_progress:
                evaluate_stages(study, chosen, on_progress)
        except InputError as error:  # for example, the dataset has only one camera
            if identities:
                raise
            left_out.append(f"Figures from the dataset's identities are left out: {error}")
    story = read_story(run)
    omitted = write_page(path, story, study, chosen, left_out)
    for reason in omitted:
        log.print(f"[yellow]note:[/] {rich_escape(printable(reason))}", soft_wrap=True)
    if as_json:
        about = {"report": str(path), "kept": story.kept, "untrained": story.untrained}
        print_json({**about, "stages": story.rows, "left_out": omitted})
        return
    log.print(f"report: {path}", markup=False, soft_wrap=True)
