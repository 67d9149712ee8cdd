"""Recognises the network of a checkpoint by the names and shapes of its tensors, never by the file's name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reid_toolkit.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]

ELSEWHERE = "export it to ONNX with its own toolkit, and adopt that"


@dataclass(frozen=True)
class Architecture:
    """A network that can be built here, without its weights."""

    name: str
    """The name that :func:`reid_toolkit.adopt.from_torch.module_for` takes."""
    title: str
    """The name for people."""
    size: tuple[int, int]
    """Height and width of the pictures for which its maker publishes weights. All these networks take ImageNet's
    RGB."""
    unread: tuple[str, ...]
    """Prefixes of tensors that only training needs."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Prefixes of names in the file, and their replacements in the module."""

    def name_of(self, tensor: str) -> str:
        """Return the module's name for a tensor of the file."""
        for theirs, ours in self.renamed:
            if tensor.startswith(theirs):
                return ours + tensor.removeprefix(theirs)
        return tensor


WIDTHS = {64: "x1_0", 48: "x0_75", 32: "x0_5", 16: "x0_25"}
"""Widths by the channels of the first convolution (Zhou et al. 2019, Table 2)."""
OSNETS, AINS = (
    {
        channels: Architecture(
            f"{kind}_{width}", f"{title} {width.replace('_', '.')} of torchreid", (256, 128), ("classifier.",)
        )
        for channels, width in WIDTHS.items()
    }
    for kind, title in (("osnet", "OSNet"), ("osnet_ain", "OSNet-AIN"))
)
"""OSNets by the channels of their first convolution, without and with instance norms (Zhou et al. 2021)."""

SBS = Architecture(
    "fastreid_sbs_resnest50",
    "fast-reid's SBS with ResNeSt-50 (the SBS-S50 of BoT-SORT)",
    (384, 128),
    ("heads.weight", "heads.classifier.", "pixel_mean", "pixel_std"),
    (("heads.pool_layer.", "pool."), ("heads.bottleneck.0.", "bottleneck.")),
)
SBS_BLOCKS = (3, 4, 6, 3)
"""Number of blocks in its four layers."""


def architecture_of(shapes: Shapes, where: str) -> Architecture:
    """Return the network to which tensors of these names and shapes belong. Raises :class:`ModelError`, naming what was
    found, if it cannot be built here."""
    stem = shapes.get("conv1.conv.weight", ())
    if "conv2.0.conv2a.conv1.weight" in shapes and len(stem) == 4:
        if any(".IN." in name for name in shapes) or "conv1.bn.running_mean" not in shapes:
            raise ModelError(f"{where}: an OSNet-IBN of torchreid, which cannot be built here: {ELSEWHERE}")
        return of_width(stem[0], OSNETS, where)
    if "conv2.0.conv2.0.layers.0.conv1.weight" in shapes and len(stem) == 4:
        return of_width(stem[0], AINS, where)
    if "backbone.layer1.0.conv2.fc1.weight" in shapes:
        blocks = tuple(count_blocks(shapes, f"backbone.layer{number}.") for number in (1, 2, 3, 4))
        if blocks == SBS_BLOCKS:
            return SBS
        raise ModelError(f"{where}: a ResNeSt of fast-reid with {blocks} blocks: expected {SBS_BLOCKS}: {ELSEWHERE}")
    raise ModelError(f"{where}: {other(shapes)}, which cannot be built here: {ELSEWHERE}")


def of_width(channels: int, known: Mapping[int, Architecture], where: str) -> Architecture:
    """Return the OSNet whose first convolution has this many channels. Raises :class:`ModelError` if there is none."""
    if channels not in known:
        raise ModelError(
            f"{where}: an OSNet whose first layer has {channels} channels: expected "
            f"{', '.join(map(str, sorted(known)))} (x0.25 to x1.0): {ELSEWHERE}"
        )
    return known[channels]


def other(shapes: Shapes) -> str:
    """Describe in words the tensors of a network that cannot be built here."""
    if "backbone.layer1.0.conv1.weight" in shapes:
        return "a ResNet of fast-reid" if any(name.startswith("heads.") for name in shapes) else "a ResNet in a wrapper"
    if "layer1.0.conv1.weight" in shapes or "base.layer1.0.conv1.weight" in shapes:
        return "a ResNet"
    if any(re.search(r"(^|\.)blocks\.0\.attn\.", name) for name in shapes):
        return "a vision transformer"
    names = sorted(shapes)
    return f"a network that is not known ({len(names)} tensors: {', '.join(names[:3])}{', ...' if names[3:] else ''})"


def count_blocks(shapes: Shapes, prefix: str) -> int:
    """Count the different numbers that follow the prefix in names of tensors."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def check_fit(architecture: Architecture, needed: Shapes, held: Shapes, where: str) -> None:
    """Raise :class:`ModelError` unless a file has exactly the tensors that evaluation needs."""
    missing = sorted(needed.keys() - held.keys())
    unknown = sorted(held.keys() - needed.keys())
    shaped = sorted(name for name in needed.keys() & held.keys() if needed[name] != held[name])
    words = []
    if missing:
        words.append(f"{len(missing)} are missing, such as {missing[0]}")
    if shaped:
        name = shaped[0]
        words.append(f"{len(shaped)} have another shape, such as {name}: {held[name]} for {needed[name]}")
    if unknown:
        words.append(f"{len(unknown)} are not known, such as {unknown[0]}")
    if words:
        raise ModelError(
            f"{where}: looks like {architecture.title}, but of its tensors {'; '.join(words)}: expected the whole of "
            "that network, the classifier aside; fetch it again, or export it to ONNX with its own toolkit"
        )
