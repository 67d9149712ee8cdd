"""What a process of its own looks at. Each probe imports what it looks at, and returns what it found as JSON."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

VIDEO_CODECS = {
    "h264": ("h264",), "hevc": ("hevc",), "av1": ("libdav1d", "libaom-av1", "av1"), "vp9": ("vp9", "libvpx-vp9"),
    "mpeg4": ("mpeg4",), "mjpeg": ("mjpeg",),
}  # fmt: skip
"""What cameras and recorders write -> the names of FFmpeg's decoders for it."""
PICTURES = (".jpg", ".png", ".webp", ".bmp", ".tiff")


def onnxruntime() -> dict[str, Any]:
    """The version of onnxruntime and its execution providers, and why its CUDA cannot be used."""
    import ctypes

    import onnxruntime as engine

    from reid_toolkit.runtime.session import PROVIDERS, load_cuda_libraries

    usable = engine.get_available_providers()
    found: dict[str, Any] = {"version": engine.__version__, "providers": usable, "cuda": None}
    if PROVIDERS["cuda"] in usable and sys.platform == "linux":
        library = Path(engine.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return found
        load_cuda_libraries()
        try:
            # It takes symbols from the library that onnxruntime loads first.
            ctypes.CDLL(str(library.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(library))
            found["cuda"] = "works"
        except OSError as error:
            found["cuda"] = str(error)
    return found


def opencv() -> dict[str, Any]:
    """The version of OpenCV, and the kinds of pictures that it writes and reads again."""
    import cv2
    import numpy as np

    grey = np.full((16, 8, 3), 128, np.uint8)
    kinds = []
    for kind in PICTURES:
        try:
            done, content = cv2.imencode(kind, grey)
            if done and cv2.imdecode(content, cv2.IMREAD_COLOR) is not None:
                kinds.append(kind)
        except cv2.error:  # this build has no encoder for it
            continue
    return {"version": cv2.__version__, "pictures": kinds}


def hnswlib() -> dict[str, Any]:
    """Whether hnswlib can build an index and search it. It is compiled for one processor, and crashes on an older."""
    import hnswlib as graphs
    import numpy as np

    rows = np.eye(32, dtype=np.float32)
    index = graphs.Index(space="ip", dim=32)
    index.init_index(max_elements=32)
    index.add_items(rows, np.arange(32), num_threads=1)
    nearest, _ = index.knn_query(rows[7], k=1, num_threads=1)
    if nearest[0][0] != 7:
        raise RuntimeError("hnswlib gives a wrong answer")
    return {"works": True}


def video() -> dict[str, Any]:
    """The codecs that PyAV can open, and whether it knows RTSP."""
    import av
    from av.codec import CodecContext

    found = {}
    for name, decoders in VIDEO_CODECS.items():
        for decoder in decoders:
            try:
                CodecContext.create(decoder, "r").open()
            except Exception:  # PyAV raises many kinds for a codec that is not there
                continue
            found[name] = decoder
            break
    return {"version": av.__version__, "codecs": found, "rtsp": "rtsp" in av.formats_available}


def model(path: str) -> dict[str, Any]:
    """What the model file says of itself, after it has embedded drawn crops here."""
    from reid_toolkit.demo.crops import draw_crops
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.runtime.embedder import named_providers
    from reid_toolkit.runtime.session import has_package
    from reid_toolkit.runtime.trial import remembered

    embedder = Embedder(path, trial=False)
    embedder.embed(draw_crops(2))
    choices = [
        {"threads": facts["threads"], "batch_size": facts["batch_size"], **asdict(choice)}
        for facts, choice in remembered(embedder.fingerprint)
    ]
    return {
        "fingerprint": embedder.fingerprint, "dimension": embedder.dimension, "provider": embedder.provider,
        "backbone": embedder.metadata.backbone, "precision": embedder.metadata.precision,
        "named": named_providers(), "openvino": has_package(), "choices": choices,
    }  # fmt: skip


def gallery(where: str) -> dict[str, Any]:
    """What a gallery holds. A gallery of an older toolkit is not opened, because that would upgrade it."""
    from reid_toolkit.gallery import open_gallery

    if "://" not in where:
        from reid_toolkit.gallery.local.database import NAME
        from reid_toolkit.gallery.local.schema import STEPS

        file = Path(where) / NAME
        with open(file, "rb") if file.is_file() else open(os.devnull, "rb") as held:
            head = held.read(100)
        version = int.from_bytes(head[60:64], "big")  # SQLite's user_version
        if head.startswith(b"SQLite format 3") and 0 < version < len(STEPS):
            return {"older": True, "version": version, "expected": len(STEPS), "writable": os.access(file, os.W_OK)}
    with open_gallery(where, create=False) as store:
        held_there = store.info()
    writable = "://" in where or (os.access(where, os.W_OK) and os.access(Path(where) / NAME, os.W_OK))
    return {
        "records": held_there.count, "dimension": held_there.dimension, "model": held_there.model,
        "model_file": held_there.model_file, "last": held_there.last, "writable": writable,
    }  # fmt: skip


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "onnxruntime": onnxruntime, "opencv": opencv, "hnswlib": hnswlib, "video": video, "model": model,
    "gallery": gallery,
}  # fmt: skip


def main() -> None:
    """Run the probe that the arguments name, and write its answer as the last line of stdout."""
    result = os.dup(1)
    os.dup2(2, 1)  # what packages print must not mix with the answer
    name, *arguments = sys.argv[1:]
    try:
        answer = PROBES[name](*arguments)
    except Exception as error:  # the answer says what went wrong
        line = (str(error).strip().splitlines() or [""])[0]
        answer = {"error": line[:400] or type(error).__name__, "kind": type(error).__name__}
        if isinstance(error, ImportError):
            answer["package"] = (error.name or "").partition(".")[0]
    os.write(result, f"\n{json.dumps(answer)}\n".encode())
