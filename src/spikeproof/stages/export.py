"""Write the integer network, and prove that torch computes the same integers.

Compared are all spikes and stored membranes of every layer, neuron, step and test image.
"""


def add_arguments(parser, json_argument):
    parser.add_argument("--data", required=True, help="prepared data")
    parser.add_argument("--model", required=True, help="quantized model")
    parser.add_argument("--out", required=True, help="network.safetensors")
    parser.add_argument("--result", help="what was compared and counted, .json")


def run(args, stage):
    import numpy as np
    import torch

    from .. import integer
    from ..convert import check_equal, to_spec
    from ..datasets.base import load_prepared
    from ..files import write_json
    from ..metrics import formula_memory_bits
    from ..model_files import load_model
    from ..models import CodeNetwork
    from ..netfile import load_network, save_network
    from ..provenance import provenance
    torch.set_num_threads(args.threads)
    data, _ = load_prepared(args.data)
    model, description = load_model(args.model)
    if not isinstance(model, CodeNetwork):
        raise ValueError(f"{args.model} must be a quantized model: a full-precision one has no integer network")
    digest = save_network(args.out, to_spec(model))
    net, _ = load_network(args.out)                      # what is on disk is what is proved
    frames, labels = data.frames["test"], data.labels["test"]
    values = check_equal(model, net, frames)
    trace = integer.run(net, frames)
    formula = formula_memory_bits(model.shapes, model.quantizer.codec.bits, [l.neuron.store.bits for l in model.layers],
                                  [l.theta_width for l in net.layers], [l.bias_width for l in net.layers])
    if formula != net.memory_bits():
        raise RuntimeError(f"memory by formula must equal the network's, but {formula} is not {net.memory_bits()}")
    synops = integer.count_synops(net, frames, trace)
    shown = {layer.name: [np.flatnonzero(step).tolist() for step in trace.spikes[layer.name][0]] for layer in net.layers
             if layer.theta is not None}
    result = {
        "network_sha256": digest, "torch_equal": True, "torch_values_compared": values, "images": len(frames),
        "accuracy": float((trace.winner == labels).mean()), "steps": net.steps,
        "synops_per_image": float(synops.mean()),
        "memory_bits_formula": formula, "memory_bits": net.memory_bits(),
        "bits_per_weight": model.quantizer.codec.bits,
        "layers": [{"name": layer.name, "shape": list(layer.shape), "neurons": layer.neurons,
                    "codec": layer.projections[0].codec.name, "weights": int(layer.projections[0].weights.size),
                    "membrane_bits": layer.neuron.store.bits, "store": [layer.neuron.store.lo, layer.neuron.store.hi],
                    "unit": 1 << layer.neuron.store.shift, "rounding": layer.neuron.store.rounding,
                    "firing_rate": float(trace.spikes[layer.name].mean()), "bits": layer.memory_bits()}
                   for layer in net.layers],
        "raster": {"label": int(labels[0]), "winner": int(trace.winner[0]), "image": frames[0].tolist(), "spikes": shown},
        "chain": description["chain"], "provenance": provenance()}
    if args.result:
        write_json(args.result, result)
    stage.say(f"torch = integers on {values:,} values; {net.memory_bits()['total']:,} bits")
