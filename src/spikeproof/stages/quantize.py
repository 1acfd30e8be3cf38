"""Turn a trained network into integer codes and train it on in codes.

Batch norm and input scales fold into weights, thresholds and biases first.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from . import _training as training

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    training.add_arguments(parser, json_argument, "quantizer entry, JSON or a file of it", model=True)


def run(args: argparse.Namespace, stage: Stage) -> None:
    from ..entries import make
    from ..model_files import load_model, save_model
    from ..models import CodeNetwork, FloatNetwork
    data = training.start(args)
    source, description = load_model(args.model)
    if not isinstance(source, FloatNetwork):
        raise ValueError(f"{args.model} must be a full-precision model, not one that is quantized already")
    quantizer = make("quantizers", args.config)
    model = CodeNetwork.from_float(source, quantizer)
    chain = {**description["chain"], "quantizer": args.config}
    method = quantizer.method()
    pretraining = make("pretraining", chain["pretraining"])
    model, history = pretraining.train_codes(model, source, data, method=method, **training.arguments(args, stage, chain))
    training.finish(args, stage, history, lambda: save_model(args.out, model, chain, data.classes), method)
