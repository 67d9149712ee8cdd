"""The dataset that every reader returns: its tracklets, its crops and a fingerprint of its content."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice, tee, zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import DatasetError, ImageError
from reid_toolkit.images import Image, read_images
from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.times import UNIX_TIMES


@dataclass(frozen=True)
class Dataset:
    """A folder of crops, read in place. Tracklets are sorted by name, so that their order depends on no file system."""

    root: Path
    layout: str
    """"manifest", "folder", "market1501", "msmt17", "mars" or "duke_video"."""
    tracklets: tuple[Tracklet, ...]

    @cached_property
    def crops(self) -> tuple[Crop, ...]:
        """All crops, tracklet by tracklet."""
        return tuple(crop for tracklet in self.tracklets for crop in tracklet.crops)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, sorted."""
        return tuple(sorted({tracklet.camera for tracklet in self.tracklets}))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify the content: a digest of each crop's tracklet, camera, path and file size.

        Identities are left out: labelling a dataset later does not change which data a model was trained on.
        """
        digest = hashlib.sha256()
        for crop in self.crops:
            path = crop.path.relative_to(self.root).as_posix()
            row = (crop.tracklet, crop.camera, path, str(crop.path.stat().st_size))
            digest.update("\0".join(row).encode(errors="surrogateescape") + b"\n")  # names need not be UTF-8
        return digest.hexdigest()[:16]

    def with_identities(self, identities: dict[str, str]) -> "Dataset":
        """Return the same dataset with the identity of each tracklet taken from ``identities`` (tracklet -> identity).

        For evaluation only. A tracklet that ``identities`` does not name loses the identity it had. Names of tracklets
        that this dataset lacks are ignored; :func:`with_identities` refuses them.
        """
        return replace(self, tracklets=tuple(identify(t, identities.get(t.name)) for t in self.tracklets))


def with_identities(parts: Sequence[Dataset], identities: dict[str, str]) -> list[Dataset]:
    """Give all parts of one dataset, such as queries and gallery, their identities from one list of tracklets.

    Raises:
        DatasetError: the list names a tracklet that no part has.
    """
    names = {tracklet.name for part in parts for tracklet in part.tracklets}
    unknown = sorted(set(identities) - names)
    if unknown:
        raise DatasetError(
            f"identities name {len(unknown)} tracklets that {parts[0].root} does not have, the first is "
            f"{unknown[0]!r}: expected names of its tracklets"
        )
    return [part.with_identities(identities) for part in parts]


def identify(tracklet: Tracklet, identity: str | None) -> Tracklet:
    """Return a copy of the tracklet and of its crops with this identity."""
    crops = tuple(replace(crop, identity=identity) for crop in tracklet.crops)
    return replace(tracklet, identity=identity, crops=crops)


def group_tracklets(crops: Iterable[Crop]) -> tuple[Tracklet, ...]:
    """Group crops by tracklet name. Tracklets are sorted by name; crops by frame, then by path.

    Raises :class:`DatasetError` if one tracklet has two cameras or two identities.
    """
    groups: defaultdict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        groups[crop.tracklet].append(crop)
    tracklets = []
    for name in sorted(groups):
        members = sorted(groups[name], key=lambda crop: (crop.frame, crop.path))
        for field in ("camera", "identity"):
            values = {getattr(crop, field) for crop in members}
            if len(values) > 1:
                a, b = sorted(map(str, values))[:2]
                raise DatasetError(
                    f"{members[0].origin or name}: tracklet {name!r} has two values of {field}, {a!r} and {b!r}: "
                    "expected one person in one camera"
                )
        first = members[0]
        tracklets.append(Tracklet(name, first.camera, tuple(members), first.identity))
    return tuple(tracklets)


def read_crops(crops: Iterable[Crop], bad: list[str] | None = None) -> Iterator[tuple[Crop, Image]]:
    """Yield each crop with its image, (H, W, 3) uint8 BGR, in order.

    An unreadable image raises :class:`ImageError`. If a list ``bad`` is given, the message is appended to it instead
    and the crop is left out.
    """
    for _, crop, image in read_placed(((0, crop) for crop in crops), bad):
        yield crop, image


def read_placed(crops: Iterable[tuple[int, Crop]], bad: list[str] | None) -> Iterator[tuple[int, Crop, Image]]:
    """:func:`read_crops` for crops that each have a number."""
    asked, files = tee(crops)
    for (place, crop), image in zip(asked, read_images((crop.path, crop.origin) for _, crop in files), strict=True):
        if not isinstance(image, ImageError):
            yield place, crop, image
        elif bad is None:
            raise ImageError(f"{image}; --skip-bad leaves such crops out")
        else:
            bad.append(str(image))


def spread_over_cameras(crops: Sequence[Crop], seed: int = 0) -> list[Crop]:
    """Order all crops so that any first part of the list is spread evenly over the cameras, at random within each."""
    by_camera: defaultdict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        by_camera[crop.camera].append(crop)
    generator = np.random.default_rng(seed)
    shuffled = [[members[i] for i in generator.permutation(len(members))] for _, members in sorted(by_camera.items())]
    return [crop for crop in chain(*zip_longest(*shuffled)) if crop is not None]


class CropEmbedder(Protocol):
    """The part of :class:`reid_toolkit.runtime.Embedder` that this module uses."""

    batch_size: int

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]: ...


def embed_groups(
    embedder: CropEmbedder, groups: Sequence[Sequence[Crop]], bad: list[str] | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each group's index and the descriptors of its crops, (n, D) float32, in order.

    One batch may hold crops of several groups, so that short groups fill the network and long groups need no more
    memory. Unreadable crops are treated as in :func:`read_crops`. A group without a readable crop is not yielded.
    """
    crops = ((place, crop) for place, group in enumerate(groups) for crop in group)
    frames = ((place, image) for place, _, image in read_placed(crops, bad))
    parts: defaultdict[int, list[NDArray[np.float32]]] = defaultdict(list)
    while batch := list(islice(frames, embedder.batch_size)):
        for (place, _), row in zip(batch, embedder.embed([image for _, image in batch]), strict=True):
            parts[place].append(row)
        for place in [place for place in parts if place != batch[-1][0]]:  # the last may go on in the next batch
            yield place, np.stack(parts.pop(place))
    for place, rows in parts.items():
        yield place, np.stack(rows)


