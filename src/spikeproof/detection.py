"""Boxes from the membranes of a last layer: the head of YOLO-V2 (Redmon and Farhadi, 2017), its loss, and mean average precision.

The last layer is a map of cells. Each cell has, for every anchor, four numbers of a box, one for whether there is one, and one per
class. All that the integer network computes are these numbers, as membranes; what is here turns them into boxes in real numbers, in
training as after the core.
"""
from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeVar

    from .annotations import Array

    #: Boxes, of either library.
    Boxes = TypeVar("Boxes", torch.Tensor, Array)

__all__ = ["BoxHead", "BoxTargets", "mean_average_precision", "overlaps"]

#: Boxes that the score does not reach are left out, and of boxes of one class that overlap more, all but the best.
LEAST_SCORE, MOST_OVERLAP = 0.01, 0.45
#: At most so many boxes of an image are kept, the best.
MOST_BOXES = 100
#: Weights of the loss (Redmon et al., 2016), and the overlap above which a box that nobody asked for costs nothing.
COORDINATES, EMPTY, GOOD_ENOUGH = 5.0, 0.5, 0.6


def overlaps(one: Boxes, other: Boxes) -> Boxes:
    """Intersection over union of boxes [n, 4] and [m, 4] (left, top, width, height), tensors or arrays -> [n, m]."""
    library = torch if isinstance(one, torch.Tensor) else np
    a, b = one[:, None], other[None]
    sides = [library.minimum(a[..., k] + a[..., k + 2], b[..., k] + b[..., k + 2]) - library.maximum(a[..., k], b[..., k])
             for k in (0, 1)]
    shared = library.maximum(sides[0], sides[0] * 0) * library.maximum(sides[1], sides[1] * 0)
    return shared / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared + 1e-9)


