"""Search a gallery for the records that look like a query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.datasets.manifest import NAME, read_manifest
from reid_toolkit.errors import DatasetError, GalleryError, InputError, did_you_mean, refuse_unknown
from reid_toolkit.gallery import Filter, GalleryStore, Page
from reid_toolkit.gallery.pages import Grouping
from reid_toolkit.gallery.types import Info
from reid_toolkit.images import Image, read_image
from reid_toolkit.records import Crop, Match, Record
from reid_toolkit.runtime import Embedder
from reid_toolkit.search.answers import Answer, mark_answers
from reid_toolkit.search.confidence import NOTHING, Asked, ConfidenceScale

STEP = 1_000
""":meth:`Search.nearest` asks for so many matches at a time."""
EVERYTHING = Filter()


@dataclass(frozen=True)
class Query:
    """The person to search for."""

    name: str
    crops: tuple[Crop, ...]
    images: tuple[Image, ...]
    """An image for each crop, (H, W, 3) uint8 BGR."""
    dataset: Path | None = None
    """The dataset folder, if the query is a tracklet of a dataset."""

    @classmethod
    def of(cls, path: Path, tracklet: str | None = None) -> "Query":
        """The query that ``path`` shows: a picture, a folder of crops, or with ``tracklet`` that of a dataset folder.

        Raises:
            InputError: ``path`` or ``tracklet`` does not exist, or the folder does not hold crops of one person.
            ImageError: a picture cannot be read.
        """
        name, crops, dataset = crops_of(path, tracklet)
        return cls(name, crops, tuple(read_image(crop.path, crop.origin) for crop in crops), dataset)

    @property
    def camera(self) -> str | None:
        """The camera that the dataset names. None if it is unknown."""
        return self.crops[0].camera or None


@dataclass(frozen=True)
class Result:
    """The result of a search."""

    page: Page
    answers: list[Answer]
    camera: str | None
    """The query's camera, None if unknown."""
    statistics: CameraStatistics | None
    """The camera statistics that were used. None for none."""
    scale: ConfidenceScale


@dataclass(frozen=True)
class Search:
    """Searches in a gallery. Error messages call the gallery ``where``."""

    store: GalleryStore
    where: str
    model: Path | None = None
    """The file of the gallery's model. None for the file that the gallery remembers."""
    camera_statistics: bool = True
    """Remove each camera's bias before comparing, if the gallery has camera statistics."""
    loaded: Embedder | None = None
    """The gallery's model, if it is in memory already. None to load it when it is needed."""
    trial: bool = False
    """Whether a trial may choose OpenVINO for the model that is loaded. OpenVINO takes longer to load, so it is no gain
    for a single query."""

    @cached_property
    def count(self) -> int:
        """Number of records in the gallery. Read once, because Milvus needs a request for it."""
        return len(self.store)

    @cached_property
    def held(self) -> Info:
        """What the gallery holds. Read once, and only if needed, because Milvus reads all records for it."""
        return self.store.info()

    @cached_property
    def embedder(self) -> Embedder:
        """The gallery's model. Raises :class:`GalleryError` if the gallery is empty, if the file of its model is
        unknown or missing, or if another model was given."""
        if not self.count:
            raise GalleryError(f"{self.where}: the gallery is empty: enroll people first, with `reid enroll`")
        if self.loaded is not None:
            self.store.expect(self.loaded.dimension, self.loaded.fingerprint)
            return self.loaded
        path = self.model or self.store.model_file
        if path is None:
            raise GalleryError(f"{self.where}: the gallery does not know the file of its model: give --model FILE")
        if self.model is None and not path.is_file():
            raise GalleryError(f"{self.where}: its model {path} is not there any more: give --model FILE")
        embedder = Embedder(path, trial=self.trial)
        self.store.expect(embedder.dimension, embedder.fingerprint)
        return embedder

    def check_names(self, cameras: Iterable[str] = (), tags: Iterable[str] = ()) -> None:
        """Raise :class:`InputError` for a camera or tag that the gallery does not have, unless the gallery is empty."""
        if (cameras or tags) and self.count:
            refuse_unknown("camera", cameras, self.held.cameras, self.where)
            refuse_unknown("tag", tags, self.held.tags, self.where)

    def find(
        self,
        query: Query,
        top_k: int = 10,
        among: Filter = EVERYTHING,
        *,
        group: Grouping | None = None,
        after: str | None = None,
        query_camera: str | None = None,
        asked: Asked = NOTHING,
        truth: Mapping[str, str] | None = None,
    ) -> Result:
        """Find the records that look most like ``query``.

        If the query is a tracklet of a dataset, its own records are left out.

        Args:
            query: the person to search for.
            top_k, among, group, after: see :meth:`GalleryStore.search_page`.
            query_camera: the query's camera. None for the camera that its dataset names.
            asked: how to turn distances into probabilities. A calibration that does not fit is refused before the
                search.
            truth: identities by tracklet, to mark answers with.

        Raises:
            GalleryError: the gallery is empty, or holds descriptors of another model.
            ModelError: the calibration that ``asked`` needs does not fit.
        """
        vector = self.embedder.embed_tracklet(list(query.images))
        # If the dataset names no camera, `reid enroll --camera` has given the records a camera.
        cameras = [query.camera] if query.camera else self.held.cameras if query.dataset else []
        among = replace(among, exclude=[*among.exclude, *enrolled_as(query, cameras)])
        camera = query_camera or query.camera
        return self.find_like(
            vector, query.name, top_k, among, group=group, after=after, query_camera=camera, asked=asked, truth=truth
        )

    def find_like(
        self,
        vector: NDArray[np.float32],
        name: str,
        top_k: int = 10,
        among: Filter = EVERYTHING,
        *,
        group: Grouping | None = None,
        after: str | None = None,
        query_camera: str | None = None,
        asked: Asked = NOTHING,
        truth: Mapping[str, str] | None = None,
    ) -> Result:
        """:meth:`find` for a descriptor (D,) of this gallery's model. The audit log calls the query ``name``."""
        statistics, camera = self.statistics(), query_camera
        scale = self.scale(camera, asked, statistics)
        page = self.page(vector, top_k, among, name, camera, group=group, after=after)
        if page.statistics_version != (statistics.version if statistics else 0):
            # Another process has fitted new statistics meanwhile.
            statistics = self.statistics()
            scale = self.scale(camera, asked, statistics)
        return Result(page, mark_answers(page, name, truth or {}, scale), camera, statistics, scale)

    def nearest(
        self, query: Query, top_k: int | None, within: float | None, among: Filter, query_camera: str | None = None
    ) -> list[Match]:
        """The ``top_k`` nearest records, or with ``within`` all records up to this distance.

        The search is exact, because an index may miss a record. The query's own records are not left out.
        """
        vector = self.embedder.embed_tracklet(list(query.images))
        camera = query_camera or query.camera
        matches: list[Match] = []
        after, more = None, True
        while more:
            page = self.page(vector, top_k or STEP, among, query.name, camera, after=after)
            near = [match for match in page.matches if within is None or match.distance <= within]
            matches += near
            after = page.after
            more = within is not None and after is not None and len(near) == len(page.matches)
        return matches

    def statistics(self) -> CameraStatistics | None:
        """The camera statistics that searches use now. None for none."""
        return self.store.statistics() if self.camera_statistics else None

    def scale(self, camera: str | None, asked: Asked, statistics: CameraStatistics | None) -> ConfidenceScale:
        """The confidence scale for a query from ``camera``."""
        return ConfidenceScale(self.embedder, self.count, camera, asked, statistics.digest if statistics else None)

    def page(
        self,
        vector: NDArray[np.float32],
        top_k: int,
        among: Filter,
        name: str,
        camera: str | None,
        *,
        group: Grouping | None = None,
        after: str | None = None,
    ) -> Page:
        """A page of matches of ``vector`` (D,). The audit log calls the query ``name``."""
        return self.store.search_page(
            vector, top_k, among, group=group, after=after, query_camera=camera,
            camera_statistics=self.camera_statistics, name=name,
        )  # fmt: skip


