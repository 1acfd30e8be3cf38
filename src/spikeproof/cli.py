"""Command line: one subcommand per stage, files in, files out."""
from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from functools import cache
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .arguments import Output, OutputFolder, Source, threads
from .files import NoRoom, check_output, room

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import NoReturn, TextIO

    from .annotations import Json

__all__ = ["STAGES", "Stage", "main", "parser"]

STAGES = ("import", "prepare", "pretrain", "quantize", "prune", "evaluate", "explore", "export", "export-nir", "size", "generate",
          "simulate", "synthesize", "bundle", "analyze", "report", "verify", "prove", "board", "grid-part", "grid",
          "overview")

EXAMPLES = """\
examples (the pipeline, one stage at a time; `snakemake --cores all` runs them all):
  spikeproof prepare    --config '{"kind": "digits"}' --out data.safetensors
  spikeproof pretrain   --data data.safetensors --config chain.json --seed 0 --out float.safetensors
  spikeproof quantize   --data data.safetensors --model float.safetensors --config '{"kind": "ternary"}' --out model.safetensors
  spikeproof export     --data data.safetensors --model model.safetensors --out network.safetensors
  spikeproof size       --network network.safetensors --data data.safetensors --device 25k --latency-us 20
  spikeproof generate   --network network.safetensors --out core/
  spikeproof simulate   --network network.safetensors --rtl core/ --data data.safetensors --out equivalence.json
  spikeproof synthesize --rtl core/ --out synthesis.json
  spikeproof bundle     --network network.safetensors --rtl core/ --data data.safetensors --equivalence equivalence.json \\
                        --synthesis synthesis.json --out rtl/

a network of another library, as NIR: its own study, then `snakemake --cores all --config study=mynet`
  spikeproof import     mynet.nir --from snntorch --reset soft --data mnist

exit status: 0 done, 1 the work failed or something differs, 2 wrong usage or bad input
"""


class JsonObject(dict[str, "Json"]):
    """A JSON object of the command line.

    Members
    -------
    source : Source, the file that it is from, or None
    """
    source: Source | None = None


def json_argument(text: str) -> JsonObject:
    """A JSON object, or the path of a file that holds one."""
    source = None
    try:
        if not text.lstrip().startswith("{"):
            source = Source(text)
            text = Path(text).read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    found = JsonObject(value)
    found.source = source
    return found


class Stage:
    """What a stage may say while it runs: short lines for the terminal and the log, details for the log alone.

    Parameters
    ----------
    log : open file, or None
    terminal : bool, whether lines go to standard output
    """
    def __init__(self, name: str, label: str, log: TextIO | None = None, terminal: bool = True) -> None:
        self.name, self.label, self.log, self.terminal, self.began = name, label, log, terminal, time.monotonic()

    def say(self, text: str) -> None:
        """One line on standard output, with the stage, the run and the seconds so far; and one in the log."""
        seconds = time.monotonic() - self.began
        line = f"[{self.name}{' ' + self.label if self.label else ''}] {text} ({seconds:.0f} s)"
        for file in ([sys.stdout] if self.terminal else []) + ([self.log] if self.log else []):
            print(line, file=file, flush=True)


@cache
def parser() -> argparse.ArgumentParser:
    """The argument parser, with every stage's own arguments."""
    top = argparse.ArgumentParser(prog="spikeproof", description="Compressed spiking neural networks, from pixels to "
                                  "proven Verilog.", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"spikeproof {__version__}")
    commands = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name in STAGES:
        module = import_module(f".stages.{name + '_' if iskeyword(name) else name.replace('-', '_')}", __package__)
        assert module.__doc__ is not None
        text = module.__doc__.strip()
        command = commands.add_parser(name, help=text.splitlines()[0], description=text,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("--log", type=Output, help="file for progress bars and details (default: standard error)")
        command.add_argument("--label", default="", help="name of the run, for the lines on the terminal")
        command.add_argument("--threads", type=threads, default=1, help="CPU threads (default 1)")
        module.add_arguments(command, json_argument)
        command.set_defaults(run=module.run)
    return top


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _check_paths(arguments: argparse.Namespace) -> None:
    """ValueError where what is written would replace what is read, or another output, or cannot be written."""
    named: dict[Path, str] = {}
    for kind in (Source, Output):
        for name, value in vars(arguments).items():
            name = name.replace("_", "-")
            for path in value if isinstance(value, list) else [getattr(value, "source", value)]:
                if isinstance(path, kind):
                    place = Path(path).resolve()
                    if kind is Output and place in named:
                        raise ValueError(f"{name} and {named[place]} must be different files, but both are {place}")
                    named[place] = name
    for name, value in vars(arguments).items():
        if isinstance(value, Output) and name != "log":              # which may be a device
            check_output(value, isinstance(value, OutputFolder))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    terminal = sys.stderr
    log: TextIO | None = None
    try:
        _check_paths(arguments)
        if arguments.log:
            try:
                Path(arguments.log).parent.mkdir(parents=True, exist_ok=True)
                log = sys.stderr = open(arguments.log, "w", encoding="utf-8", buffering=1)
            except OSError as error:
                raise ValueError(f"{arguments.log} cannot be written: {error.strerror}") from None
    except (NoRoom, ValueError) as error:
        print(f"spikeproof {arguments.stage}: error: {error}", file=terminal)
        return 1 if isinstance(error, NoRoom) else 2
    # A stage that is told to end leaves nothing half-written, as after Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    stage = Stage(arguments.stage, arguments.label, log)
    try:
        with room("a file"):
            arguments.run(arguments, stage)
        return 0
    except KeyboardInterrupt:
        print(f"spikeproof {arguments.stage}: interrupted; run it again", file=terminal)
        return 130
    except Exception as error:
        if isinstance(error, MemoryError):
            error = RuntimeError(f"there is not enough memory ({error}): run fewer jobs at once (--cores)".replace(" ()", ""))
        if log or os.environ.get("SPIKEPROOF_TRACEBACK"):
            import traceback
            traceback.print_exc(file=log or terminal)
        known = isinstance(error, (ValueError, OSError, RuntimeError, ArithmeticError))
        where = f"; details in {arguments.log}" if log and not known else ""
        print(f"spikeproof {arguments.stage}{' ' + arguments.label if arguments.label else ''}: error: "
              f"{error if known else repr(error)}{where}", file=terminal)
        return 2 if isinstance(error, (ValueError, FileNotFoundError)) else 1
    finally:
        sys.stderr = terminal
        if log:
            log.close()
