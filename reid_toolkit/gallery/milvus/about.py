"""What a collection of Milvus says about the gallery in it: width, model, retention."""

from pathlib import Path

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.milvus.collection import METRIC, Collection
from reid_toolkit.gallery.milvus.compared import drop_versions
from reid_toolkit.gallery.milvus.properties import (  # fmt: skip
    BLOCKED,
    BUSY,
    COMPARED,
    FORMAT,
    LAST,
    MODEL,
    MODEL_FILE,
    NEXT,
    OF,
    RETENTION,
    SEEN,
    STATISTICS,
    VERSION,
    following,
)
from reid_toolkit.gallery.validation import check_seconds, of_another


class About:
    """A part of :class:`MilvusGallery`. Another process may make the collection, or change what it says, any time."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._where = collection.address.text
        self._expected: dict[str, str | int] = {}  # "width" and "model", as far as given
        self._dimension: int | None = None
        self._properties: dict[str, str] = {FORMAT: "1"}
        self._made = False

    def __len__(self) -> int:
        return self._collection.count() if self._is_there() else 0

    def _is_there(self) -> bool:
        """Whether there is a collection, which another process may have made meanwhile."""
        if not self._made and self._collection.exists():
            self._look()
            if not self._collection.index():
                # A process that was killed between two indexes left none.
                self._collection.make_index("FLAT")
            self._collection.load()
            self._made = True
        return self._made

    def _look(self) -> None:
        """Read what the collection says about itself."""
        self._dimension, self._properties = self._collection.describe()
        kind = self._properties.get(FORMAT)
        if kind in (STATISTICS, COMPARED, BLOCKED):
            part = "the block list" if kind == BLOCKED else "camera statistics"
            raise GalleryError(
                f"{self._where}: no gallery, but {part} of the gallery {self._properties.get(OF)}: open that one"
            )
        if self._dimension is None or kind != "1":
            raise GalleryError(f"{self._where}: a collection of another program: choose another name")
        metric = self._collection.index().get("metric_type", METRIC)
        if metric != METRIC:
            raise GalleryError(f"{self._where}: made for the metric {metric!r}: expected {METRIC!r}; enroll anew")

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Hold the gallery to this width and model from now on; an empty one takes them over."""
        given = {what: value for what, value in (("width", dimension), ("model", model)) if value is not None}
        self._bind(self._expected | given)
        self._expected |= given

    def _bind(self, wanted: dict[str, str | int]) -> None:
        if self._is_there():
            self._look()
        held = {"width": self._dimension, "model": self._properties.get(MODEL)}
        others = [what for what, value in wanted.items() if held[what] != value]
        if not others:
            return
        # What this gallery was opened for stands, even while it is empty.
        stands = held if len(self) else self._expected
        for what in others:
            if stands.get(what, wanted[what]) != wanted[what]:
                raise GalleryError(of_another(self._where, what, stands[what], wanted[what]))
        if self._made and self._properties.get(LAST):
            self._forget_statistics()  # which are of another width or model
        if self._made and "width" in others:
            self._collection.drop()
            self._made = False
        if "width" in others:
            self._dimension = int(wanted["width"])
        self._keep({MODEL: str(wanted["model"])} if "model" in wanted else {})

    def _keep(self, known: dict[str, str]) -> None:
        """Put down in Milvus what is known about the gallery, which is made once its width is known."""
        if self._is_there():
            self._look()
        self._properties |= known
        if self._made:
            if known:
                self._collection.set_properties(known)  # no others, or what has changed since would be changed back
        elif self._dimension:
            self._collection.create(self._dimension, self._properties)
            self._made = True

    def _forget_statistics(self) -> None:
        """The gallery has no camera statistics any more: first it says so, then they go."""
        # A version that is being made is overtaken.
        last = following(self._properties)
        nothing = {VERSION: "", NEXT: "", LAST: last, SEEN: "", BUSY: ""}
        self._collection.set_properties(nothing)
        self._properties |= nothing
        drop_versions(self._collection, keep=())

    @property
    def retention(self) -> float | None:
        """Seconds after which a record is not shown any more; None for ever."""
        if self._is_there():
            # Each time, since another process may have changed it: next to a strong read that costs nothing.
            _, self._properties = self._collection.describe()
        return self._kept()

    def _kept(self) -> float | None:
        """The retention, as of when the properties were last read."""
        return float(self._properties.get(RETENTION) or 0) or None

    def keep_for(self, seconds: float | None) -> None:
        """Set the retention, in seconds; None for ever. Deletes nothing: :meth:`expire` does."""
        check_seconds(seconds)
        self._keep({RETENTION: "" if seconds is None else repr(float(seconds))})

    def remember_model_file(self, path: Path) -> None:
        """Keep where the model lies, so that a search need not be told."""
        self._keep({MODEL_FILE: str(path)})

    @property
    def model_file(self) -> Path | None:
        """What :meth:`remember_model_file` was told last."""
        held = self._properties.get(MODEL_FILE)
        return Path(held) if held else None
