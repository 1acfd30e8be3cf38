"""Write the integer network, and prove that torch computes the same integers.

Compared are all spikes and stored membranes of every layer, neuron, step and test image.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Array, Json
    from ..cli import Stage
    from ..integer import Trace


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--data", type=Source, required=True, help="prepared data")
    parser.add_argument("--model", type=Source, required=True, help="quantized model")
    parser.add_argument("--out", type=Output, required=True, help="network.safetensors")
    parser.add_argument("--result", type=Output, help="what was compared and counted, .json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    import numpy as np

    from .. import integer
    from ..convert import check_equal, to_spec, values_of
    from ..datasets.base import load_prepared
    from ..detection import mean_average_precision
    from ..files import write_json
    from ..metrics import formula_memory_bits
    from ..model_files import load_model
    from ..models import CodeNetwork
    from ..netfile import load_network, save_network
    from ..provenance import provenance
    from ..torch_setup import set_up
    set_up(args.threads)
    data, data_digest = load_prepared(args.data)
    model, description = load_model(args.model)
    if not isinstance(model, CodeNetwork):
        raise ValueError(f"{args.model} must be a quantized model: a full-precision one has no integer network")
    digest = save_network(args.out, to_spec(model))
    net, _ = load_network(args.out)                      # what is on disk is what is proved
    frames = data.frames["test"]
    scores: list[Array] = []
    synops: list[Array] = []
    first: list[dict[str, Array]] = []
    spiking = dict.fromkeys(net.by_name, 0)

    def count(part: Array, trace: Trace) -> None:
        scores.append(trace.score)
        synops.append(integer.count_synops(net, part, trace))
        for name, spikes in trace.spikes.items():
            spiking[name] += int(spikes.sum(dtype=np.int64))
        first.extend([] if first else [{name: spikes[0] for name, spikes in trace.spikes.items()}])
    values = check_equal(model, net, frames, seen=count)
    score = np.concatenate(scores)
    winners = score.argmax(1)
    # Neurons, channels and steps are the model's; only widths, which depend on trained values, are looked up.
    per_channel = [layer.fires and (layer.per_channel or layer.threshold()[0].dim() > 1) for layer in model.layers]
    steps = [len(layer.threshold()[0]) if layer.fires else 0 for layer in model.layers]
    formula = formula_memory_bits(
        model.shapes, [[p.codec.bits for p in layer.projections] for layer in net.layers],
        [0 if layer.neuron.stateless else layer.neuron.store.bits for layer in model.layers],
        [layer.theta_width for layer in net.layers],
        [count * (shape.out_channels if each else 1) for count, each, shape in zip(steps, per_channel, model.shapes)],
        [layer.bias_width for layer in net.layers], [layer.v_init_width for layer in net.layers])
    if formula != net.memory_bits():
        raise RuntimeError(f"memory by formula must equal the network's, but {formula} is not {net.memory_bits()}")
    shown = {layer.name: [np.flatnonzero(step).tolist() for step in first[0][layer.name]] for layer in net.layers
             if layer.theta is not None}
    if model.head is None:
        reached = float((winners == data.labels["test"]).mean())
    else:                                                            # boxes of the integers
        assert data.boxes is not None
        found = model.head.found(values_of(model, net, score))
        reached = mean_average_precision(found, data.boxes["test"], data.classes)[0]
    result = {
        "network_sha256": digest, "data_sha256": data_digest, "torch_equal": True, "torch_values_compared": values,
        "images": len(frames),
        "accuracy": reached, "steps": net.steps,
        "synops_per_image": float(np.concatenate(synops).mean()),
        "memory_bits_formula": formula, "memory_bits": net.memory_bits(),
        "layers": [{"name": layer.name, "shape": list(layer.shape), "neurons": layer.neurons,
                    "codec": " + ".join(p.codec.name for p in layer.projections),
                    "weights": sum(int(p.weights.size) for p in layer.projections),
                    "membrane_bits": layer.neuron.store.bits, "store": [layer.neuron.store.lo, layer.neuron.store.hi],
                    "unit": 1 << layer.neuron.store.shift, "rounding": layer.neuron.store.rounding,
                    "firing_rate": spiking[layer.name] / (len(frames) * net.steps * layer.neurons), "bits": layer.memory_bits()}
                   for layer in net.layers],
        "raster": {"label": None if model.head else int(data.labels["test"][0]), "winner": int(winners[0]),
                   "image": frames[0].tolist(), "spikes": shown},
        "chain": description["chain"], "provenance": provenance()}
    if args.result:
        write_json(args.result, result)
    stage.say(f"torch = integers on {values:,} values; {net.memory_bits()['total']:,} bits")
