"""The models of the catalogue, read from ``models.toml``."""

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
    """A file of a publisher."""

    address: str
    bytes: int
    algorithm: str
    """"sha256" or "sha384"."""
    digest: str
    """The digest in hexadecimal digits."""

    @property
    def name(self) -> str:
        """The file's name, at its publisher and here."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue."""

    name: str
    kind: Kind
    publisher: str
    page: str
    """The page on which its publisher describes it."""
    licence: str
    """Its SPDX name."""
    licence_text: str
    trained_on: str
    """Training data, as its publisher says. Empty if the publisher does not say."""
    published: str
    """Its publisher's own figures. Empty if there are none."""
    height: int
    width: int
    output: str
    files: tuple[File, ...]
    """The first is the one to open."""
    preset: str | None = None
    """For an embedder: the preset of ``reid adopt`` that says how it wants its pixels prepared."""
    person_label: int | None = None
    """For a detector: the number of the class person, if its file does not name its classes."""
    rank1: float | None = None
    map: float | None = None
    """For an embedder that we measured: rank-1 and mAP in per cent, on 100 held-out people of CUHK03, from camera A to
    B (docs/models.md)."""

    @property
    def bytes(self) -> int:
        """Size of all its files in bytes."""
        return sum(file.bytes for file in self.files)

    @property
    def needs_openvino(self) -> bool:
        """Whether its files are in OpenVINO's format."""
        return self.files[0].name.endswith(".xml")


def read_catalogue() -> tuple[Entry, ...]:
    """All models, in the order of the file."""
    return tuple(map(read_entry, tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["model"]))


def read_entry(fields: dict[str, Any]) -> Entry:
    """The model that a table of the file describes."""
    files = []
    for file in fields.pop("files"):
        (algorithm,) = set(file).intersection(DIGESTS)
        files.append(File(file["address"], file["bytes"], algorithm, file[algorithm]))
    return Entry(**fields, files=tuple(files))


def find_entry(name: str) -> Entry:
    """The model of this name. Raises :class:`InputError`, with similar names, if there is none."""
    entries = read_catalogue()
    for entry in entries:
        if entry.name == name:
            return entry
    raise InputError(f"{name}: no such model{near(name, [entry.name for entry in entries])}: `reid models` lists them")


def near(name: str, known: Sequence[str]) -> str:
    """Like :func:`did_you_mean`, for long names with numbers: a name that contains ``name``, such as "0286", is similar
    too."""
    holding = [one for one in known if len(name) > 2 and name.lower() in one.lower()]
    return f" (did you mean {' or '.join(map(repr, holding[:3]))}?)" if holding else did_you_mean(name, known)
