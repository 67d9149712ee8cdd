"""Recipes: everything that decides what is learned, in four small tables. Contradictions are refused."""

from dataclasses import dataclass, field
from typing import Literal

from reid_toolkit.errors import RecipeError


def check(condition: bool, message: str) -> None:
    """Raise :class:`RecipeError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise RecipeError(message)


@dataclass(frozen=True)
class NetworkRecipe:
    """What turns a crop into a descriptor."""

    backbone: str = "resnet50"
    """resnet50, mobilenet_v2, osnet_x0_25, ... (training/network.py lists them), or "timm:" and timm's name."""
    weights: str = "imagenet"
    """What the backbone begins with: "imagenet" (torchvision's or timm's, downloaded), "none" (random), or the path of
    a state dict with their names or torchreid's, .safetensors or weights-only .pth, or of a run's checkpoint."""
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
    head: Literal["embedding", "batch_norm"] = "embedding"
    """What follows pooling. "embedding" (the paper): a linear layer and batch norm feed the loss, and the descriptor is
    the pooled features. "batch_norm" (BNNeck, Luo et al. 2019): batch norm without a learned bias over the pooled
    features is both; then embedding and dropout are 0."""
    pooling: Literal["average", "generalised_mean"] = "average"
    """Over the feature map. "generalised_mean" (Radenovic et al. 2018) learns an exponent, from 3."""
    last_stride: Literal[1, 2] = 2
    """1 leaves out the backbone's last halving (Luo et al. 2019): a feature map twice as high and wide, at a price."""

    def __post_init__(self) -> None:
        if self.head == "embedding":
            check(self.embedding > 0, f"network.embedding is {self.embedding}: expected at least 1")
        else:
            given = f"network.embedding is {self.embedding} and dropout {self.dropout} with head = 'batch_norm'"
            check(self.embedding == 0 and self.dropout == 0, f"{given}, which has neither: set both to 0")
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
    padding: int = 0
    """Move a crop by up to so many pixels each way, its edges repeated; half as many across. Not in the paper (0)."""
    erasing: float = 0.0
    """Share of crops of which a random rectangle is painted over (Zhong et al. 2020). Not in the paper (0)."""
    held_out: int = 0
    """So many tracklets, and at most a fifth, are not learned from: the network before and after training is compared
    on them (``training/verdict.py``). With 0 it is compared on those it learned from, which favours the end."""
    norm_crops: int = 0
    """Batch norm takes its statistics over so many crops at a time; 0 over the whole batch. Not in the paper (0)."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """"sgd" begins anew at each stage or round, as in the paper; "adam" goes on, and has no momentum setting."""

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
        check(self.held_out >= 0, f"training.held_out is {self.held_out}: expected at least 0 tracklets")
        check(self.padding >= 0, f"training.padding is {self.padding}: expected at least 0 pixels")
        check(
            self.padding == 0 or self.crop_scale == 1,
            f"training.padding is {self.padding} with crop_scale {self.crop_scale}: expected one of them; turn "
            "the other off by padding = 0 or crop_scale = 1",
        )
        crops = self.batch_size * self.frames
        check(
            self.norm_crops == 0 or (self.norm_crops > 1 and crops % self.norm_crops == 0),
            f"training.norm_crops is {self.norm_crops}: expected 0, or a part above 1 of a step's {crops} crops that "
            "leaves no rest",
        )
        check(0 <= self.erasing <= 1, f"training.erasing is {self.erasing}: expected 0-1")
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
class RoundsRecipe:
    """Clusters made anew for each round, from single samples, by what the samples' neighbourhoods share: so no wrong
    merge is for ever. With ``count`` 0 clusters grow from stage to stage instead, as in the paper."""

    count: int = 0
    """Rounds of a run."""
    steps: int = 100
    """Training steps of a round; each sees training.batch_size samples."""
    most_passes: int = 1_000_000
    """A round on few samples has fewer steps: it sees a sample at most so often, on average."""
    per_cluster: int = 4
    """Samples of one cluster in a step, spread over the cluster's cameras."""
    clustering: Literal["dispersion", "dbscan"] = "dispersion"
    """"dispersion": the paper's cost (Eq. 5) over neighbours (``merge_neighbours``). "dbscan": Ester et al. 1996."""
    until: float = 0.8
    """"dispersion": merge until the cheapest merge costs more than this, 0 to under 1."""
    until_before_cameras: float = 0.75
    """The same in rounds before ``cameras_from``."""
    radius: float = 0.6
    """"dbscan": the largest distance (1 - similarity) of two neighbours, above 0 to under 1."""
    cameras_from: int = 0
    """The first round that takes neighbours within and across cameras apart (``camera_aware_similarity``). Rounds
    before it, and footage of one camera, do not look at cameras (``reciprocal_similarity``): what an untrained network
    finds in other cameras is mostly wrong."""
    taught: int = 0
    """The first rounds whose clusters come from a teacher's descriptors. They look at cameras from the first."""
    teacher: str = ""
    """Fingerprint of the teacher's model file; `reid train --teacher` writes it."""
    neighbours: int = 20
    """How many neighbours before ``cameras_from``; half as many join by their own neighbourhoods. This and the next two
    are at most a tenth of the samples, but 3 in any case."""
    within: int = 5
    """How many in a sample's own camera, from ``cameras_from`` on."""
    across: int = 20
    """How many in all other cameras."""
    smallest: int = 4
    """Clusters of fewer samples are left out of a round; with 1 none is."""
    spread_cameras: bool = True
    """Draw a cluster's samples for a step evenly over its cameras, and not at random."""
    balance_cameras: bool = True
    """Weigh a cluster's loss by how evenly its samples spread over cameras (exp of the entropy; 3C, 2024)."""
    learning_rate: float = 3.5e-4
    full_rate_from: int = 1
    """With fewer samples the learning rate is lower, by the square root of their share of this number."""
    warm_up: int = 1
    """Rounds in which the learning rate grows to that, in equal steps."""
    decay_every: int = 1_000_000
    """After every so many rounds the learning rate is divided by 10."""

    def __post_init__(self) -> None:
        positive = (
            "steps", "most_passes", "per_cluster", "neighbours", "within", "across", "full_rate_from", "warm_up",
            "decay_every",
        )  # fmt: skip
        for name, least in (
            ("count", 0),
            ("taught", 0),
            ("cameras_from", 0),
            ("smallest", 1),
            *((name, 1) for name in positive),
        ):
            check(getattr(self, name) >= least, f"rounds.{name} is {getattr(self, name)}: expected at least {least}")
        for name in ("until", "until_before_cameras"):
            check(0 <= getattr(self, name) < 1, f"rounds.{name} is {getattr(self, name)}: expected 0 to under 1")
        both = bool(self.teacher) == (self.taught > 0)
        check(both, f"rounds.taught is {self.taught} with rounds.teacher {self.teacher!r}: expected both or neither")
        check(0 < self.radius < 1, f"rounds.radius is {self.radius}: expected above 0 and under 1")
        check(self.learning_rate > 0, f"rounds.learning_rate is {self.learning_rate}: expected more than 0")


@dataclass(frozen=True)
class Recipe:
    """All of it. Defaults are the paper's image setting."""

    seed: int = 0
    selection: Literal["last", "self_retrieval", "violations", "dispersion", "stability", "across_cameras"] = "last"
    """Which stage's model is kept as best, without labels (training/selection.py)."""
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    merging: MergingRecipe = field(default_factory=MergingRecipe)
    rounds: RoundsRecipe = field(default_factory=RoundsRecipe)

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**32, f"seed is {self.seed}: expected 0 to {2**32 - 1}")
        size, each = self.training.batch_size, self.rounds.per_cluster
        check(
            not self.rounds.count or size % each == 0,
            f"training.batch_size is {size} with rounds.per_cluster {each}: expected a multiple of it",
        )
