"""Crops to descriptors on the edge: numpy, OpenCV and onnxruntime, no torch."""

from reid_toolkit.runtime.embedder import Embedder
from reid_toolkit.runtime.tracklets import TrackletAverage

__all__ = ["Embedder", "TrackletAverage"]
