"""The edge's one class: pictures of people in, descriptors out."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.runtime.metadata import ModelMetadata
from reid_toolkit.runtime.preprocess import to_batch

Descriptors = NDArray[np.float32]


class Embedder:
    """Turns crops into descriptors with an ONNX model of ``reid export``. Safe to share between threads.

    Args:
        path: the model file.
        batch_size: crops in one run of the network; longer lists are cut, which bounds memory.
        threads: CPU threads of one run; None leaves it to onnxruntime.
        providers: onnxruntime execution providers in order of preference; None takes CUDA where onnxruntime
            can use it, else the CPU. Which one it became is in ``provider``.

    Raises:
        InputError: ``batch_size`` is under 1, or a provider is not one that onnxruntime has.
        ModelError: the file is missing, damaged, or not written by ``reid export``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = 32,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: expected at least 1")
        self.path = Path(path)
        self.batch_size = batch_size
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot read the model: {error.strerror}") from None
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]
        """16 hex digits of the file's SHA-256; a gallery keeps it, since models' descriptors do not compare."""
        self._session = open_session(content, str(path), threads, providers)
        self.provider: str = self._session.get_providers()[0]
        """The execution provider in use, e.g. "CPUExecutionProvider"."""
        try:
            strings = dict(self._session.get_modelmeta().custom_metadata_map)
            self.metadata = ModelMetadata.from_strings(strings, str(path))
            self._check_graph()
        except UnicodeDecodeError:  # names in a damaged file
            raise ModelError(f"{path}: damaged metadata: not text; export the run again") from None

    @property
    def dimension(self) -> int:
        """Width D of a descriptor."""
        return self.metadata.dimension

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> Descriptors:
        """Descriptors of B images: a list of (H, W, 3) uint8 BGR arrays of any sizes -> (B, D) float32.

        Each row has length 1. Grey and BGRA images are converted; an empty list gives a (0, D) array.

        Raises:
            InputError: an image is not uint8 or not of such a shape; its position is named.
            ModelError: the network failed, or gave a number that is not finite.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise InputError(f"expected a list of images, got one array of shape {images.shape}: put it in a list")
        rows = [
            self._run(to_batch(images[first : first + self.batch_size], *self._size, first))
            for first in range(0, len(images), self.batch_size)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self.dimension), np.float32)

    def embed_tracklet(self, images: Sequence[NDArray[np.uint8]]) -> Descriptors:
        """One descriptor of a tracklet's frames: their descriptors' mean, normalised -> (D,) float32.

        Raises :class:`InputError` for an empty list, and as :meth:`embed` does.
        """
        if not len(images):
            raise InputError("a tracklet without images: expected at least one frame")
        return average(self.embed(images))

    @property
    def _size(self) -> tuple[int, int]:
        return self.metadata.height, self.metadata.width

    def _check_graph(self) -> None:
        """Raise :class:`ModelError` unless the graph takes and gives what the metadata says."""
        ends = [(*self._session.get_inputs(),), (*self._session.get_outputs(),)]
        expected = [[("tensor(uint8)", [*self._size, 3])], [("tensor(float)", [self.dimension])]]
        got = [[(end.type, list(end.shape[1:])) for end in side] for side in ends]
        if got != expected:
            raise ModelError(
                f"{self.path}: metadata and graph disagree: expected the inputs {expected[0]} and outputs "
                f"{expected[1]} after the batch axis, got {got[0]} and {got[1]}; export the run again"
            )

    def _run(self, batch: NDArray[np.uint8]) -> Descriptors:
        try:
            rows = self._session.run(None, {self._session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # as in open_session
            raise ModelError(f"{self.path}: the network failed on {len(batch)} images: {first_line(error)}") from None
        if rows.shape != (len(batch), self.dimension) or not np.isfinite(rows).all():
            raise ModelError(
                f"{self.path}: the network is damaged: expected {len(batch)} finite descriptors of "
                f"{self.dimension}, got shape {rows.shape} or numbers that are not finite"
            )
        return rows


def average(descriptors: Descriptors) -> Descriptors:
    """The normalised mean of (B, D) descriptors -> (D,) float32."""
    mean = descriptors.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise InputError("the tracklet's descriptors cancel out: they have no mean direction")
    return (mean / length).astype(np.float32)


def open_session(
    content: bytes, where: str, threads: int | None, providers: Sequence[str] | None
) -> onnxruntime.InferenceSession:
    """An onnxruntime session on a model's bytes; no other file that is named inside it is ever opened.

    Raises :class:`InputError` for a provider that this onnxruntime does not have, :class:`ModelError` when the
    model does not load.
    """
    options = onnxruntime.SessionOptions()
    # Its own stderr chatter; what matters comes back as an exception, and the provider in use is reported.
    onnxruntime.set_default_logger_severity(4)
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # 0.73 -> 0.15 cores at 25 fps
    # Weights in a second file would be taken from the working directory: look for them where no file can be.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if threads is not None:
        options.intra_op_num_threads = threads
    usable = onnxruntime.get_available_providers()
    if providers is None:
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in usable]
    unknown = [p for p in providers if p not in usable]
    if unknown:
        raise InputError(f"no execution provider {unknown[0]!r}: expected of {', '.join(usable)}")
    try:
        # Its fallback would print to stdout, where results go, and begin again on the CPU.
        return onnxruntime.InferenceSession(content, options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise ModelError(f"{where}: not a usable ONNX model: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
