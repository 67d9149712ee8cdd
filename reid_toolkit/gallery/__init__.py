"""The gallery: descriptors and records in, matches out. No pictures, no torch."""

from reid_toolkit.gallery.gallery import Gallery

__all__ = ["Gallery"]
