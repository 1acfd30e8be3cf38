"""Layers in integer codes."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..codecs import parse_codec
from ..fixed_point import lfsr_draws
from ..neuron_steps import code_steps
from ..neurons.base import Stateless
from ..quantizers.base import round_ste, straight_through
from ..spec import Leak, NeuronSpec, Store
from ..thresholds import FixedThreshold
from .operations import convolve, counted, folded, gated, initial_of, total, weight_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    from ..architectures.shapes import Connection, LayerShape
    from ..codecs import Codec
    from ..neurons.base import Inhibition
    from ..quantizers.base import Quantizer
    from ..spec import Lateral
    from ..surrogates import Surrogate
    from ..thresholds import Threshold

    #: As CodeLayer.codes gives them: weights, biases, thresholds, stored codes at the start, value of a code.
    Codes: TypeAlias = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    #: By source and what is read.
    Maps: TypeAlias = Mapping[tuple[str, str], torch.Tensor]
    Amplitudes: TypeAlias = Mapping[tuple[str, str], float | torch.Tensor]

__all__ = ["CodeLayer", "SumLayer"]

#: Width of an identity's weights: the same for all, so that memory does not depend on what was trained.
IDENTITY_BITS = 16
LARGEST_IDENTITY = (1 << IDENTITY_BITS - 1) - 1
#: Neurons without memory; what their store holds is never read.
STATELESS = NeuronSpec(Stateless.leak, Store(-1, 1), Stateless.reset)


class CodeLayer(nn.Module):
    """A quantized layer in codes.

    The scale of the first connection's weights sets the unit of the layer: what one code is worth. The other connections are in
    that unit too, as plain integers: convolutions of the quantizer's ``shortcut_bits``, identities of ``IDENTITY_BITS``. Where the
    first one is an identity, as of a layer that currents drive, the unit is what a code of its source is worth.

    Parameters
    ----------
    shape : LayerShape
    units : list of float, per connection: value of one code of the (summed) integer input, but for the source's amplitude
    quantizer : Quantizer
    per_channel : bool, one scale per output channel
    fires : bool, whether the layer has thresholds
    threshold : a module of :mod:`spikeproof.thresholds`
    lateral : Inhibition among the neurons, or None

    Members
    -------
    weights : per connection [C_out, C_in, kh, kw], value, or empty for an identity; offset : [C_out], value
    step : [C_out or 1, 1, 1, 1], value, where the quantizer learns its scale or keeps the one from before training
    gain : scalar, what a trained leak multiplies the input by (folded into weights and offset, not into identities)
    leak : Leak of the contract, where it was trained, or None
    initial : [C, H, W], membranes at the start of an image, value; or None for currents
    neuron : NeuronSpec, set once thresholds are known
    drive : of neurons without memory: (drive in values, spikes) of the last batch, [T or 1, B, C, H, W]
    frozen : codes kept while the module runs in another precision, or None
    """
    offset: torch.Tensor
    step: torch.Tensor | None
    gain: torch.Tensor
    initial: torch.Tensor | None
    neuron: NeuronSpec
    leak: Leak | None
    drive: tuple[torch.Tensor, torch.Tensor] | None
    frozen: tuple[Any, ...] | None

    def __init__(self, shape: LayerShape, units: Sequence[float], quantizer: Quantizer, per_channel: bool, fires: bool,
                 threshold: Threshold, lateral: Inhibition | None = None) -> None:
        super().__init__()
        self.shape, self.units, self.quantizer, self.per_channel, self.fires = shape, units, quantizer, per_channel, fires
        self.threshold, self.lateral = threshold, lateral
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(0)) if c.identity else weight_of(c) for c in shape.connections)
        self.offset = nn.Parameter(torch.zeros(shape.out_channels))
        step = torch.ones(shape.out_channels if per_channel else 1, 1, 1, 1)
        if not shape.weighted:
            self.step = None
        elif quantizer.learned:
            self.step = nn.Parameter(step)
        else:
            self.register_buffer("step", step if quantizer.keeps_scale else None)
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("initial", initial_of(shape))
        self.shortcut_limit = (1 << (quantizer.shortcut_bits - 1)) - 1
        self.neuron = STATELESS if shape.stateless else None  # type: ignore[assignment]
        self.frozen = self.leak = self.drive = None

    def codecs(self) -> list[Codec]:
        """The weight codec of each connection."""
        found = [self.quantizer.codec if self.shape.weighted else parse_codec("binary")]
        for connection in self.shape.connections[1:]:
            found.append(parse_codec(f"int{IDENTITY_BITS if connection.identity else self.quantizer.shortcut_bits}"))
        return found

    def codes(self, amplitudes: Sequence[float | torch.Tensor]) -> Codes:
        """What the layer computes with, as integer-valued tensors.

        Parameters
        ----------
        amplitudes : list, per connection: value of a spike (or of a code of the current) of the source; a float, or a tensor [C
            or 1] where it is trained

        Returns
        -------
        (weights: list of [C_out, C_in, kh, kw], or [C_out] for an identity; biases [C]; thresholds [T or 1, C or 1];
        stored codes at the start of an image [C or 1, H or 1, W or 1]; value of a code [C or 1])
        """
        if self.frozen is not None:
            weights, *others = self.frozen
            return [w.to(self.offset.dtype) for w in weights], *(of.to(self.offset.dtype) for of in others)
        main = self.weights[0]
        units = [unit * amplitude for unit, amplitude in zip(self.units, amplitudes)]
        if not self.shape.weighted:
            value = units[0] * torch.ones_like(self.offset[:1])
            weights = [torch.ones_like(self.offset)]
        else:
            if self.step is None:
                scale = self.quantizer.scale(main.detach(), self.per_channel)
            else:
                scale = self.quantizer.learned_scale(self.step, main) if self.quantizer.learned else self.step
            value = scale.flatten() * units[0]
            weights = [self.quantizer.codes(main / scale)]
        for connection, weight, unit in zip(self.shape.connections[1:], self.weights[1:], units[1:]):
            if connection.identity:
                weights.append(round_ste((unit * self.gain / value).expand(self.shape.out_channels).clamp(1, LARGEST_IDENTITY)))
            else:
                limit = self.shortcut_limit
                weights.append(round_ste((weight * unit / value[:, None, None, None]).clamp(-limit, limit)))
        level, _ = self.threshold()
        theta = level.reshape(len(level), -1) / value
        if self.threshold.strict:                                    # h > theta
            theta = straight_through(theta, theta.floor() + 1)
        return weights, round_ste(self.offset / value), self.quantizer.thresholds(theta), self._starts(value), value

    def _starts(self, value: torch.Tensor) -> torch.Tensor:
        """Stored codes at the start of an image."""
        if self.initial is None or self.neuron is None:
            return value.new_zeros(1, 1, 1)
        store = self.neuron.store
        stored = value.detach()[:, None, None] * 2.0**store.shift
        return (self.initial / stored).round().clamp(store.lo, store.hi)

    def amplitude(self, value: torch.Tensor) -> float | torch.Tensor:
        """What one spike of the layer is worth, or one stored code of its currents; ``value`` is that of a code of acc."""
        return value * 2.0**self.neuron.store.shift if self.shape.emits == "currents" else self.threshold()[1]

    def current(self, maps: Maps, weights: Sequence[torch.Tensor], bias: torch.Tensor) -> torch.Tensor:
        """Integer inputs, dict (source, what is read) -> [T or 1, B, C, H, W] -> acc [T or 1, B, C_out, Ho, Wo]."""
        currents: list[torch.Tensor] = []
        for connection, weight in zip(self.shape.connections, weights):
            def one(x: torch.Tensor, connection: Connection = connection, weight: torch.Tensor = weight,
                    bias: torch.Tensor | None = None if currents else bias) -> torch.Tensor:
                x = counted(x, connection)
                return x * weight[:, None, None] if connection.identity else convolve(x, weight, bias, connection)
            currents.append(folded(maps[connection.source, connection.reads], one))
        return total(currents)

    def rivals(self, value: torch.Tensor) -> Lateral | None:
        """Lateral of the contract, or None; ``value`` is that of a code of acc."""
        return None if self.lateral is None else self.lateral.in_codes(float(value[0]))

    def draws(self, steps: int, like: torch.Tensor) -> torch.Tensor:
        """LFSR draws [T, 1, C, H, W] in the contract's order (neuron index is channels-last), or zeros."""
        store, (height, width) = self.neuron.store, self.shape.out_map
        if store.rounding != "stochastic":
            return like.new_zeros(steps, 1, 1, 1)
        draws = torch.tensor(lfsr_draws(store.seed, store.shift, steps * self.shape.neurons), dtype=like.dtype)
        return draws.reshape(steps, height, width, self.shape.out_channels).permute(0, 3, 1, 2).to(like.device)

    def forward(self, maps: Maps, amplitudes: Amplitudes, steps: int,
                surrogate: Surrogate) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """Inputs and amplitudes by (source, what is read) -> (spikes or None, stored codes [T, B, ...], value of a code)."""
        weights, bias, theta, initial, value = self.codes([amplitudes[c.source, c.reads] for c in self.shape.connections])
        acc = self.current(maps, weights, bias)
        if self.shape.gate is not None:
            acc = gated(acc, maps[self.shape.gate, "spikes"], self.shape)
        level, _ = self.threshold()
        slope = self.quantizer.options.membrane.slope if self.fires else None
        spikes, codes = code_steps(acc, theta, level.reshape(len(level), -1), steps, self.neuron, self.draws(steps, acc),
                                   self.fires, surrogate, self.threshold.paths, initial, slope, self.rivals(value))
        if self.shape.stateless:
            assert spikes is not None
            self.drive = (acc.detach() * value.detach()[:, None, None], spikes.detach())
        return spikes, codes, value


