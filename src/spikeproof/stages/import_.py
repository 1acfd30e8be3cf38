"""Take a trained network of another library, saved as NIR, into a study of its own.

Writes the study (config/studies/NAME.yaml) and the weights beside it; `snakemake --cores all --config study=NAME` then quantizes
the network, and goes on to proven Verilog. What NIR does not say (time step, reset, what happens at the threshold) comes from a
sidecar MODEL.nir.json, from --from, or from options of their own; what is still open, or what the integer contract cannot say, is
refused in a sentence that names the node. A graph in codes, as `spikeproof export-nir --network` writes it, becomes the integer
network again.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import OutputFolder, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    from ..nir_files import DIALECTS, Dialect
    parser.add_argument("file", type=Source, help="the network, .nir")
    parser.add_argument("--from", dest="library", choices=sorted(DIALECTS), help="the library that wrote the file")
    parser.add_argument("--data", metavar="DATASET", help="a dataset of the configuration: input and time steps")
    parser.add_argument("--dt", type=float, help="time step, in the unit of the graph's time constants")
    for name, choices in Dialect.CHOICES.items():
        parser.add_argument(f"--{name}", choices=choices, help={
            "decay": "how a time constant decays in a step", "gain": "what multiplies the input of a leaky neuron, beside R",
            "fires": "whether a membrane must be above its threshold or at it",
            "reset": "what a spike does to the membrane: the threshold is subtracted (soft), or it goes to 0 (hard)"}[name])
    parser.add_argument("--input-scale", type=float, default=1.0, metavar="X",
                        help="what the brightest input is to the network (default 1: inputs are 0 to 1)")
    parser.add_argument("--quantizer", action="append", metavar="NAME",
                        help="a quantizer of the configuration; may be given several times (default int8_v16)")
    parser.add_argument("--leak-bits", type=int, default=8, metavar="N", help="bits of the factors of leaks in codes (default 8)")
    parser.add_argument("--name", help="name of the study (default: that of the file)")
    parser.add_argument("--force", action="store_true", help="replace a study of that name")
    parser.add_argument("--config", type=Source, default="config/config.yaml",
                        help="the configuration (default config/config.yaml)")
    parser.add_argument("--out", type=OutputFolder, metavar="FOLDER", default="config/studies",
                        help="folder of the study (default config/studies)")


def run(args: argparse.Namespace, stage: Stage) -> None:
    import os
    import tempfile
    from pathlib import Path

    import yaml

    from ..catalog import load
    from ..config import load_study, parse_config, with_entries
    from ..entries import NAME, ConfigError, read_yaml
    from ..files import sha256_file, write_container, write_text
    from ..netfile import save_network
    from ..nir_export import network_of
    from ..nir_files import DIALECTS, Dialect, ImportRefused, read_nir, read_sidecar
    from ..nir_import import import_graph
    from ..pretraining.imported import WEIGHTS
    name = args.name or Path(args.file).stem
    if not Path(args.file).is_file():
        raise FileNotFoundError(f"{args.file} does not exist")
    known, network = read_sidecar(args.file)
    own = {field: getattr(args, field) for field in ("dt", *Dialect.CHOICES)}
    if network is not None:
        if args.library or args.data or any(value is not None for value in own.values()):
            raise ValueError(f"{args.file} is a graph in codes, and its sidecar says all: --from, --data and how it is meant have "
                             "no place here")
        net, out = network_of(read_nir(args.file), network), Path(args.out) / f"{name}.network.safetensors"
        save_network(out, net)
        stage.say(f"an integer network of {len(net.layers)} layers, {net.memory_bits()['total']:,} bits: {out}; now "
                  f"`spikeproof generate --network {out} --out core`")
        return
    if args.data is None:
        raise ValueError("--data is missing: it names the dataset that the network was trained on")
    if not NAME.fullmatch(name):
        raise ValueError(f"--name must be letters, digits, - and _, and start with a letter or digit, not {name!r}")
    raw = read_yaml(args.config)
    config = parse_config(raw, args.config)
    study, quantizers = Path(args.out) / f"{name}.yaml", args.quantizer or ["int8_v16"]
    if study.exists() and not args.force:
        raise ValueError(f"{study} exists: choose another --name, or give --force to replace it")
    for section, chosen in (("datasets", [args.data]), ("quantizers", quantizers)):
        for one in chosen:
            if one not in config.entries[section]:
                raise ConfigError(f"{args.config} has no entry {section}.{one}: it has {', '.join(config.entries[section])}")
    dialect = Dialect(**own).over(known)
    if args.library:
        dialect = dialect.over(DIALECTS[args.library])
    found = import_graph(read_nir(args.file), dialect, args.input_scale)
    entry = config.entries["datasets"][args.data]
    spec, steps, classes = load("datasets", entry.kind)(entry).describe()
    if found.input_shape is not None and tuple(spec.shape) != found.input_shape:
        flat = len(spec.shape) == 3 and found.input_shape == (1, 1, spec.shape[0] * spec.shape[1] * spec.shape[2])
        raise ImportRefused(f"{args.file} takes inputs of {found.input_shape}, and {args.data} has {tuple(spec.shape)} (height, "
                            "width, channels)" + (": of a flat input, give the graph an Input of channels, height and width, and a "
                                                  "Flatten behind it" if flat else ""))
    if found.classes != classes:
        raise ImportRefused(f"{args.file} has {found.classes} outputs, and {args.data} has {classes} classes")
    weights = study.with_suffix(".safetensors")
    entries = {
        "architectures": {name: {"kind": "graph", "layers": found.layers}},
        "neurons": {name: {"kind": "per_layer", "fires": found.dialect.fires or ">=", "reset": found.dialect.reset or "soft",
                           "readout": found.readout, "bits": args.leak_bits, "layers": found.neurons}},
    }
    runs = {"float": {"quantizer": "float"}} | {quantizer: {"quantizer": quantizer} for quantizer in quantizers}
    study.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=study.parent, prefix=".import-") as folder:     # nothing is replaced before all is checked
        made = Path(folder) / study.name
        write_container(Path(folder) / weights.name, WEIGHTS, {"nir_sha256": sha256_file(args.file)}, found.weights)
        digest = sha256_file(Path(folder) / weights.name)
        entries["pretraining"] = {name: {"kind": "imported", "weights": weights.name, "sha256": digest}}
        write_text(made, yaml.safe_dump({
            "title": f"{name}, imported", "about": f"Imported from {Path(args.file).name} (NIR).",
            "defaults": {"dataset": args.data, "architecture": name, "neuron": name, "pretraining": name},
            "runs": runs, "entries": entries,
        }, sort_keys=False, width=120))
        try:
            load_study(made, parse_config(with_entries(raw, made), args.config))
        except ConfigError as error:
            hint = "; choose another --name" if "an entry of this name already" in str(error) else ""
            raise ConfigError(str(error).replace(str(made), str(args.file)) + hint) from None
        os.replace(Path(folder) / weights.name, weights)
        os.replace(made, study)
    count = sum(value.size for value in found.weights.values())
    stage.say(f"{len(found.layers)} layers, {count:,} weights and biases, {steps} steps of {args.data}: {study}, {weights.name}; "
              f"now `snakemake --cores all --config study={name if study.parent == Path('config/studies') else study}"
              + (f" --configfile {args.config}" if Path(args.config) != Path("config/config.yaml") else "") + "`")
