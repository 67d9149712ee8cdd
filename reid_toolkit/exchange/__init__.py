"""Boxes and tracks in other programs' files: MOT, COCO, CVAT and FiftyOne (docs/exchange.md)."""
