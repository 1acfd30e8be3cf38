"""Write a network as NIR, for other libraries, with a sidecar for what NIR cannot say.

A model in full precision (--model float.safetensors) or an integer network (--network network.safetensors), in codes. What NIR has
no node for is refused in a sentence that names the layer.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Source, help="full-precision model")
    source.add_argument("--network", type=Source, help="network.safetensors")
    parser.add_argument("--out", type=Output, required=True, help="the graph, .nir; its sidecar is beside it, .nir.json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from ..nir_export import export_float, export_integer
    if args.network:
        from ..netfile import load_network
        net, _ = load_network(args.network)
        export_integer(net, args.out)
        layers = len(net.layers)
    else:
        from ..model_files import load_model
        from ..models import FloatNetwork
        model, _ = load_model(args.model)
        if not isinstance(model, FloatNetwork):
            raise ValueError(f"{args.model} must be a full-precision model: of a quantized one, give --network network.safetensors")
        export_float(model, args.out)
        layers = len(model.layers)
    stage.say(f"{args.out} and its sidecar: {layers} layers")
