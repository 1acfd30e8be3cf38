"""A VGG-9 for 32x32 images on one engine: does it fit a mid-size ECP5, and is it the same integers?

Nine layers (16C3-32C3-P2-64C3-64C3-P2-128C3-128C3-P2-128C3-128C3-P2-10: a quarter of the usual width), ternary weights and ternary
membranes, 8-bit pixels, four steps. Weights and images are random: what counts here is size, cycles and equality, not accuracy.

    python benchmarks/vgg9_folded.py --images 2 --device 45k
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl")]

from spikeproof_hdl.export import export_core  # noqa: E402
from spikeproof_hdl.plan import CorePlan  # noqa: E402
from spikeproof_hdl.synth import DEVICES, synthesize  # noqa: E402
from spikeproof_hdl.verify import verify  # noqa: E402

from spikeproof import integer  # noqa: E402
from spikeproof.codecs import parse_codec  # noqa: E402
from spikeproof.network import LayerSpec, NetworkSpec  # noqa: E402
from spikeproof.projections import InputSpec, Projection  # noqa: E402
from spikeproof.spec import Leak, NeuronSpec, Store  # noqa: E402

WIDTHS = ((16, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 2), (128, 1))       # channels, pool before the layer


def vgg9(seed=0):
    """The network, with random codes and thresholds that keep every layer lively."""
    rng, ternary = np.random.default_rng(seed), parse_codec("ternary")
    neuron = NeuronSpec(Leak("subtract_shift", 1), Store(-1, 1, 3), "hard")
    layers, source, shape = [], "input", (32, 32, 3)
    for number, (channels, pool) in enumerate(WIDTHS, 1):
        side = shape[0] // pool
        codes = rng.integers(-1, 2, (3, 3, shape[2], channels))
        theta = rng.integers(4, 9, (1, 1, 1, channels)) * (100 if number == 1 else 1)
        projection = Projection(source, ternary, codes, padding=1, pool=pool)
        layers.append(LayerSpec(f"conv{number}", (side, side, channels), (projection,), neuron, theta,
                                rng.integers(-2, 3, channels)))
        source, shape = f"conv{number}", (side, side, channels)
    side = shape[0] // 2
    projection = Projection(source, ternary, rng.integers(-1, 2, (side, side, shape[2], 10)), pool=2)
    layers.append(LayerSpec("fc", (1, 1, 10), (projection,), NeuronSpec(store=Store(-128, 127)), None))
    return NetworkSpec(InputSpec((32, 32, 3), 8, True), tuple(layers), 4, "membrane")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--device", default="45k", choices=DEVICES)
    arguments = parser.parse_args()
    net = vgg9()
    frames = np.random.default_rng(1).integers(0, 256, (arguments.images, 32, 32, 3)).astype(np.uint16)
    trace = integer.run(net, frames)
    print("firing rates: " + ", ".join(f"{name} {spikes.mean():.2f}" for name, spikes in trace.spikes.items()))
    plan = CorePlan.of(net, arguments.lanes, fold=True)
    with tempfile.TemporaryDirectory() as work:
        work, began = Path(work), time.monotonic()
        export_core(plan, work / "core")
        result = verify(plan, work / "core", frames, work / "sim", work / "divergence")
        print(f"{result['values_compared']:,} values equal in {result['images_compared']} images, "
              f"{result['cycles_per_image']:,.0f} cycles an image as predicted, {result['memory']['total']:,} bits, "
              f"{time.monotonic() - began:.0f} s", flush=True)
        synops = integer.count_synops(net, frames, trace).mean()
        share = 100 * synops / arguments.lanes / result["cycles_per_image"]
        print(f"{synops:,.0f} synaptic operations an image, {share:.1f} % of one "
              "per lane and cycle")
        found = synthesize(work / "core", work / "yosys", arguments.device)
        print(f"{found['device']}: {found['lut']} LUT, {found['ff']} FF, {found['bram']} block RAM, {found['bram_ratio']} times "
              f"the bits needed, {found['dsp']} DSP, {found['fmax_mhz']} MHz")


if __name__ == "__main__":
    main()
