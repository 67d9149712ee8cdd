"""An onnxruntime session on a model's bytes, and which of the machine's processors it became."""

import contextlib
import ctypes
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from reid_toolkit.errors import InputError, ModelError, first_line

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Our short names for onnxruntime's execution providers, in the order they are tried when none is asked for."""


def open_session(
    content: bytes,
    where: str,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    strict: bool = False,
    weights: Path | None = None,
) -> onnxruntime.InferenceSession:
    """An onnxruntime session on a model's bytes. Files of weights that are named inside it are looked for in the folder
    ``weights``, and without one never opened.

    The arguments are those of :class:`Embedder`. Raises :class:`InputError` for a provider that is none,
    :class:`ModelError` when the model does not load or, with ``strict``, when the first provider asked for
    is not the one in use; otherwise that is a ``RuntimeWarning``.
    """
    options = onnxruntime.SessionOptions()
    # Its own stderr chatter; what matters comes back as an exception, and the provider in use is reported.
    onnxruntime.set_default_logger_severity(4)
    options.log_severity_level = 4
    # Threads that spin between runs take whole cores: 0.73 instead of 0.15 at 25 crops a second. Within a run they
    # make it quicker for little, but only where nobody else wants the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Weights in a second file would be taken from the working directory: look for them where no file can be.
    folder = os.devnull if weights is None else str(weights.resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if threads is not None:
        options.intra_op_num_threads = threads
    asked = full_names(providers, strict)
    usable = onnxruntime.get_available_providers()
    tried = [name for name in asked or PROVIDERS.values() if name in usable]
    if PROVIDERS["cuda"] in tried or PROVIDERS["tensorrt"] in tried:
        load_cuda_libraries()
    try:
        session = start(content, options, tried or [PROVIDERS["cpu"]], threads)
    except Exception as error:  # as in start
        if weights is None and "xternal data" in str(error):
            raise ModelError(
                f"{where}: its weights lie in a second file, which is not read here: expected them inside; "
                "onnx.save_model(onnx.load(OLD), NEW) of Python's onnx makes one file of both"
            ) from None
        raise ModelError(f"{where}: not a usable ONNX model: {first_line(error)}") from None
    # onnxruntime passes over a provider whose libraries or device are missing, and says nothing.
    became = session.get_providers()[0]
    if asked and became != asked[0]:
        message = (
            f"{where}: runs on {became}, not on {asked[0]} as asked: expected its device, its libraries and an "
            f"onnxruntime with it (this one has {', '.join(usable)})"
        )
        if strict:
            raise ModelError(f"{message}; without strict it would run there")
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return session


def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN out of NVIDIA's wheels, such as torch brings with it: they lie where no loader looks, and
    without them onnxruntime passes over the GPU. Nothing where there is no NVIDIA driver."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return
    # It prints what it does not find, which may be fine: the system's own CUDA is looked for later.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def start(
    content: bytes, options: onnxruntime.SessionOptions, providers: list[str], threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session. onnxruntime passes over a GPU that it cannot use, or raises: TensorRT's way where its libraries are
    missing, CUDA's where there is a driver and no device. Such a one is passed over here."""
    # OpenVINO has threads of its own, and does not look at the session's number.
    settings = [
        {"num_of_threads": str(threads)} if threads and name == PROVIDERS["openvino"] else {} for name in providers
    ]
    try:
        # Its fallback would print to stdout, where results go, and begin again on the CPU.
        return onnxruntime.InferenceSession(
            content, options, providers=providers, provider_options=settings, enable_fallback=0
        )
    except Exception:  # onnxruntime's exceptions have no common base of their own
        failed = next((PROVIDERS[name] for name in ("tensorrt", "cuda") if PROVIDERS[name] in providers), None)
        if failed is None:
            raise
    others = [name for name in providers if name != failed]
    return start(content, options, others or [PROVIDERS["cpu"]], threads)


def full_names(providers: Sequence[str] | None, strict: bool) -> list[str]:
    """onnxruntime's names of what was asked for; :class:`InputError` for one that no onnxruntime has."""
    if isinstance(providers, str):
        raise InputError(f"providers is the text {providers!r}: expected a list of names")
    if strict and not providers:
        raise InputError("strict without providers: expected the provider that must be used, e.g. cuda")
    asked = [PROVIDERS.get(name, name) for name in providers or ()]
    known = onnxruntime.get_all_providers()
    for name in asked:
        if name not in known:
            raise InputError(
                f"no execution provider {name!r}: expected {', '.join(PROVIDERS)}, or onnxruntime's name of another"
            )
    return asked


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
