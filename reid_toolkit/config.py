"""Recipes: all settings of training, in four tables. Settings that are out of range or contradict each other are
refused."""

import operator
from dataclasses import dataclass, field
from typing import Literal

from reid_toolkit.errors import RecipeError

MOST = 1_000_000
"""The most that a number of things may be. A run with more would never end."""
MOST_STEPS = 10_000
"""The same for the steps of a round, which are drawn and held in memory before the first of them."""
MOST_PIXELS = 4096
"""Of the height and width of the network's input."""


def check(condition: bool, message: str) -> None:
    """Raise :class:`RecipeError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise RecipeError(message)


def check_range(
    table: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    under: float | None = None,
) -> None:
    """Raise :class:`RecipeError` unless the field ``name`` of a table's dataclass is in a range."""
    value = getattr(table, name)
    bounds = [
        (words, bound, holds)
        for words, bound, holds in (
            ("at least", least, operator.ge), ("more than", above, operator.gt),
            ("at most", most, operator.le), ("under", under, operator.lt),
        )
        if bound is not None
    ]  # fmt: skip
    where = type(table).__name__.removesuffix("Recipe").lower()
    expected = " and ".join(f"{words} {bound}" for words, bound, _ in bounds)
    check(
        all(holds(value, bound) for _, bound, holds in bounds),
        f"{'.'.join(filter(None, (where, name)))} is {value}: expected {expected}",
    )


@dataclass(frozen=True)
class NetworkRecipe:
    """The network that turns a crop into a descriptor."""

    backbone: str = "resnet50"
    """resnet50, mobilenet_v2, osnet_x0_25, ... (training/network.py lists them), or "timm:" and timm's name."""
    weights: str = "imagenet"
    """The backbone's first weights: "imagenet" (torchvision's or timm's, downloaded), "none" (random), or the path of a
    run's checkpoint or of a state dict (.safetensors or weights-only .pth) with the parameter names of torchvision,
    timm or torchreid."""
    embedding: int = 1024
    """Width of the embedding that feeds the loss. Descriptors are the pooled features, not this."""
    dropout: float = 0.5
    """Dropout of the embedding in training, 0 to under 1."""
    height: int = 256
    """Height of the network's input in pixels."""
    width: int = 128
    stride_in_1x1: bool = False
    """Put each bottleneck's stride on its first 1x1 convolution. The weights of He et al. 2015 need this."""
    frozen: Literal["none", "layer1", "layer2"] = "none"
    """Do not train the ResNet's layers up to this stage, batch norm included (the paper's video setting)."""
    head: Literal["embedding", "batch_norm"] = "embedding"
    """The layers after pooling. "embedding" (the paper): a linear layer and batch norm feed the loss, and the pooled
    features are the descriptor. "batch_norm" (BNNeck, Luo et al. 2019): batch norm of the pooled features, without a
    learned bias, feeds the loss and is the descriptor; embedding and dropout must be 0."""
    pooling: Literal["average", "generalised_mean"] = "average"
    """Pooling of the feature map. "generalised_mean" (Radenovic et al. 2018) learns an exponent that begins at 3."""
    last_stride: Literal[1, 2] = 2
    """1 leaves out the backbone's last halving (Luo et al. 2019): the feature map is twice as high and wide, and the
    network is slower."""

    def __post_init__(self) -> None:
        if self.head == "embedding":
            check_range(self, "embedding", least=1, most=MOST)
        else:
            given = f"network.embedding is {self.embedding} and dropout {self.dropout} with head = 'batch_norm'"
            check(self.embedding == 0 and self.dropout == 0, f"{given}, which uses neither: set both to 0")
        check_range(self, "dropout", least=0, under=1)
        size = f"{self.height}x{self.width}"
        check(
            min(self.height, self.width) >= 32 and max(self.height, self.width) <= MOST_PIXELS,
            f"network input is {size}: expected at least 32x32 and at most {MOST_PIXELS}x{MOST_PIXELS}",
        )
        resnet = self.backbone.startswith("resnet")
        check(
            resnet or (self.frozen == "none" and not self.stride_in_1x1),
            f"network.frozen and stride_in_1x1 need a ResNet: the backbone is {self.backbone}",
        )


