"""RT-DETR (Zhao et al. 2023) and D-FINE (Peng et al. 2024), which give each object once and need no suppression."""

import numpy as np

from reid_toolkit.footage.detectors.forms import Floats, Form, in_pixels, labelled, strong
from reid_toolkit.footage.detectors.running import Arrays

SIZES = "orig_target_sizes"
"""A second input, (1, 2): width and height by which boxes are multiplied. We give 1 and 1, so boxes stay fractions."""
EXPECTED = f"for RT-DETR and D-FINE logits and pred_boxes, or labels, boxes and scores with a second input {SIZES}"
OTHERS = (91, 92)
"""Numbers of classes of the first DETR and similar models, which expect other pixel values and are not supported."""


def find(outputs: Arrays, height: int, width: int) -> Form | None:
    """Return the form of these outputs if it is one of this module."""
    output_shapes = {name: output.shape for name, output in outputs.items()}
    if output_shapes.keys() == {"logits", "pred_boxes"}:
        logits, boxes = output_shapes["logits"], output_shapes["pred_boxes"]
        if len(logits) == 3 and boxes == (1, logits[1], 4) and logits[2] not in OTHERS:
            return Queries(logits[2], height, width)
    if output_shapes.keys() == {"labels", "boxes", "scores"} and len(output_shapes["labels"]) == 2:
        labels, boxes, scores = output_shapes["labels"], output_shapes["boxes"], output_shapes["scores"]
        if labels == scores == boxes[:2] and boxes[2:] == (4,):
            return Best(height, width)
    return None


class Detr:
    """The base of both forms."""

    family, letterboxed, rgb = "detr", False, True
    person: int | None = None
    labels: int | None = None

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width


class Queries(Detr):
    """As transformers exports them: ``logits`` (1, N, classes), and ``pred_boxes`` (1, N, 4), centre and size as
    fractions."""

    def __init__(self, labels: int, height: int, width: int) -> None:
        super().__init__(height, width)
        self.labels = labels

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        logits, rows = outputs["logits"][0], outputs["pred_boxes"][0]
        chosen = logits.max(axis=1) if person is None else logits[:, person]
        scores = np.exp(-np.logaddexp(0, -chosen))  # the logistic function, without overflow for large values
        kept = strong(scores)
        centres, sizes = rows[kept, :2], rows[kept, 2:]
        boxes = np.hstack([centres - sizes / 2, centres + sizes / 2])
        return in_pixels(boxes, self.height, self.width), scores[kept].astype(np.float32)


class Best(Detr):
    """As their authors export them: the best ``labels`` (1, N), ``boxes`` (1, N, 4) as corners, ``scores`` (1, N)."""

    person: int | None = 0
    """The label in COCO."""

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        labels, boxes, scores = (outputs[name][0] for name in ("labels", "boxes", "scores"))
        kept = labelled(labels, person) & strong(scores)
        return in_pixels(boxes[kept], self.height, self.width), scores[kept].astype(np.float32)
