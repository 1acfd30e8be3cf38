"""Memory, operations and energy by formula: what SpQuant-SNN gives for its networks (Eq. 28 to 31)."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..options import Options
from .base import ArchitectureOf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..annotations import Json, Say
    from ..architectures.shapes import LayerShape

__all__ = ["NetworkCosts"]

#: Energy of an operation in pJ, 7 nm (Wang et al., "BitNet", 2023, Table 2): additions and multiplications in FP32 and INT8.
ADD = {"full": 0.38, "compressed": 0.007}
MULTIPLY = {"full": 1.31, "compressed": 0.07}


class Printed(Options):
    """What a paper prints of a network where it differs from what its architecture gives.

    ``weights``: their number. ``neurons``: of the network in full precision, and ``compressed_neurons`` of the compressed one.
    """
    weights: float | None = Field(None, gt=0)
    neurons: float | None = Field(None, gt=0)
    compressed_neurons: float | None = Field(None, gt=0)


class Network(ArchitectureOf):
    """An architecture and its input, over so many ``steps``.

    ``weight_bits``, ``membrane_bits`` and ``output_bits`` (of what a convolution gives, before it enters the membrane) when
    compressed, 32 before. ``closed_positions`` and ``closed_channels``: shares of the maps of all convolutions but the first that
    masks close.
    """
    steps: int = Field(ge=1, le=4096)
    weight_bits: int = Field(ge=1, le=32)
    membrane_bits: int = Field(2, ge=1, le=32)
    output_bits: int = Field(8, ge=1, le=32)
    closed_positions: float = Field(0.0, ge=0, lt=1)
    closed_channels: float = Field(0.0, ge=0, lt=1)
    printed: Printed = Printed()


def _kept(shape: LayerShape) -> int:
    """Neurons of a layer that have a membrane to keep."""
    return shape.neurons if shape.emits == "spikes" and not shape.stateless else 0


class NetworkCosts:
    """Memory: weights, membranes and one output of a convolution per neuron. Operations: multiply-accumulates of all steps, those
    of attention among them, none skipped for silence. Energy: that of their additions, and of multiplications in the first layer
    where the input has more than one bit; beside it what reading weights and reading and writing membranes costs at ``memory_pj``
    per bit.

    The default of ``memory_pj`` is 10 pJ for 64 bits of an 8 KB memory (Horowitz, ISSCC 2014: 45 nm, where an 8-bit addition is
    0.03 pJ): larger memories cost more.
    """
    class Options(Options):
        kind: Literal["network_costs"]
        networks: dict[str, Network] = Field(min_length=1)
        memory_pj: float = Field(10 / 64, gt=0)
        input_bits: int = Field(8, ge=1, le=8)

    def __init__(self, options: Options) -> None:
        self.options = options

    def _memory(self, of: Network, weights: float, neurons: float) -> dict[str, float]:
        """Megabytes (10^6 bytes) by kind, compressed; ``weights`` and ``neurons`` are numbers."""
        return {"weights": weights * of.weight_bits / 8e6, "membranes": neurons * of.membrane_bits / 8e6,
                "outputs": neurons * of.output_bits / 8e6}

    def run(self, say: Say = print) -> dict[str, Json]:
        """Quantities ``<name>_<what>``: ``ratio`` of memory, the same with ternary membranes packed at five in a byte
        (``packed_ratio``) and by the printed numbers (``printed_ratio``); ``operations_ratio``; ``energy_ratio`` of operations and
        ``energy_with_memory_ratio``; ``full_mb``, ``compressed_mb``.
        """
        quantities: dict[str, float | None] = {}
        memory, costs = [], []
        for name, of in self.options.networks.items():
            shapes = of.layers(self.options.input_bits)
            weights = sum(c.weights for s in shapes for c in s.connections if not c.identity)
            neurons = sum(map(_kept, shapes))
            full = {"weights": weights * 4 / 1e6, "membranes": neurons * 4 / 1e6, "outputs": neurons * 4 / 1e6}
            compressed = self._memory(of, weights, neurons)
            total, small = sum(full.values()), sum(compressed.values())
            packed = small - compressed["membranes"] * (1 - 8 / 5 / of.membrane_bits) if of.membrane_bits == 2 else None
            given = of.printed
            printed = None
            if given != Printed():
                count, before = given.weights or weights, given.neurons or neurons
                after = sum(self._memory(of, count, given.compressed_neurons or before).values())
                printed = (count + 2 * before) * 4e-6 / after
            operations, energy = self._costs(of, shapes)
            quantities |= {f"{name}_full_mb": total, f"{name}_compressed_mb": small, f"{name}_ratio": total / small,
                           f"{name}_packed_ratio": packed and total / packed, f"{name}_printed_ratio": printed,
                           f"{name}_operations_ratio": operations["full"] / operations["compressed"],
                           f"{name}_energy_ratio": energy["full"][0] / energy["compressed"][0],
                           f"{name}_energy_with_memory_ratio": sum(energy["full"]) / sum(energy["compressed"])}
            memory.append([name, weights, neurons, *full.values(), *compressed.values(), total / small, packed and total / packed,
                           printed])
            costs.append([name, operations["full"] / 1e9, operations["compressed"] / 1e9, *(e / 1e9 for e in energy["full"]),
                          *(e / 1e9 for e in energy["compressed"])])
            say(f"{name}: {total:.2f} MB, compressed {small:.2f} MB, {total / small:.2f} times less")
        return {"quantities": quantities, "memory": memory, "costs": costs}

    def _costs(self, of: Network, shapes: Sequence[LayerShape]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """(multiply-accumulates of all steps, (pJ of operations, pJ of memory)), each a dict with "full" and "compressed"."""
        operations, energy = {}, {}
        for form in ("full", "compressed"):
            bits = (32, 32) if form == "full" else (of.weight_bits, of.membrane_bits)
            adds, multiplies, updates = 0.0, 0.0, 0.0
            for k, shape in enumerate(shapes):
                left = 1.0
                if form == "compressed" and k and min(shape.out_map) > 1:
                    left = (1 - of.closed_positions) * (1 - of.closed_channels)
                here = of.steps * left * shape.out_map[0] * shape.out_map[1] * sum(c.weights for c in shape.connections)
                if shape.attention is not None:                      # K^T V, then Q times that
                    here += of.steps * left * 2 * shape.neurons * shape.out_channels / shape.attention.heads
                adds += here
                multiplies += here if k == 0 and self.options.input_bits > 1 else 0
                updates += of.steps * _kept(shape)
            operations[form] = adds
            energy[form] = (adds * ADD[form] + multiplies * MULTIPLY[form],
                            (adds * bits[0] + 2 * updates * bits[1]) * self.options.memory_pj)
        return operations, energy

    @staticmethod
    def figures(result: dict[str, Json]) -> list[tuple[str, str, str]]:
        """(title, caption, SVG): memory of each network, full and compressed."""
        from ..plots import bars
        rows = []
        for name, _, _, *sizes in result["memory"]:
            rows += [(f"{name}, 32 bits", sizes[:3]), (f"{name}, compressed", sizes[3:6])]
        return [("Memory by formula", "Weights, membranes and convolution outputs in MB, by the paper's formula (Eq. 28 and 29).",
                 bars(rows, "MB", ("weights", "membranes", "outputs")))]

    @staticmethod
    def tables(result: dict[str, Json]) -> list[tuple[str, list[str], list[list[Json]]]]:
        """(title, columns, rows) for the report."""
        def number(of: float | None, digits: int = 3) -> str:
            """At least so many significant digits."""
            return "" if of is None else f"{of:.{max(0, digits - 1 - math.floor(math.log10(abs(of))))}f}" if of else "0"
        sizes = [[name, f"{weights:,}", f"{neurons:,}", *map(number, of)] for name, weights, neurons, *of in result["memory"]]
        costs = [[name, number(full), number(left), *map(number, energy)]
                 for name, full, left, *energy in result["costs"]]
        return [("Memory by formula, MB", ["network", "weights", "neurons", "weights, 32 bits", "membranes", "outputs",
                                           "weights, compressed", "membranes", "outputs", "times less", "packed at 1.6 bits",
                                           "by printed numbers"], sizes),
                ("Operations and energy by formula", ["network", "10^9 operations", "compressed", "mJ, full: operations", "memory",
                                                      "mJ, compressed: operations", "memory"], costs)]