@dataclass(frozen=True)
class TrainingRecipe:
    """How the network learns from the clusters of a stage or round."""

    samples: Literal["tracklets", "images"] = "tracklets"
    """The members of clusters. A tracklet of one crop is an image."""
    frames: int = 1
    """Random frames of a tracklet in a training step. Their features are averaged."""
    batch_size: int = 16
    """Samples in a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the backbone's convolutions and matrix products. "bfloat16" is faster on a GPU, but not in the
    paper. Weights, the sums of batch norm and the loss are always float32."""
    first_epochs: int = 20
    """Epochs of stage 0, in which every sample is its own class."""
    later_epochs: int = 2
    """Epochs of each later stage."""
    first_learning_rate: float = 0.1
    later_learning_rate: float = 0.01
    decay_after: int = 15
    """Epochs of stage 0 after which the learning rate is divided by 10."""
    backbone_factor: float = 0.1
    """The backbone's learning rate as a fraction of the head's."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    temperature: float = 0.1
    """tau of Eq. 2."""
    table_momentum: float = 0.5
    """Share of the old row in an update of the lookup table."""
    crop_scale: float = 0.64
    """Random resized cropping keeps at least this share of a crop's area. 1 switches it off."""
    flip: bool = True
    """Mirror half the crops."""
    colour_jitter: float = 0.0
    """Random changes of saturation, gain per channel and gamma, down by up to this fraction or up by its inverse. They
    imitate cameras with different colours. The paper has none (0)."""
    padding: int = 0
    """Move a crop by up to so many pixels up or down, and by half as many to the side; its edge pixels are repeated.
    The paper has none (0)."""
    erasing: float = 0.0
    """Paint over a random rectangle in this share of crops (Zhong et al. 2020). The paper has none (0)."""
    held_out: int = 0
    """So many tracklets, but at most a fifth of all, are kept out of training. The network before and after training
    is compared on them (``training/verdict.py``). With 0 it is compared on the tracklets that it learned from, which
    favours the trained network."""
    norm_crops: int = 0
    """Batch norm computes its statistics over groups of so many crops; 0 (the paper): over the whole batch."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """"sgd" (the paper) starts with fresh momentum in each stage or round. "adam" keeps its state, and has no momentum
    setting."""

    def __post_init__(self) -> None:
        for name in ("frames", "batch_size", "first_epochs", "later_epochs", "decay_after"):
            check_range(self, name, least=1, most=MOST)
        check(self.batch_size >= 2, "training.batch_size is 1: batch normalisation needs at least 2")
        for name in ("first_learning_rate", "later_learning_rate", "temperature"):
            check_range(self, name, above=0)
        check_range(self, "colour_jitter", least=0, under=1)
        for name in ("backbone_factor", "momentum", "weight_decay", "table_momentum", "erasing"):
            check_range(self, name, least=0, most=1)
        check_range(self, "crop_scale", above=0, most=1)
        for name in ("held_out", "padding"):
            check_range(self, name, least=0, most=MOST)
        check(
            self.padding == 0 or self.crop_scale == 1,
            f"training.padding is {self.padding} with crop_scale {self.crop_scale}: expected only one of the two: set "
            "padding = 0 or crop_scale = 1",
        )
        crops = self.batch_size * self.frames
        check(
            self.norm_crops == 0 or (self.norm_crops > 1 and crops % self.norm_crops == 0),
            f"training.norm_crops is {self.norm_crops}: expected 0, or a divisor above 1 of a step's {crops} crops",
        )
        check(
            self.samples == "tracklets" or self.frames == 1,
            f"training.frames is {self.frames} with samples = 'images': an image has one frame",
        )


@dataclass(frozen=True)
class MergingRecipe:
    """How clusters are merged. ``method.merging.merge_clusters`` explains each setting."""

    fraction: float = 0.05
    """Merges in a stage as a share of the number of samples (m in the paper)."""
    trade_off: float = 0.1
    """lambda of Eq. 5."""
    within: Literal["mean", "printed"] = "mean"
    linkage: Literal["average", "minimum"] = "average"
    metric: Literal["euclidean", "squared_euclidean"] = "euclidean"
    size_weight: float = 0.0
    """Weight of the clusters' sizes in BUC; only with minimum linkage."""
    cannot_link: bool = True
    """Never merge two tracklets that one camera saw at the same time. Has no effect if times are unknown."""
    camera_statistics: bool = False
    """Remove each camera's bias from descriptors before measuring and merging (camera_statistics.py). Not in the paper.
    Has no effect unless two cameras have ten tracklets each."""

    def __post_init__(self) -> None:
        check_range(self, "fraction", above=0, under=1)
        for name in ("trade_off", "size_weight"):
            check_range(self, name, least=0)
        check(
            self.linkage == "minimum" or self.size_weight == 0,
            "merging.size_weight needs linkage = 'minimum' (BUC): set this linkage, or size_weight = 0",
        )


