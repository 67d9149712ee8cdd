"""Reads weight files from any source: only tensors, and nothing in the file is executed."""

import pickle
import re
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from reid_toolkit.errors import ModelError, first_line
from reid_toolkit.training.beginnings import HEAD, ZIP, is_safe, looks_like_checkpoint

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which trainers store the network's tensors, beside the optimiser's and others."""
PREFIXES = ("module.", "model.")
"""Prefixes that wrappers of torch and of trainers add to each name."""


class Unread:
    """Replaces a numpy number, which trainers store beside the weights, so that nothing of numpy is called."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


NUMBERS = [
    (Unread, name) for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]  # fmt: skip


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the network's tensors by name, without wrappers' prefixes. The optimiser's tensors are left out.

    torch files are opened as weights only. Raises :class:`ModelError` if the file contains more than tensors, is
    damaged, or would unpack to more than its own size.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if is_safe(head):
        try:
            return without_prefixes(safetensors.torch.load_file(path), path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path}: damaged safetensors: {first_line(error)}: fetch it again") from None
    if not looks_like_checkpoint(head):
        raise ModelError(
            f"{path}: not what torch.save writes, nor safetensors: it begins with {head!r}: an incomplete download, "
            "or a web page instead? fetch it again"
        )
    zipped = head.startswith(ZIP)
    if zipped:
        check_zip(path)
    elif tarfile.is_tarfile(path):  # torch would unpack it to the disk
        raise ModelError(f"{path}: a tar archive: expected what torch.save writes")
    return without_prefixes(network_of(load(path, zipped=zipped), path), path)


def check_zip(path: Path) -> None:
    """Raise :class:`ModelError` for an archive that is damaged, contains code, or unpacks to more than its own size.
    torch stores tensors without compression."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: not a whole checkpoint: {first_line(error)}: fetch it again") from None
    size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
    if unpacked > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(
            f"{path}: its {size} bytes unpack to {unpacked}: expected uncompressed tensors, as torch.save writes them"
        )
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        raise ModelError(f"{path}: a program of TorchScript, which is code: expected the model's state_dict()")
    if not any(name.endswith("/data.pkl") for name in names):
        raise ModelError(f"{path}: a zip archive of something else ({names[:1]}): expected what torch.save writes")


def load(path: Path, *, zipped: bool) -> Any:
    """Return the file's content, read by torch's unpickler of weights, which calls nothing that the file names."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(NUMBERS)):
            warnings.simplefilter("ignore")  # about protocols that this unpickler may not know; it raises an error then
            # Mapped, so that a tensor takes no memory before its shape is checked.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        said = re.search(r"GLOBAL (\S+?)\.? ", f"{error} ")
        if said is None:
            raise ModelError(f"{path}: damaged, or more than tensors: fetch it again") from None
        raise ModelError(
            f"{path}: holds more than tensors ({said[1]}), which may be code and is not run: expected a state_dict(): "
            "save the model's own with the toolkit that made it"
        ) from None
    except Exception as error:  # zip, torch's readers and wrong arguments raise many kinds
        raise ModelError(f"{path}: damaged: {first_line(error)}: fetch it again") from None


def network_of(held: Any, path: Path) -> dict[str, Tensor]:
    """Return the dict of tensors in a checkpoint."""
    if isinstance(held, dict):
        held = next((held[key] for key in WRAPPERS if isinstance(held.get(key), dict)), held)
    if not isinstance(held, dict) or not held or not all(isinstance(name, str) for name in held):
        raise ModelError(f"{path}: holds no tensors by name: expected the model's state_dict()")
    foreign = [name for name, value in held.items() if not isinstance(value, Tensor)]
    if foreign:
        raise ModelError(f"{path}: {foreign[0]!r} is not a tensor: expected a state_dict(), alone or as 'state_dict'")
    return held


def without_prefixes(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = name
        while bare.startswith(PREFIXES):
            bare = bare.partition(".")[2]
        if bare in renamed:
            raise ModelError(f"{path}: holds two networks: {name} and another are both {bare}: expected one")
        renamed[bare] = tensor
    return renamed
