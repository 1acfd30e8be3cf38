"""How long it takes to compare every spike and stored membrane of 10,000 images with the generated Verilog.

MNIST shape 784-128-10, binary weights (random: time does not depend on them), four steps. Images are drawn as Bernoulli
spikes, from the MNIST test file where one is given (idx3, gzip), else at MNIST's mean rate of 13 %. Everything counts:
generation of the Verilog, compilation, golden traces, simulation, comparison, read-back of the memories.

    python benchmarks/verification_scale.py [--images 10000] [--shards 2] [--mnist t10k-images-idx3-ubyte.gz]
"""
import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl"), str(ROOT / "benchmarks")]

from core_efficiency import mnist_shape  # noqa: E402
from spikeproof_hdl.export import export_core  # noqa: E402
from spikeproof_hdl.plan import CorePlan  # noqa: E402
from spikeproof_hdl.verify import verify  # noqa: E402

from spikeproof.datasets.idx import read_idx  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=2, help="processes that simulate (default 2)")
    parser.add_argument("--mnist", help="t10k-images-idx3-ubyte.gz")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    plan = CorePlan.of(mnist_shape(rng), [16, 2])
    pixels = np.full((arguments.images, 1, 1, 1, 784), 0.1307, np.float32)
    if arguments.mnist:
        pixels = read_idx(arguments.mnist, 3).reshape(-1, 1, 1, 1, 784)[:arguments.images] / np.float32(255)
    frames = (rng.random((len(pixels), 4, 1, 1, 784), dtype=np.float32) < pixels).astype(np.uint8)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        began = time.monotonic()
        export_core(plan, work / "rtl")
        generated = time.monotonic()
        result = verify(plan, work / "rtl", frames, work / "sim", work / "divergence", shards=arguments.shards)
        ended = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{result['images_compared']} images, {result['values_compared']:,} values equal, {result['cycles']:,} cycles")
    print(f"generate {generated - began:.1f} s, compile, simulate and compare {ended - generated:.1f} s, "
          f"in all {ended - began:.1f} s; {arguments.shards} shards; Python's peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
