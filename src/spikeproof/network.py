"""The integer network: what every layer is made of, and the widths that its codes prove.

Maps are channels-last: the neuron at row y, column x, channel c of a map [H, W, C] has index
``(y * W + x) * C + c``, so flattening a map is no operation. Time leads every trace.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .fixed_point import bits_for_range
from .spec import MAX_MAGNITUDE, Lateral, NeuronSpec, check_choice, check_int

if TYPE_CHECKING:

    from .annotations import Array
from .projections import INPUT, InputSpec, Projection, check_shape, integers, range_of, width_of

__all__ = ["LayerSpec", "NetworkSpec"]


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """One population of neurons and what drives it.

    Parameters
    ----------
    name : str, a letter followed by letters, digits or underscores
    shape : (height, width, channels)
    projections : tuple of Projection; their sums add up
    neuron : NeuronSpec
    theta : int array [steps or 1, height or 1, width or 1, channels or 1], each >= 1; height and
        width are 1, or all three are whole. None: the neurons never fire.
    bias : int array [channels], or None
    v_init : int array [1, 1, 1], [1, 1, channels] or [height, width, channels], stored codes at the start of an image. None: all 0.
    gate : name of an earlier layer whose spikes open the neurons of this one, step by step, or None. Its map is
        [height / a, width / b, channels or 1]: each gate serves a block of a x b positions, and its channel or all.
    lateral : Lateral, how its neurons inhibit each other, or None
    theta_shift : int, 0 to 24; all thresholds are multiples of 2^theta_shift, and memory keeps them in that unit
    """
    name: str
    shape: tuple[int, int, int]
    projections: tuple[Projection, ...]
    neuron: NeuronSpec
    theta: Array | None = None
    bias: Array | None = None
    gate: str | None = None
    v_init: Array | None = None
    lateral: Lateral | None = None
    theta_shift: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isascii() and self.name.isidentifier()
                and self.name[0].isalpha() and self.name != INPUT):
            raise ValueError("layer name must be a letter followed by letters, digits or underscores, and not "
                             f"'input'; got {self.name!r}")
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"layer {self.name}: {error}") from None

    def _check(self) -> None:
        check_shape("shape", self.shape)
        if not self.projections:
            raise ValueError("projections must be at least 1, not 0")
        for projection in self.projections:
            if projection.out_channels != self.shape[2]:
                raise ValueError(f"weights must have {self.shape[2]} output channels, not {projection.out_channels}")
        if not isinstance(self.neuron, NeuronSpec):
            raise ValueError(f"neuron must be a NeuronSpec, not {self.neuron!r}")
        if self.theta is not None:
            object.__setattr__(self, "theta", integers("theta", self.theta))
            theta = self.theta
            if theta.ndim != 4 or not self._spans(theta.shape[1:]):
                raise ValueError("theta must be [steps or 1, height or 1, width or 1, channels or 1] for shape "
                                 f"{list(self.shape)}, not {list(theta.shape)}")
            if theta.min() < 1 or theta.max() > MAX_MAGNITUDE:
                bad = theta.min() if theta.min() < 1 else theta.max()
                raise ValueError(f"theta must be from 1 to {MAX_MAGNITUDE}, not {int(bad)}")
        check_int("theta_shift", self.theta_shift, 0, 0 if self.theta is None else 24)
        if self.theta is not None and (self.theta & (1 << self.theta_shift) - 1).any():
            raise ValueError(f"theta must be multiples of 2^{self.theta_shift}, as theta_shift says")
        if self.bias is not None:
            object.__setattr__(self, "bias", integers("bias", self.bias))
            if self.bias.shape != (self.shape[2],):
                raise ValueError(f"bias must be [{self.shape[2]}], one code per channel, not {list(self.bias.shape)}")
            if np.abs(self.bias).max() > MAX_MAGNITUDE:
                raise ValueError(f"bias must be within +-{MAX_MAGNITUDE}, not {int(np.abs(self.bias).max())}")
        if self.v_init is not None:
            object.__setattr__(self, "v_init", integers("v_init", self.v_init))
            if self.v_init.ndim != 3 or not self._spans(self.v_init.shape):
                raise ValueError(f"v_init must be [1, 1, 1], [1, 1, channels] or the whole shape {list(self.shape)}, "
                                 f"not {list(self.v_init.shape)}")
            store, (lo, hi) = self.neuron.store, self.v_init_range
            if lo < store.lo or hi > store.hi:
                raise ValueError(f"v_init must be from {store.lo} to {store.hi}, not {lo if lo < store.lo else hi}")
            if self.neuron.stateless and self.v_init.any():
                raise ValueError("v_init must be 0 for neurons that keep nothing")
            if not self.v_init.any():
                object.__setattr__(self, "v_init", None)
        if self.lateral is not None and not isinstance(self.lateral, Lateral):
            raise ValueError(f"lateral must be a Lateral or None, not {self.lateral!r}")
        if self.lateral is not None and self.theta is None:
            raise ValueError("theta must be given for neurons that inhibit each other by their spikes")

    def _spans(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape serves the map: one entry for all, for each channel, or for each neuron."""
        return shape in ((1, 1, 1), (1, 1, self.shape[2]), self.shape)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))

    @property
    def bias_range(self) -> tuple[int, int]:
        return range_of(self.bias)

    @property
    def inhibition(self) -> int:
        """The most that is taken off a membrane in a step, for spikes of the step before."""
        return 0 if self.lateral is None else self.lateral.most(self.neurons)

    @property
    def v_init_range(self) -> tuple[int, int]:
        return range_of(self.v_init)

    def theta_at(self, step: int) -> Array | None:
        """The thresholds of one time step as an int array that broadcasts to [H, W, C], or None."""
        return None if self.theta is None else self.theta[step if self.theta.shape[0] > 1 else 0]

    @property
    def theta_width(self) -> int:
        """Bits of one threshold in memory; 0 where one constant serves the whole layer, or none is there."""
        return 0 if self.theta is None or self.theta.size == 1 else bits_for_range(0, int(self.theta.max()) >> self.theta_shift)

    @property
    def bias_width(self) -> int:
        """Bits of one bias in memory; 0 where there is none."""
        return 0 if self.bias is None else width_of(self.bias_range)

    @property
    def v_init_width(self) -> int:
        """Bits of one initial code in memory; 0 where one constant serves the whole layer."""
        return 0 if self.v_init is None or self.v_init.size == 1 else width_of(self.v_init_range)

    def memory_bits(self) -> dict[str, int]:
        """Bits by kind: dict with weights, membranes, thresholds, biases, initials (membrane codes at the start of an image)."""
        return {"weights": sum(p.bits for p in self.projections),
                "membranes": 0 if self.neuron.stateless else self.neurons * self.neuron.store.bits,
                "thresholds": 0 if self.theta is None else self.theta.size * self.theta_width,
                "biases": self.shape[2] * self.bias_width,
                "initials": 0 if self.v_init is None else self.v_init.size * self.v_init_width}


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A whole network: input, layers in order, readout.

    Parameters
    ----------
    input : InputSpec
    layers : tuple of LayerSpec, each after its sources
    steps : int, time steps per image, 1 to 4096
    readout : "spike_count" or "membrane" (stored code after the last step) of the last layer; the
        largest wins, a tie goes to the lowest index.
    """
    input: InputSpec
    layers: tuple[LayerSpec, ...]
    steps: int
    readout: str = "spike_count"

    READOUTS = ("spike_count", "membrane")

    def __post_init__(self) -> None:
        if not isinstance(self.input, InputSpec):
            raise ValueError(f"input must be an InputSpec, not {self.input!r}")
        check_int("steps", self.steps, 1, 4096)
        check_choice("readout", self.readout, self.READOUTS)
        if not self.layers:
            raise ValueError("layers must be at least 1, not 0")
        seen = {INPUT: self.input.shape}
        for layer in self.layers:
            if layer.name in seen:
                raise ValueError(f"layer name {layer.name!r} must be unique, but is used twice")
            for projection in layer.projections:
                if projection.source not in seen:
                    raise ValueError(f"layer {layer.name}: source must be one of {', '.join(seen)}, "
                                     f"not {projection.source!r}")
                try:
                    out = projection.output_map(seen[projection.source])
                except ValueError as error:
                    raise ValueError(f"layer {layer.name}: {error}") from None
                if out != layer.shape[:2]:
                    raise ValueError(f"layer {layer.name}: shape must be {out[0]}x{out[1]} after {projection.source!r}, "
                                     f"not {layer.shape[0]}x{layer.shape[1]}")
            if layer.gate is not None:
                self._check_gate(layer, seen)
            if layer.theta is not None and layer.theta.shape[0] not in (1, self.steps):
                raise ValueError(f"layer {layer.name}: theta must have 1 or {self.steps} steps, "
                                 f"not {layer.theta.shape[0]}")
            store, leak = layer.neuron.store, layer.neuron.leak
            widest = (max(-store.lo, store.hi) << store.shift) * max(leak.multiplier, 1)
            if widest >= MAX_MAGNITUDE:
                raise ValueError(f"layer {layer.name}: the membrane in its leak must stay within +-{MAX_MAGNITUDE}, but "
                                 f"store and leak allow {widest}")
            lo, hi = self.h_range(layer)
            if max(-lo, hi) >= MAX_MAGNITUDE:
                raise ValueError(f"layer {layer.name}: h must stay within +-{MAX_MAGNITUDE}, but the codes allow "
                                 f"{lo} .. {hi}")
            seen[layer.name] = layer.shape
        if self.readout == "spike_count" and self.layers[-1].theta is None:
            raise ValueError(f"layer {self.layers[-1].name}: theta must be given for a spike_count readout")

    def _check_gate(self, layer: LayerSpec, seen: dict[str, tuple[int, int, int]]) -> None:
        if layer.gate not in seen or layer.gate == INPUT:
            raise ValueError(f"layer {layer.name}: gate must be an earlier layer, not {layer.gate!r}")
        gate = seen[layer.gate]
        if layer.shape[0] % gate[0] or layer.shape[1] % gate[1] or gate[2] not in (1, layer.shape[2]):
            raise ValueError(f"layer {layer.name}: gate {layer.gate!r} must have a height and width that divide "
                             f"{layer.shape[0]}x{layer.shape[1]} and 1 or {layer.shape[2]} channels, not "
                             f"{gate[0]}x{gate[1]}x{gate[2]}")

    @cached_property
    def by_name(self) -> dict[str, LayerSpec]:
        """{layer name: LayerSpec}"""
        return {layer.name: layer for layer in self.layers}

    def source_shape(self, projection: Projection) -> tuple[int, int, int]:
        """[H, W, C] of the map that a projection reads."""
        return self.input.shape if projection.source == INPUT else self.by_name[projection.source].shape

    def input_bits(self, projection: Projection) -> tuple[int, bool]:
        """(bits, is signed) of a code that a projection reads: (1, False) for spikes."""
        if projection.source == INPUT:
            return self.input.bits, False
        store = self.by_name[projection.source].neuron.store
        return (store.bits, store.lo < 0) if projection.reads == "membranes" else (1, False)

    def input_range(self, projection: Projection) -> tuple[int, int]:
        """(lo, hi) of the codes that the input bits of a projection can say."""
        bits, signed = self.input_bits(projection)
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)

    def acc_range(self, layer: LayerSpec) -> tuple[int, int]:
        """(lo, hi) that the layer's accumulator stays in, bias not included, at every moment."""
        lo, hi = sum((p.acc_range(self.input_range(p)) for p in layer.projections), np.zeros((2, layer.shape[2]), np.int64))
        return int(lo.min()), int(hi.max())

    def h_range(self, layer: LayerSpec) -> tuple[int, int]:
        """(lo, hi) that h stays in after integrating."""
        acc, bias = self.acc_range(layer), layer.bias_range
        return layer.neuron.h_range(acc[0] + bias[0] - layer.inhibition, acc[1] + bias[1])

    @property
    def classes(self) -> int:
        return self.layers[-1].neurons

    def memory_bits(self) -> dict[str, int]:
        """Bits of the whole network by kind, and their "total"."""
        kinds: dict[str, int] = {}
        for layer in self.layers:
            for kind, bits in layer.memory_bits().items():
                kinds[kind] = kinds.get(kind, 0) + bits
        return {**kinds, "total": sum(kinds.values())}
