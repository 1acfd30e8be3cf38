"""Spatial-channel pruning of SpQuant-SNN: masks that are decided per input and step, from membranes, by integer comparisons."""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ..architectures.shapes import Connection, LayerShape
from ..options import Options
from ..projections import INPUT
from ..training_options import ExactTrainingOptions
from .base import Pruner

if TYPE_CHECKING:
    from typing import Any, Self

    from ..datasets.base import PreparedData
    from ..models import CodeNetwork
    from ..neurons.base import Neuron
    from ..open_shares import OpenShares

__all__ = ["CHANNELS", "MaskPruner", "SPATIAL"]

#: What the gates of a layer are called: positions, channels, and where both are open. They read sums of membranes: over a block of
#: positions, and over all.
SPATIAL, CHANNELS, BOTH, BLOCKS, ALL = "_where", "_which", "_open", "_blocks", "_all"


class MaskPruner(Pruner):
    """Closes positions and channels of convolutions where membranes say that they matter little (SpQuant-SNN, Eq. 21 to 23).

    A hidden convolution that is driven by neurons gets gates, which read the stored membrane codes of those neurons in the same
    step. *Where*: codes summed over what a block of ``block`` x ``block`` output positions sees, a convolution of ``kernel`` x
    ``kernel`` to one map, and a comparison. *Which*: codes summed over the whole map, one linear combination per output
    channel, and a comparison. A neuron is driven where both are open. Sums and gates are layers of the integer network: weights
    of ``weight_bits``, biases, no membranes. A convolution with a shortcut beside it stays open, for its gate would close that
    too.

    The comparisons' offsets are trained, and after every step moved so that the share ``spatial`` of blocks and ``channels`` of
    channels is open on training data, by a running quantile of what they compare (``rate`` is the newest batch's weight). In the
    first ``ramp_epochs`` the shares fall from 1 to that: batch normalisation is folded, and cannot make up at once for what is
    missing. The paper keeps the 65 % most important positions, which a fixed comparison can only do on average; its channel masks
    are open where a probability is above 0.47, which is an offset too.
    """
    class Options(Options):
        kind: Literal["masks"]
        spatial: float | None = Field(0.65, gt=0, lt=1)
        channels: float | None = Field(0.31, gt=0, lt=1)
        block: int = Field(2, ge=1, le=64)
        kernel: int = Field(3, ge=1, le=9)
        weight_bits: int = Field(4, ge=2, le=16)
        rate: float = Field(0.1, gt=0, le=1)
        ramp_epochs: int = Field(5, ge=0)
        training: ExactTrainingOptions = ExactTrainingOptions(epochs=15, learning_rate=1e-3)

        @model_validator(mode="after")
        def _masks_something(self) -> Self:
            if self.spatial is None and self.channels is None:
                raise ValueError("spatial or channels must be given: masks of neither do nothing")
            if self.kernel % 2 == 0:
                raise ValueError(f"kernel must be odd, so that padding keeps the map, not {self.kernel}")
            return self

    options: Options

    def layers(self, shapes: tuple[LayerShape, ...]) -> tuple[LayerShape, ...]:
        out: list[LayerShape]
        by_name, out = {shape.name: shape for shape in shapes}, []
        for shape in shapes[:-1]:
            source = by_name.get(shape.connections[0].source)
            if source is not None and source.emits == shape.emits == "spikes" and not source.stateless and min(shape.out_map) > 1 \
                    and shape.weighted and len(shape.connections) == 1 and shape.gate is None:
                gates = self._gates(shape, source)
                out += gates
                shape = replace(shape, gate=gates[-1].name)
            out.append(shape)
        if len(out) + 1 == len(shapes):
            raise ValueError(f"masks must have a convolution to close: none of {', '.join(by_name)} is one that neurons drive and "
                             f"that is not the last (the first, which the {INPUT} drives, has no membranes to go by)")
        return (*out, shapes[-1])

    def check(self, shapes: tuple[LayerShape, ...], neuron: Neuron) -> None:
        if not neuron.unit_spikes:
            raise ValueError("masks compare membranes in units of what a spike is worth, so it must be worth 1: use neurons "
                             "like lif, if, decay, plif or lt_lif")
        if neuron.synapses(shapes):
            raise ValueError("masks must have convolutions that neurons drive, and neurons with synapses drive currents: use "
                             "neurons without")
        super().check(shapes, neuron)

    def _gates(self, shape: LayerShape, source: LayerShape) -> list[LayerShape]:
        """LayerShapes of the gates of a layer; the last one is its gate."""
        gates: list[LayerShape]
        options, (rows, columns), gates = self.options, source.out_map, []
        height, width = shape.out_map

        def gate(name: str, channels: int, side: tuple[int, int], connection: Connection, **more: Any) -> str:
            made = LayerShape(shape.name + name, channels, side, (connection,), stateless=True, weight_bits=options.weight_bits,
                              **more)
            gates.append(made)
            return made.name

        def summed(name: str, of: str, side: tuple[int, int], pool: int) -> str:
            channels = source.out_channels
            read = Connection(of, channels, channels, pool=pool, identity=True, norm=False, reads="membranes")
            gates.append(LayerShape(shape.name + name, channels, side, (read,), emits="sums"))
            return shape.name + name

        def compared(of: str, channels: int, kernel: int) -> Connection:
            return Connection(of, source.out_channels, channels, (kernel, kernel), 1, kernel // 2, norm=False, reads="membranes")
        where = which = None
        read, pool = source.name, rows                               # what the whole map is summed of
        if options.spatial is not None:
            sides = [(height // b, width // b) for b in range(options.block, min(height, width) + 1)
                     if height % b == width % b == 0]
            # Each gate sees a square of the source's map.
            sides = [(h, w) for h, w in sides if rows % h == columns % w == 0 and rows // h == columns // w <= 64]
            if not sides:
                raise ValueError(f"layer {shape.name}: no block of {options.block}x{options.block} or more divides its "
                                 f"{height}x{width} map and the {rows}x{columns} map of {source.name}")
            side = sides[0]
            if side != source.out_map:
                read, pool = summed(BLOCKS, source.name, side, rows // side[0]), side[0]
            where = gate(SPATIAL, 1, side, compared(read, 1, options.kernel))
        if options.channels is not None:
            if rows != columns or rows > 64:
                raise ValueError(f"layer {shape.name}: the map of {source.name} must be square and at most 64x64 to be summed "
                                 f"for channel masks, not {rows}x{columns}")
            which = gate(CHANNELS, shape.out_channels, (1, 1), compared(summed(ALL, read, (1, 1), pool), shape.out_channels, 1))
        if where and which:
            channels = shape.out_channels
            gate(BOTH, channels, side, Connection(where, 1, channels, identity=True), gate=which)
        return gates

    def prune(self, model: CodeNetwork, data: PreparedData) -> tuple[CodeNetwork, str]:
        """As in the base class; the gates start as :func:`spikeproof.open_shares.start_gates` says."""
        from ..open_shares import start_gates
        masked = model.with_layers(self.layers(model.shapes))
        start_gates(masked, data, self)
        sides, closed = {shape.name: shape.out_map for shape in masked.shapes}, []
        for shape in masked.shapes:
            if shape.gate is not None and not shape.stateless:
                height, width = shape.out_map
                side = sides.get(shape.name + SPATIAL)
                closed.append(shape.name if side is None else f"{shape.name} (blocks of {height // side[0]}x{width // side[1]})")
        return masked, f"masks on {', '.join(closed)}; {len(model.shapes) - len(closed)} layers stay open"

    def method(self) -> OpenShares:
        from ..open_shares import OpenShares
        return OpenShares(self)

    def share(self, layer: str, epoch: int) -> float | None:
        """The share of its gates that a layer (by name) keeps open in an epoch, from 0; None where it compares nothing."""
        final = {SPATIAL: self.options.spatial, CHANNELS: self.options.channels}
        kept = next((final[kind] for kind in final if layer.endswith(kind)), None)
        return None if kept is None else 1 - (1 - kept) * min(1.0, (epoch + 1) / (self.options.ramp_epochs + 1))
