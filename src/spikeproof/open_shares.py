"""Gates of masks in training: their first weights, and offsets that hold the shares that are to stay open."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .convert import batch_size, to_codes
from .pruners.masks import CHANNELS, SPATIAL
from .training import Method

if TYPE_CHECKING:
    from .annotations import Json
    from .datasets.base import PreparedData
    from .models import CodeNetwork
    from .models.code_layers import CodeLayer
    from .pruners.masks import MaskPruner

__all__ = ["OpenShares", "start_gates"]

#: So many comparisons of a batch give the quantile.
SAMPLES = 50_000
#: So many training images give the gates' first scale and offset.
CALIBRATION = 256


def gates_of(model: CodeNetwork, pruner: MaskPruner) -> list[CodeLayer]:
    """The CodeLayers of a masked network that compare something."""
    return [layer for layer in model.layers if layer.shape.stateless and pruner.share(layer.shape.name, 0) is not None]


def level(layer: CodeLayer, share: float | None) -> torch.Tensor:
    """The value above which that share of the last batch's comparisons lies."""
    assert layer.drive is not None and share is not None
    drive = layer.drive[0].flatten()
    drive = drive[::max(1, drive.numel() // SAMPLES)]
    return drive.kthvalue(1 + int((1 - share) * (len(drive) - 1))).values


@torch.no_grad()
def start_gates(model: CodeNetwork, data: PreparedData, pruner: MaskPruner) -> None:
    """Draw the gates' weights, scale them so that what they compare deviates by 1 on drawn training images, and set their offsets.

    Parameters
    ----------
    model : CodeNetwork with the layers of ``pruner``
    data : PreparedData
    pruner : MaskPruner
    """
    drawn = torch.randperm(len(data.frames["train"]))[:batch_size(model, CALIBRATION)].sort().values
    x = to_codes(data.frames["train"][drawn.numpy()], data.input.constant)
    for layer in gates_of(model, pruner):
        layer.weights[0].normal_(0, layer.weights[0][0].numel() ** -0.5)
        model.trace(x)
        assert layer.drive is not None
        layer.weights[0].div_(layer.drive[0].std().clamp(min=1e-3))
        model.trace(x)
        layer.offset.add_(1 - level(layer, pruner.share(layer.shape.name, 0)))


class OpenShares(Method):
    """Moves the offsets of gates after every step, so that a running quantile of what they compare is at their threshold.

    Parameters
    ----------
    pruner : MaskPruner
    """
    def __init__(self, pruner: MaskPruner) -> None:
        self.pruner, self.epoch = pruner, 0

    def start(self, model: CodeNetwork) -> None:                     # type: ignore[override]
        self.gates = gates_of(model, self.pruner)
        for layer in self.gates:                                     # of one map, the offset is what holds the share
            layer.offset.requires_grad_(len(layer.offset) > 1)
        self._restart()

    def state(self) -> tuple[Json, dict[str, torch.Tensor]]:
        return {"epoch": self.epoch}, {}

    def restore(self, value: Json, tensors: dict[str, torch.Tensor]) -> None:
        self.epoch = value["epoch"]

    def _restart(self) -> None:
        self.open, self.steps = [0.0] * len(self.gates), 0

    @torch.no_grad()
    def after_step(self) -> None:
        self.steps += 1
        for k, layer in enumerate(self.gates):
            share = self.pruner.share(layer.shape.name, self.epoch)
            layer.offset.add_(self.pruner.options.rate * (1 - level(layer, share)))
            assert layer.drive is not None
            self.open[k] += float(layer.drive[1].mean())

    def after_epoch(self, loss: float) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, kind in (("open_positions", SPATIAL), ("open_channels", CHANNELS)):
            seen = [of / max(self.steps, 1) for of, layer in zip(self.open, self.gates) if layer.shape.name.endswith(kind)]
            if seen:
                found[key] = sum(seen) / len(seen)
        self.epoch += 1
        self._restart()
        return found
