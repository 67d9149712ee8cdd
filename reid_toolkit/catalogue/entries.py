"""What the catalogue holds, read from ``models.toml``."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reid_toolkit.errors import InputError, did_you_mean

CATALOGUE = Path(__file__).with_name("models.toml")
DIGESTS = ("sha256", "sha384")

Kind = Literal["embedder", "detector"]


@dataclass(frozen=True)
class File:
    """One file as its publisher offers it."""

    address: str
    bytes: int
    algorithm: str
    """"sha256" or "sha384"."""
    digest: str
    """In hexadecimal digits."""

    @property
    def name(self) -> str:
        """What it is called, by its publisher and here."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """One model."""

    name: str
    kind: Kind
    publisher: str
    page: str
    """Where its publisher describes it."""
    licence: str
    """By its SPDX name."""
    licence_text: str
    trained_on: str
    """As its publisher tells; empty where they do not."""
    published: str
    """Its publisher's own figures; empty where there are none."""
    height: int
    width: int
    output: str
    files: tuple[File, ...]
    """The first is the one to open."""
    preset: str | None = None
    """Of an embedder: what it wants of its pixels, by the names of ``reid adopt``."""
    person_label: int | None = None
    """Of a detector: the label that people have, where its file does not say it."""
    rank1: float | None = None
    map: float | None = None
    """Of an embedder that we measured, per cent: CUHK03's 100 held-out people, from camera A to B (models.md)."""

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(file.bytes for file in self.files)

    @property
    def needs_openvino(self) -> bool:
        """Whether it is in OpenVINO's form."""
        return self.files[0].name.endswith(".xml")


def read_catalogue() -> tuple[Entry, ...]:
    """All models, in the order in which they are listed."""
    return tuple(map(read_entry, tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["model"]))


def read_entry(fields: dict[str, Any]) -> Entry:
    """One of the file's tables."""
    files = []
    for file in fields.pop("files"):
        (algorithm,) = set(file).intersection(DIGESTS)
        files.append(File(file["address"], file["bytes"], algorithm, file[algorithm]))
    return Entry(**fields, files=tuple(files))


def find_entry(name: str) -> Entry:
    """The model of that name; raises :class:`InputError` with the nearest names where there is none."""
    entries = read_catalogue()
    for entry in entries:
        if entry.name == name:
            return entry
    raise InputError(f"{name}: no such model{near(name, [entry.name for entry in entries])}; `reid models` lists them")


def near(name: str, known: Sequence[str]) -> str:
    """As :func:`did_you_mean`, for names that are long and numbered: a part of one, as "0286", is near too."""
    holding = [one for one in known if len(name) > 2 and name.lower() in one.lower()]
    return f" (did you mean {' or '.join(map(repr, holding[:3]))}?)" if holding else did_you_mean(name, known)
