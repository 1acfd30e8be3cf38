"""Feed-forward networks in the notation of the SNN literature: "16C3-AP2-32C3-AP2-10"."""
from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from ..options import Options
from ..projections import INPUT
from .base import Architecture
from .shapes import Connection, LayerShape, check_classes, map_after

if TYPE_CHECKING:
    from typing import Any, overload

    from ..projections import InputSpec

__all__ = ["Feedforward", "parse_body", "parse_layers"]

TOKEN = re.compile(r"(?P<conv>(?P<channels>\d+)C(?P<kernel>\d+)(?:s(?P<stride>\d+))?)|(?P<sew>\d+)S(?P<size>\d+)"
                   r"|D(?P<own>\d+)(?:s(?P<hop>\d+))?|AP(?P<avg>\d+)|MP(?P<max>\d+)|(?P<dense>\d+)")

#: Largest numbers that the integer contract takes, and what messages call them.
NAMES = {"avg": "pool", "max": "pool", "dense": "neurons", "sew": "channels", "size": "kernel", "own": "kernel", "hop": "stride"}
LIMITS = {"channels": 1 << 20, "kernel": 129, "stride": 64, "avg": 64, "max": 64, "dense": 1 << 20, "sew": 1 << 20, "size": 129,
          "own": 129, "hop": 64}


if TYPE_CHECKING:
    @overload
    def parse_layers(notation: str, input_shape: None = None) -> None: ...

    @overload
    def parse_layers(notation: str, input_shape: tuple[int, int, int]) -> tuple[LayerShape, ...]: ...


def parse_layers(notation: str, input_shape: tuple[int, int, int] | None = None) -> tuple[LayerShape, ...] | None:
    """Notation -> tuple of LayerShape, on an input map (height, width, channels).

    ``<n>C<k>[s<stride>]`` is a k x k convolution of n channels with "same" padding, ``AP<k>`` / ``MP<k>`` pools
    k x k by average / maximum, ``D<k>[s<stride>]`` is a depthwise convolution, ``<n>`` a dense layer. ``<n>S<k>`` is a
    spike-element-wise block (SEW-ADD; Fang et al., NeurIPS 2021): two k x k convolutions of n channels, their spikes added to the
    block's input. Without ``input_shape`` only the words are checked.

    Raises
    ------
    ValueError
        If a word is none of these, the last layer is a pool, or pooling does not divide the map.
    """
    words, matches = notation.split("-"), []
    for word in words:
        match = TOKEN.fullmatch(word)
        if not word.isascii() or match is None or any(number == 0 for number in map(int, re.findall(r"\d+", word))):
            raise ValueError(f"layers must be made of words like 16C3, 16C3s2, D3, 32S3, AP2, MP2 and 10, not {word!r}")
        if any(match[side] and int(match[side]) % 2 == 0 for side in ("kernel", "own", "size")):
            raise ValueError(f"layers must have convolutions with odd kernels, so that padding keeps the map, not {word!r}")
        for what, most in LIMITS.items():
            if match[what] and int(match[what]) > most:
                raise ValueError(f"layers must have {NAMES.get(what, what)} of at most {most}, not {match[what]} as in {word!r}")
        matches.append(match)
    if matches[-1]["dense"] is None:
        raise ValueError(f"layers must end in a dense layer like 10, not {words[-1]!r}")
    if input_shape is None:
        return None
    layers: list[LayerShape] = []
    (height, width, channels), source, pool, pool_kind = input_shape, INPUT, 1, "sum"
    for word, match in zip(words, matches):
        if match["avg"] or match["max"]:
            if pool != 1:
                raise ValueError(f"layers must have at most one pool between two layers; {word!r} is a second")
            pool, pool_kind = int(match["avg"] or match["max"]), "sum" if match["avg"] else "max"
            if height % pool or width % pool:
                raise ValueError(f"{word!r} must divide the {height}x{width} map")
            height, width = height // pool, width // pool
            continue
        if match["sew"]:
            out, side = int(match["sew"]), int(match["size"])
            if out != channels or source == INPUT or pool_kind == "sum" and pool > 1:
                raise ValueError(f"{word!r} must come after a layer of {out} channels, or a maximum pool of one: its spikes are "
                                 "added to that")
            block = f"sew{len(layers) + 1}"
            shared: dict[str, Any] = {"pool": pool, "pool_kind": pool_kind}
            first = Connection(source, out, out, (side, side), 1, side // 2, **shared)
            second = Connection(f"{block}a", out, out, (side, side), 1, side // 2)
            added = Connection(f"{block}b", out, out, identity=True), Connection(source, out, out, identity=True, **shared)
            layers += [LayerShape(f"{block}a", out, (height, width), (first,)),
                       LayerShape(f"{block}b", out, (height, width), (second,)),
                       LayerShape(block, out, (height, width), added, emits="sums")]
            source, pool, pool_kind = block, 1, "sum"
            continue
        if match["own"]:
            out, side, stride = channels, int(match["own"]), int(match["hop"] or 1)
            kernel, padding, name = (side, side), side // 2, f"depthwise{len(layers) + 1}"
        elif match["conv"]:
            out, side, stride = int(match["channels"]), int(match["kernel"]), int(match["stride"] or 1)
            kernel, padding, name = (side, side), side // 2, f"conv{len(layers) + 1}"
        else:
            out, kernel, stride, padding, name = int(match["dense"]), (height, width), 1, 0, f"dense{len(layers) + 1}"
        out_map = map_after((height, width), kernel, stride, padding)
        connection = Connection(source, channels, out, kernel, stride, padding, pool, pool_kind, depthwise=bool(match["own"]))
        layers.append(LayerShape(name, out, out_map, (connection,)))
        (height, width), channels, source, pool, pool_kind = out_map, out, name, 1, "sum"
    return tuple(layers)


if TYPE_CHECKING:
    @overload
    def parse_body(notation: str, input_shape: None = None, what: str = "layers") -> None: ...

    @overload
    def parse_body(notation: str, input_shape: tuple[int, int, int], what: str = "layers") -> tuple[LayerShape, ...]: ...


def parse_body(notation: str, input_shape: tuple[int, int, int] | None = None,
               what: str = "layers") -> tuple[LayerShape, ...] | None:
    """As :func:`parse_layers`, of layers whose last map something else reads: they end in a convolution or a block.

    Raises
    ------
    ValueError
        If they do not, or a word is none of the notation's; ``what`` is what the notation is called.
    """
    layers = parse_layers(f"{notation}-1", input_shape)              # what it says of words holds with a last dense layer
    last = notation.rsplit("-", 1)[-1]
    match = TOKEN.fullmatch(last)
    assert match is not None
    if match["avg"] or match["max"]:
        raise ValueError(f"{what} must end in a convolution, not in the pool {last!r}: write a stride, or a convolution behind it")
    if match["dense"]:
        raise ValueError(f"{what} must end in a convolution: leave out the dense layer {last!r}, the last one is added")
    return None if layers is None else layers[:-1]


class Feedforward(Architecture):
    """A chain of convolutions, pools and dense layers; batch normalisation after all but the last, or biases (``norm: false``)."""
    class Options(Options):
        kind: Literal["feedforward"]
        layers: str
        norm: bool = True

        @field_validator("layers")
        @classmethod
        def _readable(cls, value: str) -> str:
            parse_layers(value)
            return value

    options: Options

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        layers = parse_layers(self.options.layers, input_spec.shape)
        check_classes(layers, classes)
        if not self.options.norm:
            layers = tuple(replace(layer, connections=tuple(replace(c, norm=False) for c in layer.connections)) for layer in layers)
        return layers
