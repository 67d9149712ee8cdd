"""An exported model in INT8: as many layers as keep the loss within a limit, and what that cost and won."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.export.activation_ranges import measure_ranges
from reid_toolkit.export.int8 import TARGETS, insert_int8, layers, target_here
from reid_toolkit.export.saving import save_model
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder

MAX_LOSS = 0.01
"""Of :func:`descriptor_loss`, or of mAP as a fraction."""

SENSITIVITY_CROPS = 16
"""Crops on which each layer is tried alone."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Quantised:
    """What INT8 cost and won. Times are of this machine, one thread, batches of 16, without decoding."""

    target: str
    float_bytes: int
    bytes: int
    cosine: float
    """Mean, of a held-out crop's descriptors before and after."""
    descriptor_loss: float
    loss: float
    """What was held against ``max_loss``: lost mAP where it was measured, else ``descriptor_loss``."""
    max_loss: float
    layers: int
    in_float: tuple[str, ...]
    """The layers, of those, that were kept in float."""
    float_seconds_per_crop: float
    seconds_per_crop: float


def quantize(
    model: Path,
    out: Path,
    calibration: list[Image],
    held_out: list[Image],
    *,
    target: str | None = None,
    max_loss: float = MAX_LOSS,
    mean_ap: Callable[[Embedder], float] | None = None,
    on_progress: Progress | None = None,
) -> Quantised:
    """Write ``out``, an INT8 form of a float ``model`` of ``reid export`` or ``reid adopt``.

    If INT8 throughout loses more than ``max_loss``, each layer is tried in INT8 alone; the layers that cost most are
    left in float, as few as will do, and at most half.

    Args:
        model: the float file.
        out: the file to write; it appears only when the loss is within the limit.
        calibration: crops that set the ranges, at least one.
        held_out: other crops, at least two, on which the loss is measured.
        target: one of ``int8.TARGETS``; None takes the one that fits this machine.
        max_loss: limit of the loss: of mAP lost (0.01 is one point) when ``mean_ap`` is given, else of
            :func:`descriptor_loss`.
        mean_ap: the mAP of an embedder, 0-1, where identities are known.
        on_progress: called with (layers tried, layers) while their sensitivity is measured.

    Raises:
        InputError: an unknown target, too few crops, a model that is in INT8 already, or ``out`` is that model.
        ModelError: the loss stays over the limit with half of the layers in float.
    """
    refuse_overwriting(model, out)
    target = checked_target(target)
    if not calibration or len(held_out) < 2:
        raise InputError(
            f"INT8 needs crops: expected at least 1 to calibrate on and 2 others to measure on, got "
            f"{len(calibration)} and {len(held_out)}"
        )
    before = open_float(model)
    reference = before.embed(held_out)
    metadata = replace(before.metadata, precision=f"int8 for {target}")
    float_ap = mean_ap(before) if mean_ap else 0.0
    ranged = measure_ranges(model, calibration)
    names = layers(ranged)

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"

        def build(in_float: list[str]) -> Embedder:
            save_model(insert_int8(ranged, target, in_float), metadata, trial)
            return open_on_one_thread(trial)

        def loss(in_float: list[str]) -> float:
            after = build(in_float)
            if mean_ap:
                return float_ap - mean_ap(after)
            return descriptor_loss(reference, after.embed(held_out))

        def harm(name: str) -> float:
            after = build([other for other in names if other != name])
            few = held_out[:SENSITIVITY_CROPS]
            return descriptor_loss(reference[: len(few)], after.embed(few))

        kept, lost = choose_layers(names, loss, harm, max_loss, on_progress)
        after = build(kept)
        rows = after.embed(held_out)
        float_seconds, seconds = seconds_per_crop([before, after], (held_out * 16)[:16])
        with atomic_path(out) as temporary:
            temporary.write_bytes(trial.read_bytes())
    return Quantised(
        target, model.stat().st_size, out.stat().st_size, mean_cosine(reference, rows),
        descriptor_loss(reference, rows), lost, max_loss, len(names), tuple(kept), float_seconds, seconds,
    )  # fmt: skip


