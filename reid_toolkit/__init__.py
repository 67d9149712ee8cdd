"""reid: unsupervised person re-identification, from camera recordings to search on an edge box.

Importing this package loads no torch, no OpenCV and no onnxruntime. Import each part by its own name:
``reid_toolkit.runtime``, ``reid_toolkit.gallery`` and so on.
"""

import os

# onnxruntime records each use of a model in the home folder, and sends these records to its maker. It reads this
# variable when it is imported, and every part of this package imports it after this line.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from reid_toolkit.errors import ReidError
from reid_toolkit.records import Crop, Match, Record, Tracklet
from reid_toolkit.version import __version__

__all__ = ["Crop", "Match", "Record", "ReidError", "Tracklet", "__version__"]
