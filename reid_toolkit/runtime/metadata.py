"""The metadata in the ONNX file of an exported model."""

import re
from dataclasses import MISSING, asdict, dataclass, fields

from reid_toolkit.errors import ModelError

FORMAT = "reid-embedder-1"


@dataclass(frozen=True)
class ModelMetadata:
    """Export writes it, and the runtime reads it. In the file, every value is a string."""

    height: int
    """Height of the input in pixels."""
    width: int
    channels: str
    """Order of the input's channels: "BGR"."""
    layout: str
    """Layout of the input: "NHWC uint8 0-255"."""
    normalisation: str
    """How the graph itself prepares the input, as text for people. Callers need not prepare anything."""
    dimension: int
    """Width of a descriptor."""
    backbone: str
    recipe: str
    """The recipe of its training, in TOML."""
    stage: str
    """The stage of the run."""
    dataset: str
    """Fingerprint of the training data."""
    toolkit: str
    """The version of this package that wrote the file."""
    precision: str = "float32"
    """Precision inside the network: "float32", or "int8" and its target. Descriptors are always float32."""
    source: str = ""
    """For an adopted model: the file that it was made from. Empty for a model of ``reid train``."""
    source_sha256: str = ""
    licence: str = ""
    """The licence that was given when it was adopted."""
    preset: str = ""
    """Name of the preset by which the graph prepares its input. "custom" if there is no such preset."""
    format: str = FORMAT

    def to_strings(self) -> dict[str, str]:
        """The metadata as strings for ONNX. :meth:`from_strings` reads them."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_strings(cls, table: dict[str, str], where: str) -> "ModelMetadata":
        """Read the metadata of a file. Messages call the file ``where``. Raises :class:`ModelError` if the metadata is
        damaged or not of reid."""
        if table.get("format") != FORMAT:
            raise ModelError(
                f"{where}: not a model of `reid export`: expected metadata with format = {FORMAT}, "
                f"got {table.get('format', 'none')!r}; export the run again"
            )
        missing = [f.name for f in fields(cls) if f.name not in table and f.default is MISSING]
        if missing:
            raise ModelError(f"{where}: damaged metadata: {', '.join(missing)} missing; export the run again")
        numbers = [f.name for f in fields(cls) if f.type is int]
        wrong = [f"{name} = {table[name]!r}" for name in numbers if not re.fullmatch("0*[1-9][0-9]{0,8}", table[name])]
        if wrong:
            raise ModelError(f"{where}: damaged metadata: {', '.join(wrong)}: expected whole numbers; export it again")
        present = [f.name for f in fields(cls) if f.name in table]
        values = {name: int(table[name]) if name in numbers else table[name] for name in present}
        return cls(**values)  # type: ignore[arg-type]
