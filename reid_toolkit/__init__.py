"""reid: unsupervised person re-identification, from camera recordings to search on an edge box.

Importing this package loads no torch, no OpenCV and no onnxruntime; each part is imported by its own name
(``reid_toolkit.runtime``, ``reid_toolkit.gallery``, ...).
"""

import os

# onnxruntime notes each use of a model in the home folder, and sends that to its maker. It looks at this when it is
# imported, which every part of this package does later.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from reid_toolkit.errors import ReidError
from reid_toolkit.records import Crop, Match, Record, Tracklet
from reid_toolkit.version import __version__

__all__ = ["Crop", "Match", "Record", "ReidError", "Tracklet", "__version__"]