def crops_of(path: Path, tracklet: str | None) -> tuple[str, tuple[Crop, ...], Path | None]:
    """The query's name and crops, and the dataset folder if it is a tracklet of a dataset."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder: expected an image, a folder of crops, or a dataset")
    if tracklet is not None:
        dataset = open_dataset(path, split="query")
        for one in dataset.tracklets:
            if one.name == tracklet:
                return one.name, one.crops, dataset.root.resolve()
        raise InputError(
            f"{path}: no tracklet {tracklet!r}{did_you_mean(tracklet, [one.name for one in dataset.tracklets])}: "
            f"expected one of its {len(dataset.tracklets)} tracklets, such as {dataset.tracklets[0].name!r}"
        )
    if path.is_file():
        _, (crop,) = described_by_dataset([path]) or (None, (Crop(path.resolve(), "", path.stem),))
        return path.stem, (crop,), None
    images = [] if (path / NAME).exists() else [image for image in find_images(path) if image.parent == path]
    if not images:
        raise InputError(
            f"{path}: not a folder of crops of one person: expected images in it; for a dataset, choose a tracklet "
            "with --tracklet ID"
        )
    name = path.resolve().name
    described = described_by_dataset(images)
    if described:
        dataset, crops = described
        whole = next((one for one in dataset.tracklets if set(one.crops) == set(crops)), None)
        return (whole.name, whole.crops, dataset.root) if whole else (name, crops, None)
    return name, tuple(Crop(image.resolve(), "", name) for image in images), None


def described_by_dataset(images: Sequence[Path]) -> tuple[Dataset, tuple[Crop, ...]] | None:
    """The dataset in whose folder the images lie, and its crops for them.

    None if they lie in no dataset with a manifest, or are not all crops of the same camera.
    """
    paths = [image.resolve() for image in images]
    root = next((folder for folder in paths[0].parents if (folder / NAME).is_file()), None)
    if root is None:
        return None
    try:
        dataset = read_manifest(root)
    except DatasetError:  # another program's manifest, or a damaged one: the pictures can be a query all the same
        return None
    of = {crop.path: crop for crop in dataset.crops}
    if not all(path in of for path in paths):
        return None
    crops = tuple(of[path] for path in paths)
    return (dataset, crops) if len({crop.camera for crop in crops}) == 1 else None


def enrolled_as(query: Query, cameras: Iterable[str]) -> list[Record]:
    """The records under which the query may be enrolled in ``cameras``, as a tracklet or crop by crop."""
    if query.dataset is None:
        return []
    sources = [query.dataset, *(crop.path.resolve() for crop in query.crops)]
    return [Record(query.name, camera, source=str(source)) for camera in cameras for source in sources]
