"""Train a spiking network in full precision.

Progress is kept in a checkpoint, so an interrupted training continues and gives the same bits.
"""
from . import _training as training


def add_arguments(parser, json_argument):
    training.add_arguments(parser, json_argument, "chain: {architecture, neuron, pretraining} entries, JSON or a file of it")


def run(args, stage):
    from ..model_files import make, save_model, untrained
    data = training.start(args)
    parts = ("architecture", "neuron", "pretraining")
    if set(args.config) != set(parts):
        raise ValueError(f"the chain must have the entries {', '.join(parts)}, not {', '.join(args.config) or 'none'}")
    chain = {part: args.config[part] for part in parts}
    model = untrained(chain, data, args.seed)
    method = make("pretraining", chain["pretraining"])
    history = method.train(model, data, **training.arguments(args, stage, chain))
    training.finish(args, stage, history, lambda: save_model(args.out, model, chain, data.classes))
