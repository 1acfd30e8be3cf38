"""Accuracy on the test part: of the full-precision network and of the compressed one; of detectors mean average precision.

The only stage that reads test labels before the report. The final epoch counts.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage

#: So many test images of a detector are shown with their boxes.
SHOWN = 6


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--data", type=Source, required=True, help="prepared data")
    parser.add_argument("--float-model", type=Source, required=True, help="the full-precision model")
    parser.add_argument("--model", type=Source, required=True, help="the model of this run (may be the same file)")
    parser.add_argument("--out", type=Output, required=True, help="result, .json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from contextlib import nullcontext

    import torch

    from ..convert import exact_dtype, to_spec
    from ..datasets.base import load_prepared
    from ..detection import mean_average_precision
    from ..files import write_json
    from ..metrics import float_bits_of, overall_rate
    from ..model_files import load_model
    from ..models import CodeNetwork
    from ..provenance import provenance
    from ..torch_setup import set_up
    from ..training import accuracy, check_input, firing_rates, found_boxes
    set_up(args.threads)
    data, data_digest = load_prepared(args.data)
    reference, _ = load_model(args.float_model)
    model, description = load_model(args.model)
    for of in (reference, model):
        check_input(of, data)
    dtype = exact_dtype(to_spec(model)) if isinstance(model, CodeNetwork) else torch.float32
    with model.exact(dtype) if isinstance(model, CodeNetwork) else nullcontext():
        rates = firing_rates(model, data, "test", dtype)
        reached = {part: accuracy(model, data, part, dtype=dtype) for part in ("validation", "test")}
        found = [] if model.head is None else found_boxes(model, data, "test", dtype)
    result = {
        "accuracy_float": accuracy(reference, data, "test"), "accuracy": reached["test"],
        "validation_accuracy": reached["validation"], "test_images": len(data.frames["test"]),
        "firing_rates": [float(of.mean()) for of in rates], "firing_rate": overall_rate(rates, model.shapes),
        "float_memory_bits": float_bits_of(reference),
        "architecture": [{"name": s.name, "weights": s.weights, "neurons": s.neurons} for s in model.shapes],
        "metric": "accuracy" if model.head is None else "mean average precision",
        "chain": description["chain"], "data": data.about, "data_sha256": data_digest, "provenance": provenance()}
    if found:
        assert data.boxes is not None
        boxes = list(data.boxes["test"])
        result["map_50"] = mean_average_precision(found, boxes, data.classes)[1]
        result["detections"] = [{"image": data.frames["test"][k].tolist(), "found": found[k].tolist(), "boxes": boxes[k].tolist()}
                                for k in range(min(SHOWN, len(found)))]
    write_json(args.out, result)
    silent = [shape.name for shape, of in zip((s for k, s in enumerate(model.shapes) if model.fires(k)), rates) if not of.any()]
    if silent:
        more = f" and {len(silent) - 3} layers more" if len(silent) > 3 else ""
        stage.say(f"no neuron of {', '.join(silent[:3])}{more} ever fires on the test part: nothing passes there")
    stage.say(f"test {result['metric']} {100 * result['accuracy']:.2f} % (float {100 * result['accuracy_float']:.2f} %)")
