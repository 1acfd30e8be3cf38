"""How many parameters networks have, and what is left of their bits: what tables of the literature give as their size."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from ..projections import InputSpec
from .base import ArchitectureOf

if TYPE_CHECKING:
    from ..annotations import Json, Say

__all__ = ["NetworkSizes"]


class Network(ArchitectureOf):
    """An architecture and its input.

    ``weight_bits``: of each weight but for those of the first and the last layer, which keep 32, as all other parameters do.
    ``weights_only``: nothing but weights is counted.
    """
    weight_bits: int | None = Field(None, ge=1, le=32)
    weights_only: bool = False


class NetworkSizes:
    """Trained parameters in full precision: weights, biases, gains and offsets of batch normalisation; no thresholds."""
    class Options(Options):
        kind: Literal["network_sizes"]
        networks: dict[str, Network] = Field(min_length=1)

    def __init__(self, options: Options) -> None:
        self.options = options

    def run(self, say: Say = print) -> dict[str, Json]:
        """Quantities ``<name>_parameters`` and ``<name>_mb`` (10^6 bytes at 32 bits each).

        Of compressed networks also ``<name>_compressed_mbit`` (10^6 bits) and ``<name>_percent`` of full precision.
        """
        from ..entries import make
        from ..models import FloatNetwork
        quantities: dict[str, float] = {}
        rows: list[list[Json]] = []
        neuron = make("neurons", {"kind": "relu"})
        for name, of in self.options.networks.items():
            given = InputSpec(of.shape, 8, True)
            shapes = of.layers(given.bits)
            if of.weights_only:
                count = sum(shape.weights for shape in shapes if shape.weighted)
            else:
                count = sum(p.numel() for p in FloatNetwork(shapes, neuron, given, 1).parameters())
            quantities |= {f"{name}_parameters": count, f"{name}_mb": 4 * count / 1e6}
            row: list[Json] = [name + (" (weights alone)" if of.weights_only else ""), " × ".join(map(str, of.shape)), of.classes,
                               count, round(4 * count / 1e6, 2), None, None]
            if of.weight_bits is not None:
                inner = sum(shape.weights for shape in shapes[1:-1] if shape.weighted)
                bits = inner * of.weight_bits + (count - inner) * 32
                quantities |= {f"{name}_compressed_mbit": bits / 1e6, f"{name}_percent": 100 * bits / (32 * count)}
                row[-2:] = bits / 1e6, 100 * bits / (32 * count)
            rows.append(row)
            say(f"{name}: {count:,} parameters")
        return {"quantities": quantities, "rows": rows}

    @staticmethod
    def figures(result: dict[str, Json]) -> list[tuple[str, str, str]]:
        """None: the table says it."""
        return []

    @staticmethod
    def tables(result: dict[str, Json]) -> list[tuple[str, list[str], list[list[Json]]]]:
        """(title, columns, rows) for the report."""
        return [("Parameters", ["network", "input", "classes", "parameters", "MB at 32 bits", "compressed, Mbit", "of that, %"],
                 [[name, shape, classes, f"{count:,}", f"{mb:.2f}", *("" if of is None else f"{of:.2f}" for of in compressed)]
                  for name, shape, classes, count, mb, *compressed in result["rows"]])]
