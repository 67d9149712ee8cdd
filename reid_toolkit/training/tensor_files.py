"""Safetensors files of ours: a file is complete or missing, and a changed bit is detected."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from reid_toolkit.errors import RunError
from reid_toolkit.files import write_atomic

DIGEST = "sha256"
"""The header field with the :func:`digest`."""

UNDIGESTED = ({"stage"}, {"stage", "metrics"})
"""Header fields of files from earlier versions, which have no digest."""


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors in the machine's memory. Tensors on another device are copied."""
    return {name: value.cpu() for name, value in tensors.items()}


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write tensors, which may share memory, and a header of texts."""
    tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
    # Written as bytes, because safetensors' own function reports a full disk as an error of another type.
    write_atomic(path, safetensors.torch.save(tensors, {**header, DIGEST: digest(tensors, header)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and header of a safetensors file of ours. Raises :class:`RunError` that names the file.

    Files of earlier versions have no digest and are not checked.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: no such checkpoint: expected one written by `reid train`") from None
    # A changed byte of the header can give bad UTF-8, bad JSON, or an impossible size.
    except (safetensors.SafetensorError, OSError, ValueError, MemoryError) as error:
        raise damaged(path, str(error)) from None
    expected = header.pop(DIGEST, None)
    if header.keys() not in UNDIGESTED if expected is None else expected != digest(tensors, header):
        raise damaged(path, "its content is not what was written")
    return tensors, header


def load_tensor(path: Path, name: str) -> Tensor:
    """Read one tensor of a file of ours that is known to be intact. The others are not read."""
    with safetensors.safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path}: damaged checkpoint ({why}): `reid train --resume` goes on from the one before")


def digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """Return the SHA-256, in hex, of the header and of every tensor's name, type, shape and values."""
    sha256 = hashlib.sha256(json.dumps(sorted(header.items())).encode())
    for key, tensor in sorted(tensors.items()):
        sha256.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha256.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()