def keep_crops(dataset: Dataset, kept: set[Crop]) -> Dataset:
    """Return the dataset with only the crops in ``kept``. Raises :class:`DatasetError` if none is left."""
    crops = [crop for crop in dataset.crops if crop in kept]
    if not crops:
        raise DatasetError(f"{dataset.root}: not one of its {len(dataset.crops)} crops can be read")
    return Dataset(dataset.root, dataset.layout, group_tracklets(crops))


def clock(tracklet: Tracklet) -> str:
    """Name the clock of a tracklet's times. Times of two tracklets can be compared if their clocks have the same name.

    The clock is the camera if times are Unix times. If times count from the start of a recording, it is the camera and
    that recording, because every recording begins at 0. If the recording is unknown, the clock is the tracklet's own.
    """
    if tracklet.start is not None and tracklet.start >= UNIX_TIMES[0]:
        return tracklet.camera
    first = tracklet.crops[0]
    return f"{tracklet.camera}\0{first.recording or ingested_from(first) or tracklet.name}"


def ingested_from(crop: Crop) -> str:
    """Return the recording's folder of a crop that an old version of `reid ingest` stored, else an empty string.

    Before manifests had a column for the recording, crops of tracklet RECORDING-TRACK lay in
    crops/RECORDING/TRACK/FRAME.jpg.
    """
    track = crop.path.parent
    return str(track.parent) if crop.tracklet == f"{track.parent.name}-{track.name}" else ""


def times(tracklets: Sequence[Tracklet]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Return clock, start and end of each tracklet for ``cannot_link_pairs``: seconds (N,), NaN if unknown."""
    starts, ends = (np.array([getattr(one, name) for one in tracklets], np.float64) for name in ("start", "end"))
    return [clock(tracklet) for tracklet in tracklets], starts, ends  # None became NaN
