"""How long MNIST's 10,000 test images take in integers, beside the same network's float forward in torch and in snnTorch.

784-512-10, four steps, LIF neurons of factor 0.5 with reset by subtraction, the class with most spikes; trained for an epoch, and
quantized to 8 bits after training. From pixels (uint8) to classes: spikeproof's integer model, which gives every spike and stored
membrane of every neuron and step as well, the same numbers as the hardware; torch and snnTorch as their tutorials have it, a loop
over steps under ``no_grad``. Each takes the images in batches of the size that it is fastest with.

    python benchmarks/integer_inference.py --data FOLDER # MNIST's files; about 2 minutes on 2 cores
    python benchmarks/integer_inference.py --data FOLDER --growth # seconds against images, hidden neurons and steps
"""
import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import Worker, answer, exponent, keep, median, ratios, rounds

LIBRARIES = {"spikeproof": "spikeproof", "torch": "spikeproof", "snntorch": "snntorch"}
BATCHES, IMAGES, BETA = (100, 500, 2000, 10_000), 10_000, 0.5


class Integer:
    """spikeproof's integer model."""
    def __init__(self, files):
        import spikeproof
        self.run, self.net = spikeproof.run_integer, spikeproof.load(files["network"])

    def classes(self, images):
        return self.run(self.net, images[..., None]).winner


class Torch:
    """A loop over steps, of torch's operations."""
    def __init__(self, files):
        import torch
        with np.load(files["weights"]) as given:
            self.layers = [[torch.from_numpy(given[f"{part}{k}"]) for part in ("weight", "bias")] for k in range(2)]
            self.steps = int(given["steps"])
        self.torch = torch

    def classes(self, images):
        with self.torch.no_grad():
            x = self.torch.from_numpy(images).flatten(1).float() / 255
            return self.spikes(x).argmax(1).numpy()

    def spikes(self, x):
        membranes, total = [0, 0], 0
        for _ in range(self.steps):
            s = x
            for k, layer in enumerate(self.layers):
                h = BETA * membranes[k] + self.torch.nn.functional.linear(s, *layer)
                s = (h >= 1).float()
                membranes[k] = h - s
            total = total + s
        return total


class Snntorch(Torch):
    """The same with snnTorch's neurons."""
    def __init__(self, files):
        super().__init__(files)
        import snntorch
        self.neurons = [snntorch.Leaky(beta=BETA, reset_mechanism="subtract", reset_delay=False) for _ in self.layers]

    def spikes(self, x):
        membranes, total = [neuron.init_leaky() for neuron in self.neurons], 0
        for _ in range(self.steps):
            s = x
            for k, layer in enumerate(self.layers):
                s, membranes[k] = self.neurons[k](self.torch.nn.functional.linear(s, *layer), membranes[k])
            total = total + s
        return total


WORKERS = {"spikeproof": Integer, "torch": Torch, "snntorch": Snntorch}


class Inference:
    """A network of one library, which answers the questions of this benchmark."""
    def __init__(self, library):
        self.library = library

    def prepare(self, files, count):
        self.net = WORKERS[self.library](files)
        with np.load(files["images"]) as given:
            self.images, self.labels = np.resize(given["images"], (count, 28, 28)), np.resize(given["labels"], count)
        self.seconds(min(count, 1000))                               # what is built or cached at first is
        return float((self._all(1000) == self.labels).mean())

    def _all(self, batch):
        return np.concatenate([self.net.classes(self.images[at:at + batch]) for at in range(0, len(self.images), batch)])

    def seconds(self, batch):
        began = time.perf_counter()
        self._all(batch)
        return time.perf_counter() - began


