"""Recipes: everything that decides what is learned, read from TOML, contradictions refused.

A recipe is four small tables. ``models/*.toml`` holds the ones we ship; a run folder keeps the one it used.
"""

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomli_w

from reid_toolkit.errors import RecipeError

SHIPPED = Path(__file__).parent / "recipes"
"""A link to ``models/`` in a checkout, a copy of it in an installed package."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


@dataclass(frozen=True)
class NetworkRecipe:
    """What turns a crop into a descriptor."""

    backbone: str = "resnet50"
    """A torchvision model name: resnet18, resnet50, mobilenet_v3_small, ... (training/network.py lists them)."""
    weights: str = "imagenet"
    """What the backbone begins with: "imagenet" (torchvision's, downloaded once), "none" (random), or the path of
    a torchvision-named state dict, .safetensors or weights-only .pth, or of a run's checkpoint (best.safetensors)."""
    embedding: int = 1024
    """Width of the embedding that feeds the loss. Descriptors are the pooled features, not this."""
    dropout: float = 0.5
    """Of the embedding, while training, 0-1."""
    height: int = 256
    """Of the network's input, pixels."""
    width: int = 128
    stride_in_1x1: bool = False
    """Put each bottleneck's stride on its first 1x1 convolution, as the He et al. 2015 weights need."""
    frozen: Literal["none", "layer1", "layer2"] = "none"
    """Keep the ResNet's stem up to this stage as loaded, batch norm included (the paper's video setting)."""

    def __post_init__(self) -> None:
        check(self.embedding > 0, f"network.embedding is {self.embedding}: expected at least 1")
        check(0 <= self.dropout < 1, f"network.dropout is {self.dropout}: expected 0 <= dropout < 1")
        size = f"{self.height}x{self.width}"
        check(min(self.height, self.width) >= 32, f"network input is {size}: expected at least 32x32")
        resnet = self.backbone.startswith("resnet")
        check(
            resnet or (self.frozen == "none" and not self.stride_in_1x1),
            f"network.frozen and stride_in_1x1 are settings of ResNets: the backbone is {self.backbone}",
        )


@dataclass(frozen=True)
class TrainingRecipe:
    """How the network learns from the clusters it has at a stage."""

    samples: Literal["tracklets", "images"] = "tracklets"
    """What a cluster is made of; a tracklet of one crop is an image."""
    frames: int = 1
    """Random frames of a tracklet in one training step, their features averaged."""
    batch_size: int = 16
    """Samples in a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the backbone's convolutions and products; not in the paper is "bfloat16", faster on a GPU. Weights, batch
    norm's sums and the loss are float32 in both."""
    first_epochs: int = 20
    """Of stage 0, where every sample is its own class."""
    later_epochs: int = 2
    """Of every stage after a merge."""
    first_learning_rate: float = 0.1
    later_learning_rate: float = 0.01
    decay_after: int = 15
    """Epochs of stage 0 after which the learning rate is divided by 10."""
    backbone_factor: float = 0.1
    """The backbone's learning rate as a fraction of the head's."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    temperature: float = 0.1
    """Eq. 2's tau."""
    table_momentum: float = 0.5
    """Share of the old row that an update of the lookup table keeps."""
    crop_scale: float = 0.64
    """Smallest share of a crop's area that random resized cropping keeps; 1 turns it off."""
    flip: bool = True
    """Mirror half the crops."""
    colour_jitter: float = 0.0
    """Random saturation, gain per channel and gamma, by up to this fraction down or its inverse up: imitates
    cameras of different colours. Not in the paper (0)."""

    def __post_init__(self) -> None:
        for name in ("frames", "batch_size", "first_epochs", "later_epochs", "decay_after"):
            check(getattr(self, name) >= 1, f"training.{name} is {getattr(self, name)}: expected at least 1")
        check(self.batch_size >= 2, "training.batch_size is 1: batch normalisation needs at least 2")
        for name in ("first_learning_rate", "later_learning_rate", "temperature"):
            check(getattr(self, name) > 0, f"training.{name} is {getattr(self, name)}: expected more than 0")
        check(
            0 <= self.colour_jitter < 1,
            f"training.colour_jitter is {self.colour_jitter}: expected 0 to under 1",
        )
        for name in ("backbone_factor", "momentum", "weight_decay", "table_momentum"):
            check(0 <= getattr(self, name) <= 1, f"training.{name} is {getattr(self, name)}: expected 0-1")
        check(0 < self.crop_scale <= 1, f"training.crop_scale is {self.crop_scale}: expected 0 < scale <= 1")
        check(
            self.samples == "tracklets" or self.frames == 1,
            f"training.frames is {self.frames} with samples = 'images': an image has one frame",
        )


@dataclass(frozen=True)
class MergingRecipe:
    """Which clusters become one (``method.merging.merge_clusters`` says what each means)."""

    fraction: float = 0.05
    """The paper's m: merges of a stage, as a share of the number of samples."""
    trade_off: float = 0.1
    """Eq. 5's lambda."""
    within: Literal["mean", "printed"] = "mean"
    linkage: Literal["average", "minimum"] = "average"
    metric: Literal["euclidean", "squared_euclidean"] = "euclidean"
    size_weight: float = 0.0
    """BUC's weight of the clusters' sizes, with minimum linkage."""
    cannot_link: bool = True
    """Never merge two tracklets seen at once in one camera, where times are known."""
    camera_statistics: bool = False
    """Measure and merge descriptors freed of their camera's bias (camera_statistics.py). Not in the paper. Where two
    cameras do not have ten tracklets each, descriptors stay as they are."""

    def __post_init__(self) -> None:
        check(0 < self.fraction < 1, f"merging.fraction is {self.fraction}: expected 0 < fraction < 1")
        check(self.trade_off >= 0, f"merging.trade_off is {self.trade_off}: expected at least 0")
        check(self.size_weight >= 0, f"merging.size_weight is {self.size_weight}: expected at least 0")
        check(
            self.linkage == "minimum" or self.size_weight == 0,
            "merging.size_weight belongs to linkage = 'minimum' (BUC): set one or the other",
        )


@dataclass(frozen=True)
class Recipe:
    """All of it. Defaults are the paper's image setting."""

    seed: int = 0
    selection: Literal["last", "self_retrieval", "violations", "dispersion", "stability", "across_cameras"] = "last"
    """Which stage's model is kept as best, without labels (training/selection.py)."""
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    merging: MergingRecipe = field(default_factory=MergingRecipe)

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**32, f"seed is {self.seed}: expected 0 to {2**32 - 1}")


