"""Crops to descriptors on the edge: numpy, OpenCV and onnxruntime, no torch."""

from reid_toolkit.runtime.averager import TrackletAverage
from reid_toolkit.runtime.embedder import Embedder

__all__ = ["Embedder", "TrackletAverage"]
