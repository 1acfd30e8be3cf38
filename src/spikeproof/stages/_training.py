"""What the three training stages share: arguments, start, end."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Output, Source, whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from ..annotations import Entry, Json
    from ..cli import Stage
    from ..datasets.base import PreparedData
    from ..training import Method


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json], config_help: str,
                  model: bool = False) -> None:
    parser.add_argument("--data", type=Source, required=True, help="prepared data")
    if model:
        parser.add_argument("--model", type=Source, required=True, help="the trained model to start from")
    parser.add_argument("--config", type=json_argument, required=True, help=config_help)
    parser.add_argument("--seed", type=whole, default=0, help="seed of weights and data order (default 0)")
    parser.add_argument("--checkpoint", type=Output, help="file that an interrupted training continues from")
    parser.add_argument("--out", type=Output, required=True, help="trained model, .safetensors")
    parser.add_argument("--history", type=Output, help="losses and accuracies per epoch, .json")


def start(args: argparse.Namespace) -> PreparedData:
    """Fix threads and determinism, load the data -> PreparedData; its digest becomes ``args.data_digest``."""
    from ..datasets.base import load_prepared
    from ..torch_setup import set_up
    set_up(args.threads)
    data, args.data_digest = load_prepared(args.data)
    return data


def arguments(args: argparse.Namespace, stage: Stage, chain: dict[str, Entry]) -> dict[str, Any]:
    """Keyword arguments of :func:`spikeproof.training.fit`; ``chain`` is that of the model that comes out."""
    from ..catalog import module_of
    from ..code_digest import code_digest
    from ..devices import training_device
    from ..runs import SECTION_OF
    modules = [module_of(SECTION_OF[part], entry["kind"]) for part, entry in chain.items()]
    context = {"stage": stage.name, "chain": chain, "data": args.data_digest,
               "code": code_digest(f"spikeproof.stages.{stage.name}", *modules)}
    return {"seed": args.seed, "checkpoint": args.checkpoint, "context": context,
            "label": f"{stage.name} {stage.label}", "say": stage.say, "device": training_device(stage.say)}


def finish(args: argparse.Namespace, stage: Stage, history: list[dict[str, Json]], save: Callable[[], str],
           method: Method | None = None) -> None:
    """Write model and history; the checkpoint goes last, when nothing needs it any more.

    Parameters
    ----------
    method : Method that was added to the training, or None
    """
    from ..files import write_json
    from ..provenance import provenance
    digest = save()
    if args.history:
        write_json(args.history, {"stage": stage.name, "config": args.config, "seed": args.seed, "epochs": history,
                                  "model_sha256": digest, "threads": args.threads, "provenance": provenance()})
    if args.checkpoint:
        Path(args.checkpoint).unlink(missing_ok=True)
    remark = "" if method is None else method.remark()
    stage.say(f"{history[-1]['epoch']} epochs, validation accuracy {100 * history[-1]['validation_accuracy']:.1f} %"
              + (f"; {remark}" if remark else ""))
