"""MNIST 784-128-10 beside published cores of the same network: cycles, latency, LUT, block RAM, accuracy.

Trains, quantizes, exports, generates, proves on all 10,000 test images and synthesises, by the stages of the command line.
Figures of others are published ones, for other FPGAs and tools; sources stand in the table. 784-128-10, pixels of one bit (at
least half of full scale), the same at every step.

    python benchmarks/peers_mnist.py [--mnist FOLDER] [--out peers_mnist.json]

FOLDER (default data) has MNIST's four files, or gets them.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl")]

from spikeproof.files import write_json  # noqa: E402
from spikeproof.provenance import provenance  # noqa: E402

#: name, accuracy %, cycles an image, latency us, LUT, block RAM, cycles per synaptic operation, source
PEERS = (
    ("Spiker+ (784-128-10)", 93.85, 78_000, 780, 7612, 18, None, "arXiv 2401.01141, Xilinx 7 series at 100 MHz"),
    ("Fan and Levy", None, 52_000, 520, 6358, 40.5, None, "abstract of arXiv 2507.07284, 100 MHz"),
    ("tinyODIN", None, None, None, None, None, 2, "its documentation: two cycles per synaptic operation"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default="data")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16, help="of each of the two trainings (default 16)")
    parser.add_argument("--quantizer", default='{"kind": "int", "bits": 4, "membrane": {"bits": 10}}')
    parser.add_argument("--lanes", default="16,2")
    parser.add_argument("--fetch", default="16", help="input codes that a layer reads at once (default 16)")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    training = {"epochs": arguments.epochs, "batch_size": 256, "learning_rate": 0.002, "weight_decay": arguments.weight_decay}
    chain = {"architecture": {"kind": "feedforward", "layers": "128-10"}, "neuron": {"kind": "if", "readout": "membrane"},
             "pretraining": {"kind": "surrogate", "training": training}}
    quantizer = {**json.loads(arguments.quantizer), "training": {**training, "learning_rate": 0.001}}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "hdl")])}

    def stage(*words):
        subprocess.run([sys.executable, "-m", "spikeproof", *map(str, words)], check=True, env=env)

    def read(path):
        return json.loads(path.read_text())
    accuracies = []
    with tempfile.TemporaryDirectory() as work:
        at = Path(work)
        stage("prepare", "--data-dir", arguments.mnist, "--out", at / "data",
              "--config", json.dumps({"kind": "mnist", "bits": 1, "steps": arguments.steps}))
        (at / "chain.json").write_text(json.dumps(chain))
        for seed in arguments.seeds:
            own = at / str(seed)
            own.mkdir()
            data = ("--threads", 2, "--data", at / "data")
            stage("pretrain", *data, "--config", at / "chain.json", "--seed", seed, "--out", own / "float")
            stage("quantize", *data, "--model", own / "float", "--config", json.dumps(quantizer), "--seed", seed,
                  "--out", own / "model")
            stage("evaluate", *data, "--float-model", own / "float", "--model", own / "model", "--out", own / "evaluate")
            accuracies.append(100 * read(own / "evaluate")["accuracy"])
        own = at / str(arguments.seeds[0])
        stage("export", "--data", at / "data", "--model", own / "model", "--out", own / "network", "--result", own / "export")
        stage("generate", "--network", own / "network", "--lanes", arguments.lanes, "--fetch", arguments.fetch,
              "--out", own / "core")
        stage("simulate", "--threads", 2, "--network", own / "network", "--rtl", own / "core", "--data", at / "data",
              "--out", own / "equivalence.json")
        for device in ("25k", "xc7"):
            stage("synthesize", "--rtl", own / "core", "--device", device, "--out", own / device)
        proof, exported, ecp5, xilinx = (read(own / name) for name in ("equivalence.json", "export", "25k", "xc7"))
    cycles, synops = proof["cycles_per_image"], exported["synops_per_image"]
    sd = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    ours = {"accuracy": float(np.mean(accuracies)), "accuracy_sd": sd, "seeds": arguments.seeds,
            "accuracies": accuracies, "cycles": cycles, "latency_cycles": proof["latency_cycles"],
            "fmax_mhz": ecp5["fmax_mhz"], "lut_ecp5": ecp5["lut"],
            "bram_ecp5": ecp5["bram"], "lut_xilinx": xilinx["lut"], "bram_xilinx_18k": xilinx["bram"],
            "synops": synops,
            "cycles_per_synop": cycles / synops, "images_proved": proof["images_compared"],
            "values_proved": proof["values_compared"],
            "quantizer": quantizer, "lanes": arguments.lanes, "fetch": arguments.fetch, "training": training,
            "steps": arguments.steps}
    print(f"\n{'core':38s}{'accuracy %':>12s}{'cycles':>9s}{'us':>7s}{'LUT':>7s}{'BRAM':>6s}{'cycles/SOP':>12s}  source")
    rows = [(f"spikeproof, ECP5 ({ecp5['fmax_mhz']:.0f} MHz)", ours["accuracy"], cycles, proof["latency_cycles"] / ecp5["fmax_mhz"],
             ecp5["lut"], ecp5["bram"], cycles / synops,
             f"measured; accuracy over {len(accuracies)} seeds, sd {'-' if sd is None else format(sd, '.2f')}"),
            ("spikeproof, Xilinx 7 (yosys, at 100 MHz)", ours["accuracy"], cycles, proof["latency_cycles"] / 100, xilinx["lut"],
             xilinx["bram"] / 2, cycles / synops, "LUT6 counted, not placed"), *PEERS]
    for name, *figures, source in rows:
        forms = (".2f", ",.0f", ".1f", "d", "g", ".3f")
        shown = ["-" if value is None else format(value, form) for value, form in zip(figures, forms)]
        print(f"{name:38s}{shown[0]:>12s}{shown[1]:>9s}{shown[2]:>7s}{shown[3]:>7s}{shown[4]:>6s}{shown[5]:>12s}  {source}")
    spiker = PEERS[0]
    verdict = {"a twenty-fifth of Spiker+'s cycles": cycles <= spiker[2] / 25,
               "a third of its LUTs, on Xilinx 7 as it is (LUT6)": xilinx["lut"] <= spiker[4] / 3,
               "a third of its LUTs, on ECP5 (LUT4)": ecp5["lut"] <= spiker[4] / 3,
               "3 points more accuracy": ours["accuracy"] >= spiker[1] + 3}
    for target, met in verdict.items():
        print(f"{target}: {'met' if met else 'not met'}")
    if arguments.out:
        write_json(arguments.out, {"ours": ours, "peers": [list(peer) for peer in PEERS], "targets": verdict,
                                   "provenance": provenance()})


if __name__ == "__main__":
    main()
