"""Tensors as safetensors files that are whole or not there, and that tell when a bit of them has changed."""

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
"""The header's field for :func:`digest`."""

UNDIGESTED = ({"stage"}, {"stage", "metrics"})
"""Fields of files that earlier versions wrote, without it."""


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in the machine's memory; copies of those that are on another device."""
    return {name: value.cpu() for name, value in tensors.items()}


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write tensors, which may share memory, and a header of texts."""
    tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
    # By way of bytes: safetensors' own writing reports a full disk as an error of its own kind.
    write_atomic(path, safetensors.torch.save(tensors, {**header, DIGEST: digest(tensors, header)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file of ours; raises :class:`RunError` naming the file.

    A file of an earlier version has no digest, and is taken as it is.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: no such checkpoint: expected one written by `reid train`") from None
    # A changed byte of the header can be bad UTF-8, bad JSON, or a size that nothing has.
    except (safetensors.SafetensorError, OSError, ValueError, MemoryError) as error:
        raise damaged(path, str(error)) from None
    expected = header.pop(DIGEST, None)
    if header.keys() not in UNDIGESTED if expected is None else expected != digest(tensors, header):
        raise damaged(path, "its content is not what was written")
    return tensors, header


def load_tensor(path: Path, name: str) -> Tensor:
    """One tensor of a file of ours that is known to be whole; the others are not read."""
    with safetensors.safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path}: damaged checkpoint ({why}): `reid train --resume` goes on from the one before")


def digest(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256, in hexadecimal, of the header and of every tensor's name, type, shape and values."""
    found = hashlib.sha256(json.dumps(sorted(header.items())).encode())
    for key, tensor in sorted(tensors.items()):
        found.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
