"""What every reader returns: tracklets in a fixed order, and a fingerprint of what they are made of."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop, Tracklet


@dataclass(frozen=True)
class Dataset:
    """A folder of crops, read in place. Tracklets are sorted by name, so that no file system decides an order."""

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
        """16 hex digits over what the dataset holds: each crop's tracklet, camera, path and file size.

        Identities do not enter it: labelling a dataset afterwards does not change what a model was trained on.
        """
        digest = hashlib.sha256()
        for crop in self.crops:
            path = crop.path.relative_to(self.root).as_posix()
            row = (crop.tracklet, crop.camera, path, str(crop.path.stat().st_size))
            digest.update("\0".join(row).encode(errors="surrogateescape") + b"\n")  # names need not be UTF-8
        return digest.hexdigest()[:16]

    def with_identities(self, identities: dict[str, str]) -> "Dataset":
        """The same dataset, with the identity of each tracklet taken from ``identities`` (tracklet -> identity).

        For evaluation only. Tracklets that are not named there lose the identity they had. Names of other tracklets
        are passed over; see :func:`with_identities`.
        """
        return replace(self, tracklets=tuple(identify(t, identities.get(t.name)) for t in self.tracklets))


def with_identities(parts: Sequence[Dataset], identities: dict[str, str]) -> list[Dataset]:
    """Parts of one dataset, such as queries and gallery, with identities from one list of all their tracklets.

    Raises:
        DatasetError: a tracklet is named that none of them has.
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
    """The same tracklet and crops, as those of ``identity``."""
    crops = tuple(replace(crop, identity=identity) for crop in tracklet.crops)
    return replace(tracklet, identity=identity, crops=crops)


def group_tracklets(crops: Iterable[Crop]) -> tuple[Tracklet, ...]:
    """Gather crops by tracklet name; tracklets sorted by name, crops by frame and then path.

    Raises :class:`DatasetError` when one tracklet spans two cameras or two identities.
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
