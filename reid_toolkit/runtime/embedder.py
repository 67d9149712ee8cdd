"""The class that turns pictures of people into descriptors."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, ModelError, first_line
from reid_toolkit.runtime.metadata import ModelMetadata
from reid_toolkit.runtime.openvino import OpenVinoSession
from reid_toolkit.runtime.preprocess import to_batch, to_bgr
from reid_toolkit.runtime.session import PROVIDERS, Session, full_names, has_package, open_session, usable_cores
from reid_toolkit.runtime.tracklets import average, quality
from reid_toolkit.runtime.trial import Choice, chosen, compare

UNIT_TOLERANCE = 1e-3
"""How far a descriptor's length may be from 1, as in a gallery."""

NAMED = "REID_PROVIDER"
"""The environment variable with the provider, or several with commas, for embedders that were given none."""
CALLS = 4
"""Calls that OpenVINO computes at once if an embedder has one thread. onnxruntime has no limit."""

Descriptors = NDArray[np.float32]


class Embedder:
    """Turns crops into descriptors with an ONNX model of ``reid export`` or ``reid adopt``. Threads may share it.

    Args:
        path: the model file.
        batch_size: how many crops go through the network at once. Longer lists are split, which limits memory.
        threads: CPU threads that share the work. None for the number of cores that this process may use. Give a number
            only if so many cores are free: the threads for a single crop wait for each other without sleeping.
        providers: which of "tensorrt", "cuda", "openvino" and "cpu" to use, in order of preference. onnxruntime's own
            names work too. ``provider`` says which is in use, and a ``RuntimeWarning`` is given if it is not the first
            in this list. None for those that the environment variable REID_PROVIDER names, else for TensorRT, CUDA or
            the CPU, the first that works.
        strict: raise an error instead of this warning.
        trial: on the CPU, if no provider is named: use OpenVINO instead of onnxruntime if it is installed and was
            faster in a short measurement, which is remembered (``runtime.trial``). False is better for a few crops,
            because OpenVINO takes longer to load.

    Raises:
        InputError: ``batch_size`` or ``threads`` is under 1, a provider is unknown, or ``strict`` without
            ``providers``.
        ModelError: the file is missing, damaged, or not made by ``reid export`` or ``reid adopt``; or with ``strict``,
            the first provider cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = 32,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        strict: bool = False,
        trial: bool = True,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}: expected at least 1")
        self.path = Path(path)
        self.batch_size = batch_size
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot read the model: {error.strerror}") from None
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]
        """16 hexadecimal digits of the file's SHA-256. A gallery stores it, because descriptors of different models
        cannot be compared."""
        self._where = str(path)
        self._threads = threads
        self._cores = threads or usable_cores()
        named = providers or (None if strict else named_providers())
        self._session = open_session(content, self._where, threads, named, strict, streams=self._calls)
        self._single: Session | None = None
        if self._cores > 1:
            self._pool = ThreadPoolExecutor(self._cores, "embedder")
            # For several crops, each core runs its own crops with one thread, because the threads of a shared run must
            # wait for each other after each layer. All cores share a run only for a single crop.
            if isinstance(self._session, OpenVinoSession):
                self._single = OpenVinoSession(content, self._session, 1, self._cores)
            elif self.provider == PROVIDERS["cpu"]:
                self._single = open_session(content, self._where, 1, ["cpu"])
        try:
            strings = dict(self._session.get_modelmeta().custom_metadata_map)
            if "format" not in strings:
                raise ModelError(
                    f"{path}: not a model of `reid export`: it takes {ends(self._session.get_inputs())} and gives "
                    f"{ends(self._session.get_outputs())}: expected uint8 pictures (B, H, W, 3), descriptors (B, D), "
                    f"and metadata of reid: convert it with `reid adopt {path} --out NEW.onnx`"
                )
            self.metadata = ModelMetadata.from_strings(strings, str(path))
            self._check_graph()
        except UnicodeDecodeError:  # damaged names in the file
            raise ModelError(f"{path}: damaged metadata: it is not text: export the run again") from None
        self.choice: Choice | None = None
        """What a trial chose, and why. None if there was none."""
        if trial and not named and self.provider == PROVIDERS["cpu"] and has_package():
            self.choice = self._choose(content)

    @property
    def provider(self) -> str:
        """The execution provider in use for several crops, such as "CPUExecutionProvider"."""
        return (self._single or self._session).get_providers()[0]

    @property
    def provider_alone(self) -> str:
        """The execution provider for a crop that comes alone. It differs from ``provider`` only if a trial chose so."""
        return self._session.get_providers()[0]

    @property
    def dimension(self) -> int:
        """D, the width of a descriptor."""
        return self.metadata.dimension

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> Descriptors:
        """The descriptors (B, D) float32 of B images.

        ``images`` is a list of (H, W, 3) uint8 BGR arrays of any sizes. Grey and BGRA images are converted. Each row of
        the result has length 1. An empty list gives a (0, D) array.

        Raises:
            InputError: an image is not uint8 or has a wrong shape. The message names its position.
            ModelError: the network failed, or gave numbers that are not finite.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise InputError(f"expected a list of images, got one array of shape {images.shape}: put it in a list")
        rows = [
            share
            for first in range(0, len(images), self.batch_size)
            for share in self._embed_batch(images[first : first + self.batch_size], first)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self.dimension), np.float32)

    def _embed_batch(self, images: Sequence[NDArray[np.uint8]], first: int) -> Iterator[Descriptors]:
        """The descriptors of a batch, part by part, in order. ``first`` is the batch's position in the caller's
        list."""
        shares = min(self._cores, len(images))
        several = self._single
        ends = [len(images) * share // shares for share in range(shares + 1)]

        def prepare(start: int, end: int) -> NDArray[np.uint8]:
            return to_batch(images[start:end], *self._size, first + start)

        def run(start: int, end: int) -> Descriptors:
            assert several is not None
            return self._run(several, prepare(start, end))

        if shares == 1:
            return iter([self._run(self._session, prepare(0, len(images)))])
        if several:
            return self._pool.map(run, ends, ends[1:])
        # A GPU takes the whole batch. All cores resize for it, because it computes faster than one core resizes.
        return iter([self._run(self._session, np.concatenate([*self._pool.map(prepare, ends, ends[1:])]))])

    def embed_tracklet(self, images: Sequence[NDArray[np.uint8]], *, by_quality: bool = False) -> Descriptors:
        """The descriptor (D,) float32 of a tracklet: the normalised mean of its frames' descriptors.

        With ``by_quality``, sharp and large frames weigh more: see :meth:`quality`. If frames come one by one, use
        :class:`TrackletAverage`.

        Raises :class:`InputError` for an empty list, and as :meth:`embed` does.
        """
        if not len(images):
            raise InputError("a tracklet without images: expected at least one frame")
        rows = self.embed(images)
        return average(rows, [self.quality(image) for image in images] if by_quality else None)

    def quality(self, image: NDArray[np.uint8]) -> float:
        """The weight of a frame in its tracklet, above 0: sharpness times area, see :func:`tracklets.quality`."""
        return quality(to_bgr(image, 0), *self._size)

    @property
    def _size(self) -> tuple[int, int]:
        return self.metadata.height, self.metadata.width

    def _check_graph(self) -> None:
        """Raise :class:`ModelError` unless the graph's inputs and outputs are as the metadata says."""
        ends = [(*self._session.get_inputs(),), (*self._session.get_outputs(),)]
        expected = [[("tensor(uint8)", [*self._size, 3])], [("tensor(float)", [self.dimension])]]
        got = [[(end.type, list(end.shape[1:])) for end in side] for side in ends]
        if got != expected:
            raise ModelError(
                f"{self.path}: metadata and graph disagree: expected the inputs {expected[0]} and outputs "
                f"{expected[1]} after the batch axis, got {got[0]} and {got[1]}; export the run again"
            )

    def _choose(self, content: bytes) -> Choice:
        """Take OpenVINO for several crops, for a crop alone, or for both, as a trial chose now or earlier."""
        alone, several = self._session, self._single or self._session
        opened: dict[str, OpenVinoSession] = {}

        def openvino(case: str) -> OpenVinoSession:
            if case not in opened:
                threads, streams = (1, self._cores) if case == "several" else (self._cores, self._calls)
                opened[case] = OpenVinoSession(content, alone, threads, streams)
            return opened[case]

        def plain(batch: NDArray[np.uint8]) -> Descriptors:
            return self._shared(several, batch) if len(batch) > 1 and self._single else self._run(alone, batch)

        def other(batch: NDArray[np.uint8]) -> Descriptors:
            if len(batch) > 1 and self._single:
                return self._shared(openvino("several"), batch)
            return self._run(openvino("alone"), batch)

        def measure() -> Choice:
            return compare(plain, other, self.batch_size, self._size, self._cores)

        choice = chosen(self.fingerprint, self._threads, self.batch_size, measure)
        try:
            if self._single and choice.several == "openvino":
                self._single = openvino("several")
            if choice.alone == "openvino":
                self._session = openvino("alone")
        except Exception as error:  # openvino's exceptions have no common base class
            self._session, self._single = alone, several if self._single else None
            return replace(choice, several="cpu", alone="cpu", why=f"OpenVINO failed: {first_line(error)}")
        return choice

    def _shared(self, session: Session, batch: NDArray[np.uint8]) -> Descriptors:
        """The descriptors of a batch. Each core runs its own crops."""
        shares = np.array_split(batch, min(self._cores, len(batch)))
        return np.concatenate([*self._pool.map(lambda share: self._run(session, share), shares)])

    @property
    def _calls(self) -> int:
        """How many calls OpenVINO computes at once in the session for a single crop."""
        return min(CALLS, usable_cores()) if self._cores == 1 else 1

    def _run(self, session: Session, batch: NDArray[np.uint8]) -> Descriptors:
        try:
            rows = session.run(None, {session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # as in open_session
            raise ModelError(f"{self.path}: the network failed on {len(batch)} images: {first_line(error)}") from None
        if rows.shape != (len(batch), self.dimension) or not np.isfinite(rows).all():
            raise ModelError(
                f"{self.path}: the network is damaged: expected {len(batch)} finite descriptors of "
                f"{self.dimension}, got shape {rows.shape} or numbers that are not finite"
            )
        lengths = np.linalg.norm(rows, axis=1)
        if np.abs(lengths - 1).max() > UNIT_TOLERANCE:
            raise ModelError(
                f"{self.path}: the network is damaged: expected descriptors of length 1, got lengths from "
                f"{lengths.min():.4g} to {lengths.max():.4g}; export the run again"
            )
        return rows


def ends(nodes: Sequence[Any]) -> str:
    """A graph's inputs or outputs as text: names, types and shapes."""
    kinds = (node.type.removeprefix("tensor(").removesuffix(")") for node in nodes)
    return ", ".join(f"{node.name} {kind} {tuple(node.shape)}" for node, kind in zip(nodes, kinds, strict=True))


def named_providers() -> list[str] | None:
    """The providers that the environment variable names. None if it is not set. Raises :class:`InputError` for an
    unknown one."""
    named = [name.strip() for name in os.environ.get(NAMED, "").split(",") if name.strip()]
    try:
        full_names(named, strict=False)
    except InputError as error:
        raise InputError(f"{NAMED}: {error}") from None
    return named or None
