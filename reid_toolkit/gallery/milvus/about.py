"""Facts about a gallery that its Milvus collection stores: width, model, retention."""

from pathlib import Path

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.milvus.collection import METRIC, Collection
from reid_toolkit.gallery.milvus.compared import drop_versions
from reid_toolkit.gallery.milvus.properties import (  # fmt: skip
    BLOCKED,
    BUSY,
    COMPARED,
    COPIED,
    FORMAT,
    LAST,
    MODEL,
    MODEL_FILE,
    NEXT,
    OF,
    PEOPLE,
    RETENTION,
    SEEN,
    STATISTICS,
    VERSION,
    following,
)
from reid_toolkit.gallery.validation import check_seconds, of_another

PARTS = {
    STATISTICS: "camera statistics",
    COMPARED: "camera statistics",
    BLOCKED: "the block list",
    PEOPLE: "the people",
}
"""How messages call the collections beside a gallery's own."""


class About:
    """A part of :class:`MilvusGallery`. Other processes may create the collection, or change its properties, at any
    time.
    """

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
        """Whether the collection exists. Another process may have created it meanwhile."""
        if not self._made and self._collection.exists():
            self._look()
            if not self._collection.index():
                # A process that was killed while it replaced the index has left none.
                self._collection.make_index("FLAT")
            self._collection.load()
            self._made = True
        return self._made

    def _look(self) -> None:
        """Read the collection's width and properties. Raises :class:`GalleryError` if it is not a gallery."""
        self._dimension, self._properties = self._collection.describe()
        kind = self._properties.get(FORMAT)
        if kind in PARTS:
            part = PARTS[kind]
            raise GalleryError(
                f"{self._where}: is not a gallery, but {part} of the gallery {self._properties.get(OF)}: open that one"
            )
        if self._dimension is None or kind != "1":
            raise GalleryError(f"{self._where}: is a collection of another program: choose another name")
        metric = self._collection.index().get("metric_type", METRIC)
        if metric != METRIC:
            raise GalleryError(
                f"{self._where}: made for the metric {metric!r}, expected {METRIC!r}: enroll into a new gallery"
            )

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Require this width and model from now on. An empty gallery takes them over."""
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
        # The width and model that this gallery was opened with stay, even while it is empty.
        stands = held if len(self) else self._expected
        for what in others:
            if stands.get(what, wanted[what]) != wanted[what]:
                raise GalleryError(of_another(self._where, what, stands[what], wanted[what]))
        if self._made and self._properties.get(LAST):
            self._forget_statistics()  # they are of another width or model
        if self._made and "width" in others:
            self._collection.drop()
            self._made = False
        if "width" in others:
            self._dimension = int(wanted["width"])
        self._keep({MODEL: str(wanted["model"])} if "model" in wanted else {})

    def _keep(self, known: dict[str, str]) -> None:
        """Store properties in Milvus. The collection is created as soon as its width is known."""
        if self._is_there():
            self._look()
        self._properties |= known
        if self._made:
            if known:
                self._collection.set_properties(known)  # no others, so that changes by other processes stay
        elif self._dimension:
            self._collection.create(self._dimension, self._properties)
            self._made = True

    def _forget_statistics(self) -> None:
        """Remove the camera statistics: first from the properties, then their collections."""
        # The new number makes a process that is fitting a version give up.
        last = following(self._properties)
        nothing = {VERSION: "", NEXT: "", LAST: last, SEEN: "", BUSY: ""}
        self._collection.set_properties(nothing)
        self._properties |= nothing
        drop_versions(self._collection, keep=())

    @property
    def retention(self) -> float | None:
        """Seconds after which a record is hidden from searches. None for never."""
        if self._is_there():
            # Read each time, because another process may have changed it. Compared with a strong read, it costs
            # nothing.
            _, self._properties = self._collection.describe()
        return self._kept()

    def _kept(self) -> float | None:
        """The retention when the properties were last read."""
        return float(self._properties.get(RETENTION) or 0) or None

    def keep_for(self, seconds: float | None) -> None:
        """Set the retention in seconds, None for no limit. This deletes nothing: :meth:`expire` does."""
        check_seconds(seconds)
        self._keep({RETENTION: "" if seconds is None else repr(float(seconds))})

    def remember_model_file(self, path: Path) -> None:
        """Store the path of the model file, so that searches find it."""
        self._keep({MODEL_FILE: str(path)})

    @property
    def model_file(self) -> Path | None:
        """The path that :meth:`remember_model_file` stored. None if there is none."""
        held = self._properties.get(MODEL_FILE)
        return Path(held) if held else None

    def remember_copy(self, text: str) -> None:
        """Store what a copy has made of this gallery."""
        self._keep({COPIED: text})

    @property
    def copied(self) -> str:
        """The text that :meth:`remember_copy` stored. Empty if there is none."""
        return self._properties.get(COPIED) or ""
