"""A trained network whose membranes are held above a bound, without training on (SpQuant-SNN, Eq. 5 and 6, Table 1)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ..options import Options
from .base import NetworkNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..annotations import Json, Say
    from ..architectures.base import Architecture
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork
    from ..neurons.base import Neuron

__all__ = ["MembraneClipping"]


class MembraneClipping:
    """Accuracy and firing of a network in full precision when its membranes are clipped from below, and when they are rounded too.

    For a bound c, the clipped neurons are those whose membrane is below c after the first step. What share of the spikes of later
    steps is theirs says what clipping can cost (Eq. 6); the released code divides by all neurons instead. *Clipped*: after fire and
    reset, max(v, c). *Rounded*: the nearest integer from c to 1, the membrane of Quant-SNN (Eq. 7).
    """
    class Options(Options):
        kind: Literal["membrane_clipping"]
        network: NetworkNames
        bounds: list[int] = Field([-5, -4, -3, -2, -1], min_length=1)
        images: int = Field(1000, ge=1)

        @field_validator("bounds")
        @classmethod
        def _below(cls, value: list[int]) -> list[int]:
            if len(set(value)) < len(value) or max(value) > 0:
                raise ValueError(f"must be different integers of at most 0, in units of the threshold, not {value}")
            return value

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self, architecture: Architecture, neuron: Neuron) -> None:
        """ValueError where membranes of such a network cannot be clipped so."""
        if architecture.boxes:
            raise ValueError("membrane_clipping counts right classes, and this architecture finds boxes")
        if neuron.activation != "spike" or neuron.lateral is not None:
            raise ValueError("membrane_clipping wants spiking neurons that do not inhibit each other")

    def run(self, say: Say = print, data: PreparedData | None = None, models: Sequence[FloatNetwork] = ()) -> dict[str, Json]:
        """Quantities ``accuracy`` (percent, of the network as it is), and by bound ``clipped_<c>``, ``rounded_<c>``, what they
        cost, ``cost_<c>``, ``rounded_cost_<c>`` (points), ``share_<c>`` (of later spikes, percent), ``density_<c>`` (of all
        neurons, percent), means over models; their deviations end in ``_sd``.

        Parameters
        ----------
        data : PreparedData
        models : list of FloatNetwork
        """
        import numpy as np

        from ..training import accuracy, taking
        assert data is not None
        part = taking(data, "test", self.options.images)
        rows: dict[str, list[float]] = {}
        for model in models:
            rows.setdefault("accuracy", []).append(100 * accuracy(model, part, "test"))
            for bound in self.options.bounds:
                share, density = self._of_clipped(model, part, bound)
                found = {"share": 100 * share, "density": 100 * density}
                for name, whole in (("clipped", False), ("rounded", True)):
                    model.membrane_bound = bound, whole
                    found[name] = 100 * accuracy(model, part, "test")
                    model.membrane_bound = None
                found |= {"cost": found["clipped"] - rows["accuracy"][-1], "rounded_cost": found["rounded"] - rows["accuracy"][-1]}
                for name, value in found.items():
                    rows.setdefault(f"{name}_{bound}", []).append(value)
                say(f"c = {bound}: clipped {found['clipped']:.1f} %, rounded {found['rounded']:.1f} %, "
                    f"{found['share']:.2f} % of later spikes are of clipped neurons")
        quantities = {name: float(np.mean(values)) for name, values in rows.items()}
        deviations = {f"{name}_sd": float(np.std(values, ddof=1)) for name, values in rows.items() if len(values) > 1}
        return {"quantities": {**quantities, **deviations}, "bounds": self.options.bounds, "models": len(models),
                "images": len(part.labels["test"])}

    @staticmethod
    def _of_clipped(model: FloatNetwork, part: PreparedData, bound: int) -> tuple[float, float]:
        """(share of the spikes after the first step, mean number of such spikes per neuron and step) of neurons below the bound."""
        import torch

        from ..training import evaluated
        model.eval()
        theirs, every, places = 0.0, 0.0, 0
        with torch.no_grad():
            for x in evaluated(model, part, "test"):
                for spikes, first in model.first_membranes(x):
                    later = spikes[1:]
                    below = (first < bound) & (spikes[0] == 0)
                    theirs += float((later * below).sum())
                    every += float(later.sum())
                    places += later.numel()
        return theirs / max(every, 1.0), theirs / max(places, 1)

    @staticmethod
    def figures(result: dict[str, Json]) -> list[tuple[str, str, str]]:
        """(title, caption, SVG): accuracy over the bound."""
        from ..plots import lines
        q, bounds = result["quantities"], sorted(result["bounds"])
        curves = {name: [(c, q[f"{name}_{c}"]) for c in bounds] for name in ("clipped", "rounded")}
        curves["as it is"] = [(c, q["accuracy"]) for c in bounds]
        return [("Membranes held above a bound", "Without training on; in units of the threshold.",
                 lines(curves, "lower bound c", "test accuracy, %"))]

    @staticmethod
    def tables(result: dict[str, Json]) -> list[tuple[str, list[str], list[list[Json]]]]:
        """(title, columns, rows) for the report."""
        q = result["quantities"]

        def told(name: str) -> str:
            return f"{q[name]:.2f}" + (f" ± {q[name + '_sd']:.2f}" if name + "_sd" in q else "")
        networks = f"{result['models']} network" + ("s" if result["models"] > 1 else "")
        return [(f"Clipped membranes: {networks}, {result['images']} test images, {told('accuracy')} % as is",
                 ["c", "accuracy clipped, %", "accuracy rounded, %", "of later spikes, %", "of all neurons and steps, %"],
                 [[str(c), *(told(f"{name}_{c}") for name in ("clipped", "rounded", "share", "density"))]
                  for c in result["bounds"]])]
