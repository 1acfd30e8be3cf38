"""Events into frames: millions of events a second on one core, beside tonic's ToFrame on the same recordings.

Each is timed in turn in one process, best of several rounds; the counts of both are compared. Recordings are files in N-MNIST's
40-bit format (``--recordings``), or random events on a DVS128. tonic (GPL-3) is not a dependency: without it that column says
"not run".

    pip install tonic pydantic safetensors tqdm
    python benchmarks/event_binning.py [--recordings 'clips/*.bs2']
"""
import argparse
import glob
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from spikeproof.datasets.event_files import Events, read_events40  # noqa: E402
from spikeproof.datasets.events import BinOptions, bin_events  # noqa: E402

SENSOR = (128, 128)
ROUNDS = 5


def fastest(function):
    """(seconds of the fastest round, result)."""
    best = np.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - began)
    return best, result


def recordings(pattern):
    if pattern:
        found = [read_events40(path) for path in sorted(glob.glob(pattern))]
        if not found:
            sys.exit(f"no file matches {pattern}")
        return found
    rng = np.random.default_rng(0)
    return [Events(np.sort(rng.integers(0, 1_450_000, 120_000)), rng.integers(0, 128, 120_000, np.uint16),
                   rng.integers(0, 128, 120_000, np.uint16), rng.integers(0, 2, 120_000, np.uint8)) for _ in range(10)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", help="files in N-MNIST's format, events on 128x128 pixels (quoted pattern)")
    parser.add_argument("--steps", type=int, default=16)
    arguments = parser.parse_args()
    try:
        import tonic
    except ImportError:
        tonic = None
    data = recordings(arguments.recordings)
    events = sum(len(each.t) for each in data)
    print(f"{len(data)} recordings, {events:,} events, {arguments.steps} steps, 128x128x2")
    print(f"{'windows':24s}{'spikeproof':>16s}{'tonic':>16s}{'ratio':>8s}   equal counts")
    for name, given, theirs in (
            (f"{arguments.steps} of equal length", {"binning": "steps"}, {"n_time_bins": arguments.steps}),
            ("of 10 ms", {"binning": "time", "step_us": 10_000}, {"time_window": 10_000})):
        options = BinOptions(steps=arguments.steps, bits=8, **given)
        seconds, frames = fastest(lambda options=options: [bin_events(each, options, SENSOR) for each in data])
        ours = events / seconds / 1e6
        if tonic is None:
            print(f"{name:24s}{ours:11.1f} M/s{'not run':>16s}")
            continue
        dtype = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
        arrays = []
        for each in data:
            array = np.empty(len(each.t), dtype)
            for field in "txyp":
                array[field] = getattr(each, field)
            arrays.append(array)
        transform = tonic.transforms.ToFrame(sensor_size=(128, 128, 2), **theirs)
        seconds, other = fastest(lambda arrays=arrays, transform=transform: [transform(array) for array in arrays])
        # [T, C, H, W] of theirs; windows that end on the last event may lack it there.
        other = [np.minimum(frame[:arguments.steps].transpose(0, 2, 3, 1), 255) for frame in other]
        same = [float((b == a[:len(b)]).mean()) for a, b in zip(frames, other)]
        them = events / seconds / 1e6
        print(f"{name:24s}{ours:11.1f} M/s{them:11.1f} M/s{ours / them:8.1f}   {100 * np.mean(same):.3f} % of places")


if __name__ == "__main__":
    main()
