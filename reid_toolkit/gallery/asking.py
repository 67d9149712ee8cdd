"""How every gallery is asked: what needs no more than the searches of its kind, said once."""

from abc import abstractmethod
from collections.abc import Collection

from numpy.typing import ArrayLike

from reid_toolkit.gallery.checks import one_row
from reid_toolkit.gallery.paging import page_of
from reid_toolkit.gallery.protocol import Filter, Grouping, Info, Page, Position
from reid_toolkit.records import Match, Record


class Asking:
    """A part of each kind of gallery."""

    @abstractmethod
    def search_batch(self, vectors: ArrayLike, top_k: int = 10, where: Filter | None = None) -> list[list[Match]]: ...

    @abstractmethod
    def search_after(
        self, vector: ArrayLike, top_k: int = 10, where: Filter | None = None, after: Position | None = None
    ) -> list[tuple[Match, Position]]: ...

    @property
    @abstractmethod
    def identity(self) -> str: ...

    @abstractmethod
    def info(self) -> Info: ...

    def search(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        cameras: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        *,
        sources: Collection[str] | None = None,
        tags: Collection[str] = (),
        exclude: Collection[Record] = (),
    ) -> list[Match]:
        """The ``top_k`` records nearest to ``vector`` (D,) float L2-normalised, nearest first.

        Only those that pass all filters, which are those of :class:`Filter`. Fewer when fewer pass; of equal
        distances the earlier enrolled comes first.
        Raises :class:`InputError` for another shape, width or length, NaN, or a filter that cannot be right,
        :class:`GalleryError` when nothing is enrolled.
        """
        where = Filter(cameras, since, until, sources, tags, exclude)
        return self.search_batch(one_row(vector), top_k, where)[0]

    def search_page(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        where: Filter | None = None,
        *,
        group: Grouping | None = None,
        after: str | None = None,
    ) -> Page:
        """The next ``top_k`` matches of ``vector`` (D,) float L2-normalised behind the cursor ``after``, or the first.

        group: None for records as they are; "tracklet" for one match a tracklet, its nearest record, where crops are
        enrolled each; "camera" for the ``top_k`` of each camera. With the cursors of all pages, everything that
        passes is shown: what is there all along once, whatever is added or deleted between two pages.
        Raises what :meth:`search` does, and :class:`InputError` for a cursor that is none, or was made with another
        descriptor (to the last bit), gallery, filter or grouping; ``top_k`` may change.
        """
        return page_of(self, one_row(vector), top_k, where or Filter(), group, after)
