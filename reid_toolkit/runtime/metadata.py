"""What an exported model says of itself, in the metadata of its ONNX file."""

from dataclasses import MISSING, asdict, dataclass, fields

from reid_toolkit.errors import ModelError

FORMAT = "reid-embedder-1"


@dataclass(frozen=True)
class ModelMetadata:
    """Written by export, read by the runtime; every value is a string in the file."""

    height: int
    """Of the input, pixels."""
    width: int
    channels: str
    """Order of the input's channels: "BGR"."""
    layout: str
    """Of the input: "NHWC uint8 0-255"."""
    normalisation: str
    """What the graph does to the input, in words, for people; callers do nothing."""
    dimension: int
    """Width of a descriptor."""
    backbone: str
    recipe: str
    """The recipe it was trained with, TOML."""
    stage: str
    """Which stage of the run this is."""
    dataset: str
    """Fingerprint of the training data."""
    toolkit: str
    """Version of this package that wrote it."""
    precision: str = "float32"
    """Of the network's inside: "float32", or "int8" and what it was made for; descriptors are float32 either way."""
    source: str = ""
    """Of an adopted model: the file it was made from; empty for one that was trained here."""
    source_sha256: str = ""
    licence: str = ""
    """As whoever adopted it said."""
    preset: str = ""
    """How its input is prepared inside, by name; "custom" where that has none."""
    format: str = FORMAT

    def to_strings(self) -> dict[str, str]:
        """As ONNX metadata; :meth:`from_strings` reads it back."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_strings(cls, table: dict[str, str], where: str) -> "ModelMetadata":
        """Parse the metadata of a file called ``where``; raises :class:`ModelError` when it is not ours."""
        if table.get("format") != FORMAT:
            raise ModelError(
                f"{where}: not a model of `reid export`: expected metadata with format = {FORMAT}, "
                f"got {table.get('format', 'none')!r}; export the run again"
            )
        missing = [f.name for f in fields(cls) if f.name not in table and f.default is MISSING]
        if missing:
            raise ModelError(f"{where}: damaged metadata: {', '.join(missing)} missing; export the run again")
        numbers = [f.name for f in fields(cls) if f.type is int]
        wrong = [f"{name} = {table[name]!r}" for name in numbers if not (table[name].isdecimal() and int(table[name]))]
        if wrong:
            raise ModelError(f"{where}: damaged metadata: {', '.join(wrong)}: expected whole numbers; export it again")
        present = [f.name for f in fields(cls) if f.name in table]
        values = {name: int(table[name]) if name in numbers else table[name] for name in present}
        return cls(**values)  # type: ignore[arg-type]
