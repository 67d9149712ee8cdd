"""How every gallery is asked: what needs no more than :meth:`Asking.search_batch` of its kind, said once."""

from abc import abstractmethod
from collections.abc import Collection

from numpy.typing import ArrayLike

from reid_toolkit.gallery.checks import one_row
from reid_toolkit.gallery.protocol import Filter
from reid_toolkit.records import Match, Record


class Asking:
    """A part of each kind of gallery."""

    @abstractmethod
    def search_batch(self, vectors: ArrayLike, top_k: int = 10, where: Filter | None = None) -> list[list[Match]]: ...

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
