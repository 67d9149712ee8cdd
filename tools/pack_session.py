"""Makes pictures and weights small enough to send to a machine with a GPU at once, for tools/gpu_session.py.

    python tools/pack_session.py --pictures labeled --weights resnet50.pth --out .carry/pack
    python tools/pack_session.py --weights resnet50.pth --out .carry/weights     one call's load, and
    python tools/pack_session.py --pictures labeled --out .carry/pack            the next one's, with finer pictures

``--pictures`` holds folders ``train`` and ``val`` of JPEGs as tools/study_cuhk03.py reads them. OUT gets the same
names, in the finest of a few sizes and qualities with which everything stays under --limit MiB. It also gets
``weights.safetensors``, the backbone without its classifier, in half precision except for tensors of one dimension
(batch norm's values exceed it); and ``val/manifest.csv``, with the identities from the file names.

Figures measured on such pictures differ a little from those of the full pictures: say so beside them. The quality is
printed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
from cuhk03 import crop_of
from safetensors.torch import save
from torch import Tensor

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.errors import DatasetError, ModelError, ReidError
from reid_toolkit.files import write_atomic
from reid_toolkit.images import read_image, resize
from reid_toolkit.training.network import CLASSIFIERS, read_state_dict

FINEST_FIRST = (
    (256, 128, 90), (256, 128, 85), (256, 128, 75), (192, 96, 80), (160, 80, 80), (128, 64, 85), (128, 64, 75),
    (128, 64, 60), (128, 64, 45), (128, 64, 30),
)  # fmt: skip
"""Greatest height and width, and JPEG's quality."""


def half(weights: Path, backbone: str) -> bytes:
    """Return a safetensors file of the backbone's weights."""
    state = {key.removeprefix("module."): value for key, value in read_state_dict(weights).items()}
    state = {key: value for key, value in state.items() if not key.startswith(CLASSIFIERS[backbone] + ".")}
    state = {key: narrowed(key, value) for key, value in state.items()}
    return save(state)


def narrowed(key: str, value: Tensor) -> Tensor:
    small = value.half() if value.dim() > 1 and value.is_floating_point() else value
    if not bool(small.isfinite().all()):
        raise ModelError(f"{key}: holds values that half precision cannot: expected at most 65504")
    return small.contiguous()


def shrink(pictures: list[Path], height: int, width: int, quality: int) -> Iterator[bytes]:
    """Yield each picture as a JPEG of at most this size. A smaller picture keeps its size."""
    for path in pictures:
        image = read_image(path)
        image = resize(image, min(height, image.shape[0]), min(width, image.shape[1]))
        # In such small files the standard code tables are a large part.
        how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        yield bytes(cv2.imencode(".jpg", image, how)[1])


def within(pictures: list[Path], room: int) -> tuple[tuple[int, int, int], list[bytes]]:
    """Choose the finest of FINEST_FIRST with which all pictures take at most ``room`` bytes. Returns it and their
    files."""
    for size in FINEST_FIRST:
        files, taken = [], 0
        for content in shrink(pictures, *size):
            files.append(content)
            taken += len(content)
            if taken > room:
                break
        else:
            return size, files
    raise DatasetError(f"{len(pictures)} pictures do not fit into {room / 2**20:.1f} MiB: expected fewer")


def main(options: argparse.Namespace) -> None:
    room = int(options.limit * 2**20)
    if options.weights:
        weights = half(options.weights, options.backbone)
        write_atomic(options.out / "weights.safetensors", weights)
        print(f"{options.out}: weights of {len(weights) / 2**20:.1f} MiB")
        room -= len(weights)
    if options.pictures:
        pack_pictures(options, room)


def pack_pictures(options: argparse.Namespace, room: int) -> None:
    pictures = [path for part in ("train", "val") for path in sorted((options.pictures / part).glob("*.jpg"))]
    if {path.parent.name for path in pictures} != {"train", "val"}:
        raise DatasetError(f"{options.pictures}: expected folders train and val with JPEGs")
    (height, width, quality), files = within(pictures, room)
    for path, content in zip(pictures, files, strict=True):
        write_atomic(options.out / path.parent.name / path.name, content)
    val = options.out / "val"
    write_manifest(val, [crop_of(val / path.name) for path in pictures if path.parent.name == "val"])
    print(
        f"{options.out}: {len(files)} pictures of at most {height}x{width}, JPEG quality {quality}: "
        f"{sum(map(len, files)) / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--backbone", choices=CLASSIFIERS, default="resnet50")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=float, default=60.0, metavar="MIB")
    try:
        main(parser.parse_args())
    except ReidError as error:
        sys.exit(f"error: {error}")
