"""Files in object storage: S3 and what speaks like it, Google Cloud Storage, Azure, and web servers, by fsspec.

A :class:`StoredPath` stands for an object as :class:`pathlib.Path` stands for a file, and has those methods of it that
this package uses. Files on this machine stay plain paths. universal-pathlib has more methods, but its ``is_file`` says
no if the store does not answer, and its other methods raise the errors of each store's own package.
"""

from reid_toolkit.storage.path import StoredPath, is_stored, path_of
from reid_toolkit.storage.store import is_address

__all__ = ["StoredPath", "is_address", "is_stored", "path_of"]
