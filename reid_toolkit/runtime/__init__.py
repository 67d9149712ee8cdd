"""Turn crops into descriptors on the edge. Needs numpy, OpenCV and onnxruntime, but no torch."""

from reid_toolkit.runtime.embedder import Embedder
from reid_toolkit.runtime.tracklets import TrackletAverage

__all__ = ["Embedder", "TrackletAverage"]
