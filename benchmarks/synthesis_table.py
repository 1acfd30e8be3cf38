"""Resources of the binary MNIST core (784-128-10, four steps of spikes) on every device, by yosys and nextpnr.

Random weights: size and speed do not depend on them. 16 lanes in the hidden layer and 2 in the last; for the UP5K 8 and 2, and 16
codes read at once, so that the block RAM suffices.

    python benchmarks/synthesis_table.py [--out synthesis_table.json]
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl"), str(ROOT / "benchmarks")]

from core_efficiency import mnist_shape  # noqa: E402
from spikeproof_hdl.export import export_core  # noqa: E402
from spikeproof_hdl.plan import CorePlan  # noqa: E402
from spikeproof_hdl.synth import synthesize  # noqa: E402
from spikeproof_hdl.timing import predict  # noqa: E402

from spikeproof.files import write_json  # noqa: E402
from spikeproof.provenance import provenance  # noqa: E402

PLANS = {"up5k": ([8, 2], 16), "25k": ([16, 2], 64), "85k": ([16, 2], 64), "xc7": ([16, 2], 64)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    rows = []
    print(f"{'device':16s}{'lanes':>8s}{'LUT':>7s}{'FF':>7s}{'BRAM':>6s}{'x bits':>8s}{'DSP':>5s}{'MHz':>8s}{'cycles':>8s}")
    for device, (lanes, fetch) in PLANS.items():
        rng = np.random.default_rng(0)
        plan = CorePlan.of(mnist_shape(rng), lanes, word=16, fetch=fetch)
        frames = (rng.random((2, 4, 1, 1, 784)) < 0.13).astype(np.uint8)
        cycles = predict(plan, frames).cycles / 2
        with tempfile.TemporaryDirectory() as work:
            export_core(plan, Path(work) / "core")
            found = synthesize(Path(work) / "core", Path(work) / "yosys", device)
        rows.append({**found, "lanes": lanes, "fetch": fetch, "cycles_per_image_at_13_percent": cycles})
        clock = "-" if found["fmax_mhz"] is None else format(found["fmax_mhz"], ".1f")
        print(f"{found['device']:16s}{'-'.join(map(str, lanes)):>8s}{found['lut']:7d}{found['ff']:7d}{found['bram']:6d}"
              f"{found['bram_ratio'] or 0:8.2f}{found['dsp']:5d}{clock:>8s}{cycles:8.0f}", flush=True)
    if arguments.out:
        write_json(arguments.out, {"network": "784-128-10, binary weights, 8-bit membranes, 4 steps", "rows": rows,
                                   "provenance": provenance()})


if __name__ == "__main__":
    main()
