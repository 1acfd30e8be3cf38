"""Images a second that competing neurons learn from: spikeproof's STDP beside BindsNET's network of Diehl and Cook, on one core.

Both learn from the same Poisson spikes, image by image, with the same number of neurons; rounds alternate in one process, and the
median ratio is printed with its spread. Rules and constants differ, and so do the spikes of an image, which are printed too.
BindsNET (AGPL-3.0) is not a dependency: it is installed in an environment of its own, without the packages for games and pictures
that it asks for; the network, its learning rules and nothing else are imported.

    python -m venv bindsnet-env && bindsnet-env/bin/pip install torch==2.13.0 scipy tqdm pydantic safetensors
    bindsnet-env/bin/pip install --no-deps bindsnet==0.3.4
    bindsnet-env/bin/python benchmarks/stdp_bindsnet.py [--neurons 400] [--images 40] [--rounds 5]
"""
import argparse
import importlib
import importlib.util
import json
import statistics
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from spikeproof.pretraining.stdp import Stdp  # noqa: E402
from spikeproof.stdp import Competition, Precision, first_weights  # noqa: E402

INPUTS, RATE, ACTIVE = 784, 0.25, 0.19


def poisson(images, steps, rng):
    """Spikes uint8 [images, steps, INPUTS] of images with as many bright pixels as MNIST's have."""
    bright = (rng.random((images, 1, INPUTS)) < ACTIVE) * rng.random((images, 1, INPUTS))
    return (rng.random((images, steps, INPUTS)) < RATE * bright).astype(np.uint8)


def ours(neurons):
    """Function of spikes [steps, INPUTS] that learns from an image."""
    rng, rule = np.random.default_rng(0), Stdp.Options(kind="stdp")
    weights, adapted = first_weights(neurons, INPUTS, rule, rng), np.zeros(neurons, np.float32)
    layer = Competition(weights, adapted, np.float32(0.99), 16.0, True, rule, Precision())
    return lambda spikes: int(layer.present(spikes, rng).sum())


def theirs(neurons):
    """The same of BindsNET's DiehlAndCook2015v2; ImportError where it is not installed."""
    found = importlib.util.find_spec("bindsnet")
    if found is None:
        raise ImportError("bindsnet is not installed")
    package = types.ModuleType("bindsnet")                  # without its __init__, which wants torchvision and gymnasium
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["bindsnet"] = package
    importlib.import_module("bindsnet.network")             # first: modules import each other in a circle
    from bindsnet.models.models import DiehlAndCook2015v2
    from bindsnet.network.monitors import Monitor
    network = DiehlAndCook2015v2(n_inpt=INPUTS, n_neurons=neurons, inpt_shape=(INPUTS,))
    monitor = Monitor(network.layers["Y"], ["s"])
    network.add_monitor(monitor, name="Y")

    def learn(spikes):
        network.run(inputs={"X": torch.from_numpy(spikes)[:, None]}, time=len(spikes))
        fired = int(monitor.get("s").sum())
        network.reset_state_variables()
        return fired
    return learn


def rate(learn, images):
    """(images a second, spikes an image)."""
    began = time.perf_counter()
    spikes = sum(learn(image) for image in images)
    return len(images) / (time.perf_counter() - began), spikes / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=400)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=40, help="images of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="result, .json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, mine = np.random.default_rng(1), ours(args.neurons)
    try:
        other = theirs(args.neurons)
    except ImportError as error:
        other = None
        print(f"BindsNET: not run ({error})")
    rows = []
    for round_ in range(args.rounds + 1):
        images = poisson(args.images, args.steps, rng)
        row = {"spikeproof": rate(mine, images), "bindsnet": rate(other, images) if other else None}
        if round_:                                          # the first one warms up
            rows.append(row)
            told = "" if other is None else f"; BindsNET {row['bindsnet'][0]:.1f} ({row['bindsnet'][1]:.1f} spikes); ratio " \
                f"{row['spikeproof'][0] / row['bindsnet'][0]:.1f}"
            print(f"spikeproof {row['spikeproof'][0]:.1f} images/s ({row['spikeproof'][1]:.1f} spikes an image){told}", flush=True)
    result = {"neurons": args.neurons, "steps": args.steps, "images": args.images, "rounds": rows, "torch": torch.__version__}
    if other:
        ratios = sorted(row["spikeproof"][0] / row["bindsnet"][0] for row in rows)
        result["ratio"] = statistics.median(ratios)
        print(f"{args.neurons} neurons, {args.steps} steps: {result['ratio']:.1f} times as many images a second "
              f"(median; {ratios[0]:.1f} to {ratios[-1]:.1f})")
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
