"""reid: unsupervised person re-identification, from camera recordings to search on an edge box.

Importing this package loads no torch, no OpenCV and no onnxruntime; each part is imported by its own name
(``reid_toolkit.runtime``, ``reid_toolkit.gallery``, ...).
"""

from reid_toolkit.errors import ReidError
from reid_toolkit.records import Crop, Match, Record, Tracklet
from reid_toolkit.version import __version__

__all__ = ["Crop", "Match", "Record", "ReidError", "Tracklet", "__version__"]