def refuse_overwriting(model: Path, out: Path) -> None:
    """Raise :class:`InputError` if the new file would replace the model that it is made of."""
    if out.resolve() == model.resolve():
        raise InputError(f"--out {out}: is the model that is read: expected another name, so that it is kept")


def checked_target(target: str | None) -> str:
    """The target, or the one that fits this machine. Raises :class:`InputError` for one that is unknown."""
    target = target or target_here()
    if target not in TARGETS:
        raise InputError(f"no INT8 target {target!r}: expected one of {', '.join(TARGETS)}")
    return target


def open_float(model: Path) -> Embedder:
    """Open a model that is to be put into INT8. Raises :class:`InputError` if it is in INT8 already."""
    embedder = open_on_one_thread(model)
    if embedder.metadata.precision != "float32":
        raise InputError(f"{model}: is in {embedder.metadata.precision} already: expected a float file")
    return embedder


def open_on_one_thread(model: Path) -> Embedder:
    """Open a model with the settings under which its forms are compared and timed."""
    return Embedder(model, batch_size=16, threads=1, providers=["cpu"])


def choose_layers(
    names: list[str],
    loss: Callable[[list[str]], float],
    harm: Callable[[str], float],
    max_loss: float,
    on_progress: Progress | None = None,
) -> tuple[list[str], float]:
    """The fewest of the most harmful layers that, kept in float, bring the loss within ``max_loss``; and that loss.

    ``loss`` is of a model with the given layers in float, ``harm`` of one layer alone in INT8. The number is found by
    halving, so that 60 layers take 6 models. Raises :class:`ModelError` when half of the layers are not enough.
    """
    whole = loss([])
    if whole <= max_loss:
        if on_progress:
            on_progress(len(names), len(names))
        return [], whole
    harms = {}
    for done, name in enumerate(names, start=1):
        harms[name] = harm(name)
        if on_progress:
            on_progress(done, len(names))
    order = sorted(names, key=lambda name: -harms[name])
    few, enough = 0, len(names) // 2
    best = loss(order[:enough])
    if not best <= max_loss:
        raise ModelError(
            f"INT8 refused: the loss is {whole:.4f}, and still {best:.4f} with {enough} of {len(names)} layers in "
            f"float: expected at most {max_loss:g}; use the float model, other calibration crops, or raise --max-loss"
        )
    while enough - few > 1:
        middle = (few + enough) // 2
        found = loss(order[:middle])
        if found <= max_loss:
            enough, best = middle, found
        else:
            few = middle
    return order[:enough], best


def mean_cosine(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Between the two descriptors of one crop, over the rows of two (B, D) arrays of unit rows."""
    return float((before.astype(np.float64) * after).sum(axis=1).mean())


def descriptor_loss(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far descriptors moved, as a share of how far apart different crops' are: 0 nothing lost, 1 all.

    (1 - mean cosine of a crop's two descriptors) / (1 - mean cosine of two different crops): for unit vectors, the
    ratio of the mean squared distances. A bare cosine would flatter a model that gives all crops nearly the same.

    Args:
        before, after: (B, D) unit rows, B at least 2.

    Raises:
        InputError: fewer than two rows, or all the same.
    """
    count = len(before)
    total = before.astype(np.float64).sum(axis=0)
    apart = 1 - (total @ total - count) / (count * (count - 1)) if count > 1 else 0.0
    if apart < 1e-6:
        raise InputError(
            f"the loss cannot be told from {count} crops whose descriptors do not differ: expected a trained model "
            "and at least 2 different crops"
        )
    return float((1 - mean_cosine(before, after)) / apart)


def seconds_per_crop(embedders: Sequence[Embedder], crops: Sequence[Image], rounds: int = 5) -> list[float]:
    """The least time of each for the same crops, in turns, so that a busy machine slows all alike."""
    seconds = [[] for _ in embedders]  # type: list[list[float]]
    for _ in range(rounds):
        for embedder, times in zip(embedders, seconds, strict=True):
            began = time.perf_counter()
            embedder.embed(crops)
            times.append((time.perf_counter() - began) / len(crops))
    return [min(times) for times in seconds]
