"""Read a dataset's own files, encode them as integer input codes and split them.

Files are looked for in <data-dir>/<dataset>/; what is absent there is downloaded into it, continued where an earlier download
stopped, checked against the published digest, and unpacked. Writes one safetensors file with its digest; later stages map it, and
refuse it if it was altered.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..arguments import Output, Source, count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage

DATA_DIR = "SPIKEPROOF_DATA_DIR"


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--config", type=json_argument, required=True, help="dataset entry, JSON or a file of it")
    parser.add_argument("--data-dir", type=Source, default=os.environ.get(DATA_DIR, "data"),
                        help=f"folder of the datasets' files (default: environment variable {DATA_DIR}, else data)")
    parser.add_argument("--offline", action="store_true", default=os.environ.get("SPIKEPROOF_OFFLINE", "") not in ("", "0"),
                        help="download nothing (also: environment variable SPIKEPROOF_OFFLINE=1)")
    parser.add_argument("--limit", type=count, metavar="N", help="keep at most N samples of each part, to try things out")
    parser.add_argument("--out", type=Output, required=True, help="prepared data, .safetensors")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from ..datasets.base import limited, save_prepared
    from ..datasets.sources import Sources
    from ..entries import make
    sources = Sources(args.data_dir, not args.offline, args.threads, stage.say)
    data = make("datasets", args.config).prepare(sources)
    if args.limit is not None:
        data = limited(data, args.limit)
    save_prepared(args.out, data)
    stage.say(f"{data.about['images']} samples, {data.about['split']}")