def shipped_recipes() -> list[str]:
    """Names of the recipes we ship, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by the name of one we ship ("dbc") or by the path of a TOML file.

    Raises :class:`RecipeError` for an unknown name, broken TOML, an unknown key, a wrong type or a contradiction.
    """
    shipped = SHIPPED / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        names = ", ".join(shipped_recipes())
        raise RecipeError(f"recipe {name_or_path!r}: neither a shipped recipe ({names}) nor a file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    try:
        return parse(Recipe, table, "")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse(kind: type, table: dict[str, Any], prefix: str) -> Any:
    """A dataclass of ``kind`` from a TOML table; unknown keys and wrong types raise :class:`RecipeError`."""
    known = {f.name: f for f in fields(kind)}
    values = {}
    for key, value in table.items():
        check(key in known, f"unknown setting {prefix}{key}: expected one of {', '.join(known)}")
        values[key] = parse_value(known[key].type, value, f"{prefix}{key}")
    return kind(**values)


def parse_value(kind: Any, value: Any, name: str) -> Any:
    if hasattr(kind, "__dataclass_fields__"):
        check(isinstance(value, dict), f"{name} is {value!r}: expected a table [{name}]")
        return parse(kind, value, f"{name}.")
    if get_origin(kind) is Literal:
        check(value in get_args(kind), f"{name} is {value!r}: expected one of {', '.join(get_args(kind))}")
        return value
    if kind is float and type(value) is int:
        value = float(value)
    check(type(value) is kind, f"{name} is {value!r}: expected a value of type {kind.__name__}")
    check(kind is not float or math.isfinite(value), f"{name} is {value!r}: expected a finite number")
    return value


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML; ``load_recipe`` of it gives an equal recipe."""
    return tomli_w.dumps(asdict(recipe))


def difference(a: Recipe, b: Recipe) -> list[str]:
    """Each setting in which two recipes differ, as "training.frames: 4 is now 8"."""
    return compare(asdict(a), asdict(b), "")


def compare(a: dict[str, Any], b: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for key, old in a.items():
        if isinstance(old, dict):
            found += compare(old, b[key], f"{prefix}{key}.")
        elif old != b[key]:
            found.append(f"{prefix}{key}: {old} is now {b[key]}")
    return found
