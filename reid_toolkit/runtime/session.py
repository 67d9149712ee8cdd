"""Open a session for a model: in onnxruntime on the best processor of the machine, or in the package openvino."""

import contextlib
import ctypes
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import onnxruntime

from reid_toolkit.errors import InputError, ModelError, first_line

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Our short names for onnxruntime's execution providers, in the order in which they are preferred. OpenVINO runs in
onnxruntime if that includes it, else in the package openvino."""
DEFAULT = ("tensorrt", "cuda", "cpu")
"""What is tried if nothing is asked for. The package openvino takes part in a trial (``runtime.trial``)."""


class Session(Protocol):
    """What is used of an ``onnxruntime.InferenceSession``. ``OpenVinoSession`` has the same."""

    def run(self, output_names: Any, input_feed: Mapping[str, Any]) -> Sequence[Any]: ...
    def get_inputs(self) -> Sequence[Any]: ...
    def get_outputs(self) -> Sequence[Any]: ...
    def get_modelmeta(self) -> Any: ...
    def get_providers(self) -> Sequence[str]: ...


def open_session(
    content: bytes,
    where: str,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    strict: bool = False,
    weights: Path | None = None,
    streams: int = 1,
) -> Session:
    """A session for the bytes of a model.

    ``where`` names the model in messages. If the model keeps weights in other files, they are read from the folder
    ``weights``; if that is None, such files are never opened. ``streams``: how many calls come at once, which only the
    package openvino must know. The other arguments are those of :class:`Embedder`.

    Raises :class:`InputError` for an unknown provider, and :class:`ModelError` if the model cannot be loaded or, with
    ``strict``, if the first provider asked for is not in use. Without ``strict``, that is a ``RuntimeWarning``.
    """
    asked = full_names(providers, strict)
    usable = onnxruntime.get_available_providers()
    wanted = asked or [PROVIDERS[name] for name in DEFAULT]
    package = PROVIDERS["openvino"] in wanted and PROVIDERS["openvino"] not in usable and has_package()
    if package:  # what is preferred to it is tried first
        wanted = wanted[: wanted.index(PROVIDERS["openvino"])]
    tried = [name for name in wanted if name in usable]
    if PROVIDERS["cuda"] in tried or PROVIDERS["tensorrt"] in tried:
        load_cuda_libraries()
    options = session_options(threads, weights)
    session: Session
    try:
        session = start(content, options, tried or [PROVIDERS["cpu"]], threads)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        if weights is None and "xternal data" in str(error):
            raise ModelError(
                f"{where}: its weights are in a second file, which is not read: expected the weights inside the file: "
                "onnx.save_model(onnx.load(OLD), NEW) of the Python package onnx makes one file of both"
            ) from None
        raise ModelError(f"{where}: not a usable ONNX model: {first_line(error)}") from None
    reason = (
        f"it needs its device, its libraries and an onnxruntime that includes it (this one has {', '.join(usable)})"
    )
    # onnxruntime skips a provider without a message if its libraries or its device are missing.
    if package and session.get_providers()[0] not in tried:
        from reid_toolkit.runtime.openvino import OpenVinoSession

        try:
            session = OpenVinoSession(content, session, threads or usable_cores(), streams)
        except Exception as error:  # openvino's exceptions have no common base class
            reason = f"the package openvino failed ({first_line(error)})"
    became = session.get_providers()[0]
    if asked and became != asked[0]:
        message = f"{where}: runs on {became}, not on {asked[0]} as asked: {reason}"
        if strict:
            raise ModelError(f"{message}: install what is missing, or leave out strict to run on {became}")
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return session


def session_options(threads: int | None, weights: Path | None) -> onnxruntime.SessionOptions:
    """onnxruntime's settings for :func:`open_session`."""
    options = onnxruntime.SessionOptions()
    # Silence onnxruntime's own messages on stderr. Errors come as exceptions, and the provider in use is reported.
    onnxruntime.set_default_logger_severity(4)
    options.log_severity_level = 4
    # Threads that spin between runs waste CPU: 0.73 cores instead of 0.15 at 25 crops a second. Within a run, spinning
    # makes it quicker at little cost, but only if no other process needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # onnxruntime would look for weights in the working directory. Point it to a place that cannot hold files.
    folder = os.devnull if weights is None else str(weights.resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def has_package() -> bool:
    """Whether the package openvino is installed. It is not imported, because that takes a fifth of a second."""
    return find_spec("openvino") is not None


def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's wheels, which torch installs. The system's loader does not find them there, and
    without them onnxruntime does not use the GPU. Does nothing if there is no NVIDIA driver."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return
    # It prints libraries that it does not find. They may still be found later, in the system's own CUDA.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def start(
    content: bytes, options: onnxruntime.SessionOptions, providers: list[str], threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session on the first of ``providers`` that works.

    onnxruntime mostly skips a GPU that it cannot use, but sometimes raises: TensorRT if its libraries are missing, CUDA
    if there is a driver but no device. Such a provider is skipped here.
    """
    # OpenVINO has its own threads, and ignores the session's number of threads.
    settings = [
        {"num_of_threads": str(threads)} if threads and name == PROVIDERS["openvino"] else {} for name in providers
    ]
    try:
        # No fallback, because onnxruntime's prints to stdout, which carries results, and starts again on the CPU.
        return onnxruntime.InferenceSession(
            content, options, providers=providers, provider_options=settings, enable_fallback=0
        )
    except Exception:  # onnxruntime's exceptions have no common base class
        failed = next((PROVIDERS[name] for name in ("tensorrt", "cuda") if PROVIDERS[name] in providers), None)
        if failed is None:
            raise
    others = [name for name in providers if name != failed]
    return start(content, options, others or [PROVIDERS["cpu"]], threads)


def full_names(providers: Sequence[str] | None, strict: bool) -> list[str]:
    """onnxruntime's names of these providers. Raises :class:`InputError` for a name that no onnxruntime knows."""
    if isinstance(providers, str):
        raise InputError(f"providers is the string {providers!r}: expected a list of names")
    if strict and not providers:
        raise InputError("strict without providers: expected the provider that must be used, e.g. cuda")
    asked = [PROVIDERS.get(name, name) for name in providers or ()]
    known = onnxruntime.get_all_providers()
    for name in asked:
        if name not in known:
            raise InputError(
                f"no execution provider {name!r}: expected {', '.join(PROVIDERS)}, or onnxruntime's name of another one"
            )
    return asked


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
