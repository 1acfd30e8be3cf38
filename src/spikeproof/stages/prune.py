"""Remove parts of a quantized network for real, then train the smaller one on."""
from __future__ import annotations

from typing import TYPE_CHECKING

from . import _training as training

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    training.add_arguments(parser, json_argument, "pruner entry, JSON or a file of it", model=True)


def run(args: argparse.Namespace, stage: Stage) -> None:
    import torch

    from ..entries import make
    from ..model_files import load_model, save_model
    from ..models import CodeNetwork
    from ..training import Together, fit, seed_of
    data = training.start(args)
    source, description = load_model(args.model)
    if not isinstance(source, CodeNetwork):
        raise ValueError(f"{args.model} must be a quantized model, not one in full precision")
    if len(source.layers) < 2:
        raise ValueError(f"{args.model} must have a hidden layer to prune, and has none")
    pruner = make("pruners", args.config)
    torch.manual_seed(seed_of(args.seed, "pruner"))
    model, done = pruner.prune(source, data)
    chain = {**description["chain"], "pruner": args.config}
    method = Together([of for of in (model.quantizer.method(), pruner.method()) if of is not None])
    history = fit(model, data, pruner.options.training, method=method, **training.arguments(args, stage, chain))
    training.finish(args, stage, history, lambda: save_model(args.out, model, chain, data.classes), method)
    stage.say(done)