@dataclass(frozen=True)
class RoundsRecipe:
    """Training in rounds: each round makes new clusters from single samples, by how much their neighbourhoods overlap.
    So a wrong merge does not last. With ``count`` 0, clusters grow from stage to stage instead, as in the paper."""

    count: int = 0
    """Number of rounds; 0 for stages."""
    steps: int = 100
    """Training steps in a round. Each step uses training.batch_size samples."""
    most_passes: int = 1_000_000
    """A round uses each sample at most so often, on average. So a round on few samples has fewer steps."""
    per_cluster: int = 4
    """Samples of each cluster in a step, spread over the cluster's cameras."""
    clustering: Literal["dispersion", "dbscan"] = "dispersion"
    """"dispersion": the paper's cost (Eq. 5) over neighbours (``merge_neighbours``). "dbscan": Ester et al. 1996."""
    until: float = 0.8
    """For "dispersion": merge until the cheapest merge costs more than this, 0 to under 1."""
    until_before_cameras: float = 0.75
    """The same, for rounds before ``cameras_from``."""
    radius: float = 0.6
    """For "dbscan": the largest distance (1 - similarity) of two neighbours, above 0 and under 1."""
    cameras_from: int = 0
    """The first round that looks for neighbours within and across cameras separately (``camera_aware_similarity``).
    Earlier rounds, and footage of one camera, ignore cameras (``reciprocal_similarity``), because most neighbours that
    an untrained network finds in other cameras are wrong."""
    taught: int = 0
    """In so many first rounds, the clusters come from a teacher's descriptors. These rounds look at cameras from the
    start."""
    teacher: str = ""
    """Fingerprint of the teacher's model file. `reid train --teacher` writes it."""
    teacher_weight: float = 0.0
    """Weight of the loss that compares the network's view of the clusters with the teacher's in taught rounds
    (``training.teaching.lesson_loss``). `reid train --teacher` makes it 1."""
    neighbours: int = 20
    """Number of neighbours before ``cameras_from``; half as many join through their own neighbourhoods. This and the
    next two numbers are limited to a tenth of the samples, but never below 3."""
    within: int = 5
    """Number of neighbours in a sample's own camera, from ``cameras_from`` on."""
    across: int = 20
    """Number of neighbours in all other cameras together, from ``cameras_from`` on."""
    smallest: int = 4
    """Clusters of fewer samples are left out of a round. 1 keeps all."""
    spread_cameras: bool = True
    """Draw a cluster's samples for a step evenly from its cameras, not at random."""
    balance_cameras: bool = True
    """Weight a cluster's loss by how evenly its samples spread over cameras (exp of the entropy; 3C, 2024)."""
    learning_rate: float = 3.5e-4
    full_rate_from: int = 1
    """With N samples, fewer than this number, the learning rate is multiplied by sqrt(N / this number)."""
    warm_up: int = 1
    """Rounds over which the learning rate grows to its full value, in equal steps."""
    decay_every: int = 1_000_000
    """The learning rate is divided by 10 after every so many rounds."""

    def __post_init__(self) -> None:
        positive = (
            "most_passes", "per_cluster", "neighbours", "within", "across", "full_rate_from", "warm_up", "decay_every",
            "smallest",
        )  # fmt: skip
        check_range(self, "teacher_weight", least=0)
        for name in ("count", "taught", "cameras_from"):
            check_range(self, name, least=0, most=MOST)
        for name in positive:
            check_range(self, name, least=1, most=MOST)
        check_range(self, "steps", least=1, most=MOST_STEPS)
        for name in ("until", "until_before_cameras"):
            check_range(self, name, least=0, under=1)
        both = bool(self.teacher) == (self.taught > 0)
        check(both, f"rounds.taught is {self.taught} with rounds.teacher {self.teacher!r}: expected both or neither")
        check(self.taught <= self.count, f"rounds.taught is {self.taught}: expected at most rounds.count, {self.count}")
        check_range(self, "radius", above=0, under=1)
        check_range(self, "learning_rate", above=0)


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. The defaults are the paper's setting for images."""

    seed: int = 0
    selection: Literal["last", "self_retrieval", "violations", "dispersion", "stability", "across_cameras"] = "last"
    """The rule that chooses the stage whose model is kept as best, without labels (training/selection.py)."""
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    merging: MergingRecipe = field(default_factory=MergingRecipe)
    rounds: RoundsRecipe = field(default_factory=RoundsRecipe)

    def __post_init__(self) -> None:
        check_range(self, "seed", least=0, under=2**32)
        size, each = self.training.batch_size, self.rounds.per_cluster
        check(
            not self.rounds.count or size % each == 0,
            f"training.batch_size is {size} with rounds.per_cluster {each}: expected a multiple of per_cluster",
        )
