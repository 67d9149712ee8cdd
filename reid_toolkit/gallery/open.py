"""Open a gallery of any kind by its folder or address."""

from pathlib import Path

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.local.gallery import WAIT, Gallery


def open_gallery(
    where: str | Path,
    dimension: int | None = None,
    model: str | None = None,
    create: bool = True,
    *,
    wait: float = WAIT,
) -> GalleryStore:
    """Open the gallery in a folder or at a Milvus address. The arguments are those of :meth:`Gallery.open`.

    wait: seconds for which a write waits for another writer to finish. Raises :class:`InputError` for an unknown kind
    of address, and for an empty one.
    """
    if where == "":  # Path("") is the working folder
        raise InputError("'': expected the folder or address of a gallery")
    scheme, separator, _ = str(where).partition("://")
    if scheme in ("milvus", "milvus-lite") and separator:
        # Imported here, because pymilvus is an extra and takes a second to import.
        from reid_toolkit.gallery.milvus.gallery import MilvusGallery

        return MilvusGallery.open(str(where), dimension, model, create)
    if separator:
        raise InputError(f"{where}: no gallery of kind {scheme!r}: expected a folder, milvus:// or milvus-lite://")
    return Gallery.open(where, dimension, model, create, wait=wait)
