"""Feed-forward networks in the notation of the SNN literature: "16C3-AP2-32C3-AP2-10"."""
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator

from ..options import Options

__all__ = ["Feedforward", "LayerShape", "parse_layers"]

TOKEN = re.compile(r"(?P<conv>(?P<channels>\d+)C(?P<kernel>\d+)(?:s(?P<stride>\d+))?)|AP(?P<avg>\d+)|MP(?P<max>\d+)|(?P<dense>\d+)")

#: Largest numbers that the integer contract takes, and what messages call them.
NAMES = {"avg": "pool", "max": "pool", "dense": "neurons"}
LIMITS = {"channels": 1 << 20, "kernel": 129, "stride": 64, "avg": 64, "max": 64, "dense": 1 << 20}


@dataclass(frozen=True)
class LayerShape:
    """One layer: a convolution over the (pooled) source map; dense where the kernel is the whole map.

    Members
    -------
    name : str
    in_channels, out_channels : int
    kernel : (height, width)
    stride, padding : int
    pool : int, side of the window pooled before the layer
    pool_kind : "sum" (averages, in values) or "max"
    out_map : (height, width)
    """
    name: str
    in_channels: int
    out_channels: int
    kernel: tuple
    stride: int
    padding: int
    pool: int
    pool_kind: str
    out_map: tuple

    @property
    def weights(self):
        return self.in_channels * self.out_channels * self.kernel[0] * self.kernel[1]

    @property
    def neurons(self):
        return self.out_channels * self.out_map[0] * self.out_map[1]


def parse_layers(notation, input_shape=None):
    """Notation -> tuple of LayerShape, on an input map (height, width, channels).

    ``<n>C<k>[s<stride>]`` is a k x k convolution of n channels with "same" padding, ``AP<k>`` / ``MP<k>`` pools
    k x k by average / maximum, ``<n>`` is a dense layer. Without ``input_shape`` only the words are checked.

    Raises
    ------
    ValueError
        If a word is none of these, the last layer is a pool, or pooling does not divide the map.
    """
    words = notation.split("-")
    matches = [TOKEN.fullmatch(word) for word in words]
    for word, match in zip(words, matches):
        if not word.isascii() or match is None or any(number == 0 for number in map(int, re.findall(r"\d+", word))):
            raise ValueError(f"layers must be made of words like 16C3, 16C3s2, AP2, MP2 and 10, not {word!r}")
        if match["kernel"] and int(match["kernel"]) % 2 == 0:
            raise ValueError(f"layers must have convolutions with odd kernels, so that padding keeps the map, not {word!r}")
        for what, most in LIMITS.items():
            if match[what] and int(match[what]) > most:
                raise ValueError(f"layers must have {NAMES.get(what, what)} of at most {most}, not {match[what]} as in {word!r}")
    if matches[-1]["dense"] is None:
        raise ValueError(f"layers must end in a dense layer like 10, not {words[-1]!r}")
    if input_shape is None:
        return None
    (height, width, channels), layers, pool, pool_kind = input_shape, [], 1, "sum"
    for word, match in zip(words, matches):
        if match["avg"] or match["max"]:
            if pool != 1:
                raise ValueError(f"layers must have at most one pool between two layers; {word!r} is a second")
            pool, pool_kind = int(match["avg"] or match["max"]), "sum" if match["avg"] else "max"
            if height % pool or width % pool:
                raise ValueError(f"{word!r} must divide the {height}x{width} map")
            height, width = height // pool, width // pool
            continue
        if match["conv"]:
            out, side, stride = int(match["channels"]), int(match["kernel"]), int(match["stride"] or 1)
            kernel, padding, name = (side, side), side // 2, f"conv{len(layers) + 1}"
        else:
            out, kernel, stride, padding, name = int(match["dense"]), (height, width), 1, 0, f"dense{len(layers) + 1}"
        out_map = tuple((n + 2 * padding - k) // stride + 1 for n, k in zip((height, width), kernel))
        layers.append(LayerShape(name, channels, out, kernel, stride, padding, pool, pool_kind, out_map))
        (height, width), channels, pool, pool_kind = out_map, out, 1, "sum"
    return tuple(layers)


class Feedforward:
    """A chain of convolutions, pools and dense layers; batch normalisation after all but the last."""
    class Options(Options):
        kind: Literal["feedforward"]
        layers: str

        @field_validator("layers")
        @classmethod
        def _readable(cls, value):
            parse_layers(value)
            return value

    def __init__(self, options):
        self.options = options

    def layers(self, input_spec, classes):
        """Tuple of LayerShape on an input (InputSpec), the last with ``classes`` neurons.

        Raises
        ------
        ValueError
            If the last layer has another number of neurons, pooling does not divide a map, or an n-bit input would
            be pooled by maximum.
        """
        layers = parse_layers(self.options.layers, input_spec.shape)
        if layers[0].pool > 1 and layers[0].pool_kind == "max" and input_spec.bits > 1:
            raise ValueError(f"maximum pooling needs spikes, and the input has {input_spec.bits} bits; use an average pool")
        if layers[-1].out_channels != classes:
            raise ValueError(f"layers must end in {classes}, the number of classes, not {layers[-1].out_channels}")
        return layers
