"""The edge's one class: pictures of people in, descriptors out."""

import hashlib
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
        self.metadata = ModelMetadata.from_strings(dict(self._session.get_modelmeta().custom_metadata_map), str(path))
        self.provider: str = self._session.get_providers()[0]
        """The execution provider in use, e.g. "CPUExecutionProvider"."""
        self._input = self._session.get_inputs()[0]
        expected = [self.metadata.height, self.metadata.width, 3]
        if self._input.type != "tensor(uint8)" or list(self._input.shape[1:]) != expected:
            raise ModelError(
                f"{path}: metadata and graph disagree: expected a uint8 input (B, {expected}), "
                f"got {self._input.type} {self._input.shape}"
            )

    @property
    def dimension(self) -> int:
        """Width D of a descriptor."""
        return self.metadata.dimension

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> Descriptors:
        """Descriptors of B images: a list of (H, W, 3) uint8 BGR arrays of any sizes -> (B, D) float32.

        Each row has length 1. Grey and BGRA images are converted; an empty list gives a (0, D) array.

        Raises:
            InputError: an image is not uint8 or not of such a shape; its position is named.
            ModelError: the network gave a number that is not finite.
        """
        rows = [
            self._run(to_batch(images[first : first + self.batch_size], *self._size))
            for first in range(0, len(images), self.batch_size)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self.dimension), np.float32)

    def embed_tracklet(self, images: Sequence[NDArray[np.uint8]]) -> Descriptors:
        """One descriptor of a tracklet's frames: their descriptors' mean, normalised -> (D,) float32.

        Raises :class:`InputError` for an empty list, and as :meth:`embed` does.
        """
        if not images:
            raise InputError("a tracklet without images: expected at least one frame")
        return average(self.embed(images))

    @property
    def _size(self) -> tuple[int, int]:
        return self.metadata.height, self.metadata.width

    def _run(self, batch: NDArray[np.uint8]) -> Descriptors:
        (rows,) = self._session.run(None, {self._input.name: batch})
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
    """An onnxruntime session on a model's bytes, so that no external file named inside it is ever opened."""
    options = onnxruntime.SessionOptions()
    # Its own stderr chatter; what matters comes back as an exception, and the provider in use is reported.
    onnxruntime.set_default_logger_severity(4)
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # 0.73 -> 0.15 cores at 25 fps
    if threads is not None:
        options.intra_op_num_threads = threads
    if providers is None:
        usable = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in usable]
    try:
        return onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{where}: not a usable ONNX model: {reason}") from None
