"""How close the core comes to one synaptic operation per lane and cycle.

Random networks and spikes at stated rates, through the generated Verilog in Verilator (every value compared). The
efficiency is synaptic operations / (lanes * cycles) of the busiest layer, images back to back.

    python benchmarks/core_efficiency.py [--images 20] [--word 16]
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl")]

from spikeproof_hdl.cosim import Simulator, write_golden  # noqa: E402
from spikeproof_hdl.export import export_core  # noqa: E402
from spikeproof_hdl.plan import CorePlan  # noqa: E402

from spikeproof import integer  # noqa: E402
from spikeproof.codecs import parse_codec  # noqa: E402
from spikeproof.network import LayerSpec, NetworkSpec  # noqa: E402
from spikeproof.projections import InputSpec, Projection  # noqa: E402
from spikeproof.spec import Leak, NeuronSpec, Store  # noqa: E402

RATES = (0.05, 0.13, 0.25, 0.5)


def mnist_shape(rng, hidden=128, steps=4):
    """784-128-10 (or another number of hidden neurons), binary weights, four steps of spikes."""
    binary = parse_codec("binary")
    lif = NeuronSpec(Leak("subtract_shift", 2), Store(-128, 127))
    first = LayerSpec("hidden", (1, 1, hidden), (Projection("input", binary, rng.choice([-1, 1], (1, 1, 784, hidden))),), lif,
                      np.full((1, 1, 1, 1), 12))
    out = LayerSpec("out", (1, 1, 10), (Projection("hidden", binary, rng.choice([-1, 1], (1, 1, hidden, 10))),), lif,
                    np.full((1, 1, 1, 1), 10))
    return NetworkSpec(InputSpec((1, 1, 784)), (first, out), steps)


def vgg_shape(rng):
    """A convolution in the middle of a VGG: 3x3, 64 to 64 channels on 16x16, then a pooled dense layer."""
    ternary = parse_codec("ternary")
    lif = NeuronSpec(Leak("subtract_shift", 2), Store(-8, 7))
    conv = LayerSpec("conv", (16, 16, 64), (Projection("input", ternary, rng.integers(-1, 2, (3, 3, 64, 64)), padding=1),), lif,
                     np.full((1, 1, 1, 1), 8))
    out = LayerSpec("out", (1, 1, 10), (Projection("conv", ternary, rng.integers(-1, 2, (4, 4, 64, 10)), pool=4),), lif,
                    np.full((1, 1, 1, 1), 8))
    return NetworkSpec(InputSpec((16, 16, 64)), (conv, out), 2)


def measure(net, lanes, updaters, word, images, rng):
    """Rows of (rate, cycles per image, synaptic operations per image of the first layer, efficiency)."""
    plan, rows = CorePlan.of(net, lanes, updaters, word), []
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        export_core(plan, work / "rtl")
        simulator = Simulator(plan, work / "rtl", work / "sim")
        simulator.load_images()
        for rate in RATES:
            frames = (rng.random((images, net.steps, *net.input.shape)) < rate).astype(np.uint8)
            write_golden(plan, frames, work / "golden")
            outcome = simulator.compare(work / "golden", images)
            assert outcome["status"] == "equal", outcome
            first = NetworkSpec(net.input, (net.layers[0],), net.steps)
            synops = integer.count_synops(first, frames, None).mean()
            cycles = outcome["cycles"] / images
            rows.append((rate, cycles, synops, synops / (plan.layers[0].lanes * cycles)))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--word", type=int, default=16, help="input codes per word")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'network':8} {'lanes':>5} {'word':>5} {'rate':>6} {'cycles/image':>13} {'synops/image':>13} {'efficiency':>10}")
    for name, net, lanes, updaters in (("mnist", mnist_shape(rng), 16, 1), ("mnist", mnist_shape(rng), 64, 4),
                                       ("vgg", vgg_shape(rng), 16, 1), ("vgg", vgg_shape(rng), 64, 4)):
        for rate, cycles, synops, efficiency in measure(net, lanes, updaters, arguments.word, arguments.images, rng):
            print(f"{name:8} {lanes:5} {arguments.word:5} {rate:6.2f} {cycles:13.0f} {synops:13.0f} {efficiency:10.3f}")


if __name__ == "__main__":
    main()