def trained(data, folder, hidden=512, steps=4, batches=None):
    """Files of a network: {"network", "weights", "images"}; trained for an epoch, or for so many batches."""
    import spikeproof
    prepared = spikeproof.prepare({"kind": "mnist", "bits": 8, "steps": steps}, data)
    model = spikeproof.train(prepared, {"kind": "feedforward", "layers": f"{hidden}-10"},
                             {"kind": "lif", "leak_shift": 1, "reset": "soft", "readout": "spike_count"},
                             {"kind": "surrogate", "training": {"epochs": 1, "max_steps": batches}}, say=str)
    coded = spikeproof.quantize(model, {"kind": "int", "bits": 8, "training": {"epochs": 0}}, prepared, say=str)
    frames = np.asarray(prepared.frames["test"])
    folder = Path(folder)
    files = {name: str(folder / f"{name}-{hidden}-{steps}{suffix}") for name, suffix in
             (("network", ".safetensors"), ("weights", ".npz"), ("images", ".npz"))}
    spikeproof.save(files["network"], spikeproof.export(coded, frames[:200]))
    own = {}
    for k, layer in enumerate(model.layers):                         # normalisation is folded into the weights
        gain, offset = (of.detach() for of in layer.connections[0].affine())
        own |= {f"weight{k}": (layer.connections[0].weight.detach().flatten(1) * gain[:, None]).numpy(), f"bias{k}": offset.numpy()}
    np.savez(files["weights"], steps=steps, **own)
    np.savez(files["images"], images=frames.reshape(-1, 28, 28), labels=prepared.labels["test"])
    return files


def compare(script, data, times):
    """Seconds of all libraries for all images, each in batches of its best size."""
    workers = [Worker(script, name, where) for name, where in LIBRARIES.items()]
    with tempfile.TemporaryDirectory() as folder:
        files = trained(data, folder)
        accuracy = {worker.name: worker.ask(do="prepare", files=files, count=IMAGES) for worker in workers}
        best = {worker.name: min(BATCHES, key=lambda of: median(worker.ask(do="seconds", batch=of) for _ in range(3)))
                for worker in workers}
        found = rounds(workers, times, {name: {"batch": of} for name, of in best.items()}, do="seconds")
    for worker in workers:
        worker.close()
    ratio = {name: ratios(found["spikeproof"], found[name]) for name in list(LIBRARIES)[1:]}
    for name in LIBRARIES:
        told = "" if name == "spikeproof" else "; {median:.2f} times as long ({low:.2f} to {high:.2f})".format(**ratio[name])
        print(f"{name:10} {median(found[name]) * 1e3:7.1f} ms, batches of {best[name]:,}, {100 * accuracy[name]:.2f} %{told}")
    return {"images": IMAGES, "seconds": found, "batch": best, "accuracy": accuracy, "ratio": ratio}


def grow(script, data, times):
    """Seconds against images, hidden neurons and steps -> list of series with exponents."""
    workers = [Worker(script, name, where) for name, where in LIBRARIES.items()]
    series = []
    with tempfile.TemporaryDirectory() as folder:
        for axis, sizes, named in (("images", (625, 1250, 2500, 5000, 10_000), None), ("time steps", (1, 2, 4, 8, 16), "steps"),
                                   ("hidden neurons", (128, 256, 512, 1024, 2048), "hidden")):
            seconds = {worker.name: [] for worker in workers}
            for size in sizes:
                files = trained(data, folder, **({named: size} if named else {}), batches=20)
                for worker in workers:
                    worker.ask(do="prepare", files=files, count=size if named is None else 2500)
                for name, of in rounds(workers, times, do="seconds", batch=500).items():
                    seconds[name].append(median(of))
            series.append({"axis": axis, "sizes": sizes, "seconds": seconds,
                           "exponents": {name: exponent(sizes, of) for name, of in seconds.items()}})
            print(axis, sizes, {name: f"exponent {of:.2f}" for name, of in series[-1]["exponents"].items()}, flush=True)
    for worker in workers:
        worker.close()
    return series


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", default="data", help="folder of MNIST's files (default data)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--growth", action="store_true", help="how the time grows")
    parser.add_argument("--keep", action="store_true", help="keep the result in results/reference/benchmarks")
    arguments = parser.parse_args()
    if arguments.worker:
        return answer(Inference(arguments.worker))
    script = Path(__file__).resolve()
    name, result = ("inference_growth", {"series": grow(script, arguments.data, arguments.rounds)}) if arguments.growth else (
        "integer_inference", compare(script, arguments.data, arguments.rounds))
    if arguments.keep:
        keep(name, result)


if __name__ == "__main__":
    main()
