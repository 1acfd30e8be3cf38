"""Remove parts of a quantized network for real, then train the smaller one on."""
from . import _training as training


def add_arguments(parser, json_argument):
    training.add_arguments(parser, json_argument, "pruner entry, JSON or a file of it", model=True)


def run(args, stage):
    from ..architectures.shapes import channel_groups
    from ..model_files import load_model, make, save_model
    from ..models import CodeNetwork
    from ..training import firing_rates, fit
    data = training.start(args)
    source, description = load_model(args.model)
    if not isinstance(source, CodeNetwork):
        raise ValueError(f"{args.model} must be a quantized model, not one in full precision")
    if len(source.layers) < 2:
        raise ValueError(f"{args.model} must have a hidden layer to prune, and has none")
    pruner = make("pruners", args.config)
    hidden = [shape for shape in source.shapes[:-1] if shape.emits == "spikes"]
    rates = {shape.name: of.float() for shape, of in zip(hidden, firing_rates(source, data, "train"))}
    kept = {}
    for names in channel_groups(source.shapes):
        members = [(rates[name], source.outgoing(name)) for name in names if name in rates]
        if members:                                                  # else these are the currents of the last layer
            kept.update(dict.fromkeys(names, pruner.kept(members)))
    model = source.pruned(kept)
    chain = {**description["chain"], "pruner": args.config}
    history = fit(model, data, pruner.options.training, method=model.quantizer.method(), **training.arguments(args, stage, chain))
    training.finish(args, stage, history, lambda: save_model(args.out, model, chain, data.classes))
    stage.say("kept " + ", ".join(f"{len(kept[shape.name])} of {shape.out_channels} channels of {shape.name}" for shape in hidden))
