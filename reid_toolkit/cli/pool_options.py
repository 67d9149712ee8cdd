"""The options that say where work is done: in this process, in several, or on a Ray cluster."""

from typing import TYPE_CHECKING

import click

from reid_toolkit.cli.options import Number, together

if TYPE_CHECKING:
    from reid_toolkit.parallel.pool import Pool

pool = together(
    (
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Processes on this machine; with --ray, at most so many workers. [default: 1; with --ray, "
            "as many as there is room for]",
        ),
        click.option(
            "--ray",
            metavar="ADDRESS",
            help="Do the work on this Ray cluster, such as 10.0.0.5:6379; local starts one on this machine.",
        ),
        click.option(
            "--worker-cpus",
            type=Number(0, min_open=True),
            metavar="N",
            help="With --ray: cores that each worker has. [default: 1]",
        ),
        click.option(
            "--worker-gpus",
            type=Number(0),
            metavar="N",
            help="With --ray: GPUs that each worker has; 0.5 puts two workers on one. [default: 0]",
        ),
    )
)


def pool_of(workers: int | None, ray: str | None, cpus: float | None, gpus: float | None) -> "Pool | None":
    """Return the pool that the options name. None for this process alone."""
    if ray is None:
        if cpus is not None or gpus is not None:
            raise click.UsageError("--worker-cpus and --worker-gpus work only with --ray: give --ray too")
        if workers in (None, 1):
            return None
        from reid_toolkit.parallel.processes import Processes
        from reid_toolkit.runtime.session import usable_cores

        assert workers is not None
        return Processes(workers, usable_cores())
    from reid_toolkit.parallel.ray_pool import RayPool

    return RayPool(ray, cpus or 1.0, gpus or 0.0, workers)