class BoxHead:
    """What a last layer's map means.

    Parameters
    ----------
    anchors : list of (width, height), pixels of the input
    classes : int
    image : (height, width) of the input
    cells : (height, width) of the map
    """
    def __init__(self, anchors: Sequence[Sequence[float]], classes: int, image: Sequence[int], cells: Sequence[int]) -> None:
        self.anchors, self.classes, self.cells = [tuple(map(float, of)) for of in anchors], classes, tuple(cells)
        self.cell = image[0] / cells[0], image[1] / cells[1]

    def split(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """logits [B, C * h * w] -> (x and y of centres, log of sizes over anchors, box or not, classes), [B, A, h, w, ...]."""
        out = logits.reshape(len(logits), len(self.anchors), 5 + self.classes, *self.cells).permute(0, 1, 3, 4, 2)
        return out[..., :2], out[..., 2:4], out[..., 4], out[..., 5:]

    def boxes(self, centres: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """What :meth:`split` gave -> boxes [B, A, h, w, 4] (left, top, width, height), pixels."""
        rows, columns = (torch.arange(n, dtype=centres.dtype, device=centres.device) for n in self.cells)
        anchors = centres.new_tensor(self.anchors)[:, None, None]
        x = (centres[..., 0].sigmoid() + columns) * self.cell[1]
        y = (centres[..., 1].sigmoid() + rows[:, None]) * self.cell[0]
        wide = anchors * sizes.clamp(max=6).exp()
        return torch.stack([x - wide[..., 0] / 2, y - wide[..., 1] / 2, wide[..., 0], wide[..., 1]], -1)

    @torch.no_grad()
    def found(self, logits: torch.Tensor) -> list[Array]:
        """logits [B, C * h * w] -> per image float32 [n, 6]: left, top, width, height, class, score; best first.

        Boxes of one class that overlap a better one are left out.
        """
        centres, sizes, there, classes = self.split(logits.float())
        boxes, scores = self.boxes(centres, sizes).flatten(1, 3), (there.sigmoid()[..., None] * classes.softmax(-1)).flatten(1, 3)
        found = []
        for box, score in zip(boxes.cpu().numpy(), scores.cpu().numpy()):
            rows = []
            for kind in range(self.classes):
                order = [k for k in np.argsort(-score[:, kind], kind="stable") if score[k, kind] >= LEAST_SCORE]
                while order:
                    best, *order = order
                    rows.append([*box[best], kind, score[best, kind]])
                    near = overlaps(box[best][None], box[order])[0] if order else ()
                    order = [k for k, overlap in zip(order, near) if overlap <= MOST_OVERLAP]
            rows.sort(key=lambda row: -row[5])
            found.append(np.array(rows[:MOST_BOXES], np.float32).reshape(-1, 6))
        return found


class BoxTargets:
    """Boxes of a batch.

    Parameters
    ----------
    head : BoxHead
    rows : list of float32 arrays [n, 5]: left, top, width, height, class
    """
    def __init__(self, head: BoxHead, rows: Sequence[Array]) -> None:
        self.head, self.rows = head, rows

    def to(self, device: torch.device | str) -> BoxTargets:
        """The same; boxes go where the logits are."""
        return self

    def loss(self, logits: torch.Tensor, *_: object) -> torch.Tensor:
        """The loss of YOLO-V2, a mean over images.

        Each box belongs to the cell of its centre and to the anchor there that has its shape most nearly: squared errors of centre
        and log of size, cross entropy of its class, and whether a box is there. Where none is, that must be said, but of boxes that
        overlap one by more than 0.6 anyway.
        """
        head = self.head
        centres, sizes, there, classes = head.split(logits)
        boxes = head.boxes(centres, sizes)
        empty, total = torch.ones_like(there), logits.new_zeros(())
        anchors = logits.new_tensor([[0, 0, *anchor] for anchor in head.anchors])
        for image, rows in enumerate(self.rows):
            if not len(rows):
                continue
            wanted = torch.as_tensor(np.array(rows), dtype=logits.dtype, device=logits.device)
            with torch.no_grad():
                shared = overlaps(boxes[image].reshape(-1, 4), wanted[:, :4]).amax(1).reshape(there[image].shape)
                empty[image][shared > GOOD_ENOUGH] = 0
            x, y = (wanted[:, 0] + wanted[:, 2] / 2) / head.cell[1], (wanted[:, 1] + wanted[:, 3] / 2) / head.cell[0]
            column, row = x.long().clamp(0, head.cells[1] - 1), y.long().clamp(0, head.cells[0] - 1)
            anchor = overlaps(torch.cat([torch.zeros_like(wanted[:, :2]), wanted[:, 2:4]], 1), anchors).argmax(1)
            at = image, anchor, row, column
            empty[at] = 0
            inside = torch.stack([x - column, y - row], 1).clamp(0, 1)
            ratio = (wanted[:, 2:4].clamp(min=1e-3) / anchors[anchor, 2:]).log()
            total = total + COORDINATES * ((centres[at].sigmoid() - inside).square().sum() + (sizes[at] - ratio).square().sum())
            total = total + F.binary_cross_entropy_with_logits(there[at], torch.ones_like(there[at]), reduction="sum")
            total = total + F.cross_entropy(classes[at], wanted[:, 4].long(), reduction="sum")
        nothing = F.binary_cross_entropy_with_logits(there, torch.zeros_like(there), reduction="none")
        return (total + EMPTY * (nothing * empty).sum()) / len(logits)

    def right(self, logits: torch.Tensor) -> int:
        """Nothing of one image is right or wrong as a whole."""
        return 0


def mean_average_precision(found: Sequence[Array], boxes: Iterable[Array], classes: int) -> tuple[float, float]:
    """COCO's mean average precision (pycocotools): over classes and overlaps of 0.5 to 0.95 -> (that, the same at 0.5).

    Parameters
    ----------
    found : list of arrays [n, 6] as :meth:`BoxHead.found` gives them
    boxes : iterable of arrays [m, 5], as many
    classes : int
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    own: list[dict[str, object]]
    truth, own, n = COCO(), [], 0
    annotations = []
    for image, rows in enumerate(boxes):
        for left, top, width, height, kind in np.asarray(rows, float).tolist():
            n += 1
            annotations.append({"id": n, "image_id": image, "category_id": int(kind), "bbox": [left, top, width, height],
                                "area": width * height, "iscrowd": 0})
    truth.dataset = {"images": [{"id": k} for k in range(len(found))], "annotations": annotations,
                     "categories": [{"id": k} for k in range(classes)]}
    for image, rows in enumerate(found):
        own += [{"image_id": image, "category_id": int(kind), "bbox": [left, top, width, height], "score": score}
                for left, top, width, height, kind, score in np.asarray(rows, float).tolist()]
    if not own:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):                  # it reports on every step
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(own), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])
