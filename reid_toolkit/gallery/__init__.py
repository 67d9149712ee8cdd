"""The gallery: descriptors and records in, matches out. No torch, and no pictures unless they are asked for."""

from reid_toolkit.gallery.criteria import Filter
from reid_toolkit.gallery.gallery import Gallery
from reid_toolkit.gallery.open import open_gallery
from reid_toolkit.gallery.paging import Page
from reid_toolkit.gallery.protocol import GalleryStore

__all__ = ["Filter", "Gallery", "GalleryStore", "Page", "open_gallery"]
