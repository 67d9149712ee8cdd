"""Finds the files with an ONNX model's weights, if they are not in the model's own file."""

import os
import re
from pathlib import Path

LOCATION = re.compile(rb"\n\x08location\x12(?:([\x00-\x7f])|([\x80-\xff])([\x00-\x7f]))")
"""An entry of a tensor's ``external_data`` as it stands in the file: the key "location", and the length of its value in
one byte, or in two of seven bits. It is looked for in the bytes because the edge install has no package onnx."""


def external_files(content: bytes, folder: Path) -> list[Path]:
    """The files from which the model ``content`` in ``folder`` takes weights, sorted by name; without those that are
    missing. Other files in the folder do not matter, whatever their names are."""
    names = set()
    for found in LOCATION.finditer(content):
        short, low, high = found.groups()
        length = short[0] if short else (low[0] & 0x7F) | high[0] << 7
        names.add(os.fsdecode(content[found.end() : found.end() + length]))
    return [folder / name for name in sorted(names) if "\0" not in name and (folder / name).is_file()]