class SumLayer(nn.Module):
    """Sums, in codes: of spikes, as the ADD of SEW blocks, or of stored codes over a window. It forgets at every step, so it needs
    no membrane memory.

    Parameters
    ----------
    shape : LayerShape that emits sums
    reach : (lo, hi) of a sum, lo <= 0 <= hi
    """
    fires, step, leak, frozen = False, None, None, None

    def __init__(self, shape: LayerShape, reach: tuple[int, int]) -> None:
        super().__init__()
        self.shape, self.threshold, self.weights = shape, FixedThreshold(), ()
        self.neuron = NeuronSpec(Leak("multiply", multiplier=0, fraction=1), Store(*reach))

    def codecs(self) -> list[Codec]:
        """A weight of +1 in one bit for each identity."""
        return [parse_codec("binary")] * len(self.shape.connections)

    def codes(self, amplitudes: Sequence[float | torch.Tensor]) -> Codes:
        """As :meth:`CodeLayer.codes`; weights are ones, a code is worth what one of the source is, or a window's share."""
        one = self.threshold.value
        weights = [one.expand(c.out_channels) for c in self.shape.connections]
        value = one * amplitudes[0] / self.shape.connections[0].pooled
        return weights, one.new_zeros(self.shape.out_channels), one[None], one.new_zeros(1, 1, 1), value

    def amplitude(self, value: torch.Tensor) -> torch.Tensor:
        """As :meth:`CodeLayer.amplitude`."""
        return value

    def rivals(self, value: torch.Tensor) -> None:
        """As :meth:`CodeLayer.rivals`; there are none."""
        return None

    def forward(self, maps: Maps, amplitudes: Amplitudes, steps: int,
                surrogate: Surrogate) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """As :meth:`CodeLayer.forward`; no spikes."""
        weights, *_, value = self.codes([amplitudes[c.source, c.reads] for c in self.shape.connections])
        currents = [folded(maps[c.source, c.reads], lambda x, c=c: counted(x, c))  # type: ignore[misc]
                    for c in self.shape.connections]
        return None, total(currents), value
