"""The gallery stores descriptors with records, and finds the nearest. No torch, and no pictures unless asked for."""

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.local.gallery import Gallery
from reid_toolkit.gallery.open import open_gallery
from reid_toolkit.gallery.pages import Page
from reid_toolkit.gallery.types import Filter

__all__ = ["Filter", "Gallery", "GalleryStore", "Page", "open_gallery"]
