"""How long a training step takes, beside spikingjelly (multi-step, torch backend) and snnTorch: same networks, same batches.

Two networks: a spiking VGG (64-64-P-128-128-P-256-256-P-10 with batch normalisation, 32 x 32 x 3) and the dense 784-512-10; four
time steps, batches of 32, LIF neurons of factor 0.5 with reset by subtraction, the arctangent surrogate, cross entropy of the spike
counts, AdamW. Images are the same at every step, or frames of events differ from step to step. A step is what a training loop does:
forward, loss, backward, update. Others are written as their tutorials have it: spikingjelly's layers fold time into the batch
(``step_mode="m"``) and get the image repeated; snnTorch's neurons are called step by step.

All start from the same weights and take the same batches, so the losses of the first steps must agree with spikingjelly's to nine
digits in float64: that is checked before anything is timed. (snnTorch computes in float32 alone, fires above the threshold and
not at it, and resets once more a membrane that stays above it.)

Measured in float32, and once more with convolutions and matrix products in bfloat16 (``torch.autocast``) on all sides. With
``--winograd`` spikeproof computes convolutions as ``convolutions: winograd`` has it, in float32, and others, itself among them, by
direct sums.

    python benchmarks/training_step.py # about 15 minutes on 2 cores
    python benchmarks/training_step.py --winograd # the VGG in float32
    python benchmarks/training_step.py --growth # batches of 8 to 64, and 1 to 16 time steps
    python benchmarks/training_step.py --accuracy --data FOLDER # an epoch of MNIST, three seeds; the VGG's of 8,640 images
"""
import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import Worker, answer, exponent, keep, median, ratios, rounds

LIBRARIES = {"spikeproof": "spikeproof", "spikingjelly": "spikingjelly", "snntorch": "snntorch"}
#: name -> (shape of an image, words of the layers, batch normalisation)
NETWORKS = {"vgg": ((3, 32, 32), "64C3-64C3-MP2-128C3-128C3-MP2-256C3-256C3-MP2-10", True),
            "dense": ((1, 28, 28), "512-10", False)}
BETA, CLASSES, LEARNING_RATE = 0.5, 10, 1e-3


def layers_of(network):
    """[(word, inputs, outputs, height)] of a network: words "C" convolution 3 x 3, "P" maximum of 2 x 2, "D" dense."""
    (channels, side, _), words, _ = NETWORKS[network]
    found = []
    for word in words.split("-"):
        if word == "MP2":
            side //= 2
            found.append(("P", channels, channels, side))
        elif word.endswith("C3"):
            found.append(("C", channels, int(word[:-2]), side))
            channels = int(word[:-2])
        else:
            found.append(("D", channels * side * side, int(word), side))
            channels, side = int(word), 1
    return found


def weights_of(network, seed):
    """Initial weights of the layers that have some, as torch has them: He's initialisation."""
    rng, found = np.random.default_rng(seed), []
    for word, inputs, outputs, _ in layers_of(network):
        if word != "P":
            shape = (outputs, inputs, 3, 3) if word == "C" else (outputs, inputs)
            found.append((rng.standard_normal(shape) * math.sqrt(2 / np.prod(shape[1:]))).astype(np.float32))
    return found


def batch_of(network, steps, count, frames, seed):
    """(codes uint8 of images [B, C, H, W] or of events [T, B, C, H, W], labels)."""
    rng, shape = np.random.default_rng(seed), NETWORKS[network][0]
    if frames:
        return (rng.random((steps, count, *shape)) < 0.1).astype(np.uint8), rng.integers(0, CLASSES, count)
    return rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, CLASSES, count)


class Ours:
    """spikeproof's FloatNetwork, with memory and updates as its training stages have them."""
    update = {"fused": True}

    def __init__(self, network, weights, steps, frames):
        import torch

        from spikeproof.entries import make
        from spikeproof.models import FloatNetwork
        from spikeproof.projections import InputSpec
        from spikeproof.surrogates import Surrogate
        from spikeproof.torch_setup import set_up
        set_up(torch.get_num_threads())
        shape, words, norm = NETWORKS[network]
        codes = InputSpec((*shape[1:], shape[0]), 1 if frames else 8, not frames)
        layers = make("architectures", {"kind": "feedforward", "layers": words, "norm": norm}).layers(codes, CLASSES)
        neuron = make("neurons", {"kind": "lif", "leak_shift": 1, "reset": "soft", "readout": "spike_count"})
        self.module = FloatNetwork(layers, neuron, codes, steps)
        self.module.surrogate, self.winograd = Surrogate("atan", 1.0), False
        for layer, weight in zip(self.module.layers, weights):
            connection = layer.connections[0]
            connection.weight.data.copy_(torch.from_numpy(weight).reshape(connection.weight.shape))

    def logits(self, x):
        from spikeproof import winograd
        with winograd.used(self.winograd):
            return self.module(x if x.dim() == 5 else x[None])[0]


def groups_of(network, weights, kit):
    """What stands before each layer of neurons: a list of lists of modules; ``kit`` is torch.nn, or a library's own layers."""
    import torch
    norm, weights, groups, parts = NETWORKS[network][2], iter(weights), [], []
    for k, (word, inputs, outputs, _) in enumerate(all_layers := layers_of(network)):
        if word == "P":
            parts.append(kit.MaxPool2d(2))
            continue
        last = k == len(all_layers) - 1
        if word == "D":
            parts.append(kit.Flatten())
        own = kit.Conv2d(inputs, outputs, 3, padding=1, bias=not norm) if word == "C" \
            else kit.Linear(inputs, outputs, bias=last or not norm)
        own.weight.data.copy_(torch.from_numpy(next(weights)))
        if own.bias is not None:
            torch.nn.init.zeros_(own.bias)
        groups.append([*parts, own, *([kit.BatchNorm2d(outputs)] if norm and not last else [])])
        parts = []
    return groups


class Spikingjelly:
    """The same network of spikingjelly's multi-step layers."""
    update = {}

    def __init__(self, network, weights, steps, frames):
        from spikingjelly.activation_based import functional, layer, neuron, surrogate
        from torch import nn
        self.steps, self.scale, self.reset = steps, 1.0 if frames else 255.0, functional.reset_net
        parts = []
        for group in groups_of(network, weights, layer):
            parts += [*group, neuron.LIFNode(tau=1 / (1 - BETA), decay_input=False, v_reset=None,
                                             surrogate_function=surrogate.ATan(2.0))]
        self.module = nn.Sequential(*parts)
        functional.set_step_mode(self.module, "m")

    def logits(self, x):
        self.reset(self.module)
        x = x / self.scale
        return self.module(x if x.dim() == 5 else x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)).sum(0)


class Snntorch:
    """The same network with snnTorch's neurons, called step by step."""
    update = {}

    def __init__(self, network, weights, steps, frames):
        import snntorch
        from snntorch import surrogate
        from torch import nn
        self.steps, self.scale = steps, 1.0 if frames else 255.0
        self.groups = nn.ModuleList(nn.Sequential(*group) for group in groups_of(network, weights, nn))
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=BETA, spike_grad=surrogate.atan(alpha=2.0), reset_mechanism="subtract",
                                                    reset_delay=False) for _ in self.groups)
        self.module = nn.ModuleList([self.groups, self.neurons])

    def logits(self, x):
        membranes, total = [neuron.init_leaky() for neuron in self.neurons], 0
        for t in range(self.steps):
            spikes = (x[t] if x.dim() == 5 else x) / self.scale
            for k, (group, neuron) in enumerate(zip(self.groups, self.neurons)):
                spikes, membranes[k] = neuron(group(spikes), membranes[k])
            total = total + spikes
        return total


WORKERS = {"spikeproof": Ours, "direct": Ours, "spikingjelly": Spikingjelly, "snntorch": Snntorch}


class Training:
    """A network of one library and its training, which answers the questions of this benchmark."""
    def __init__(self, library):
        self.library = library

    def prepare(self, network, steps=4, count=32, frames=False, half=False, seed=0, fast=False):
        import torch
        self.network, self.steps, self.frames, self.half = network, steps, frames, half
        torch.manual_seed(seed)
        self.net = WORKERS[self.library](network, weights_of(network, seed), steps, frames)
        self.net.winograd = fast and self.library == "spikeproof"
        self.optimizer = torch.optim.AdamW(self.net.module.parameters(), lr=LEARNING_RATE, **self.net.update)
        self.batches = [self._tensors(*batch_of(network, steps, count, frames, 1000 * seed + n)) for n in range(4)]
        return torch.__version__

    def _tensors(self, codes, labels):
        import torch
        return torch.from_numpy(codes).float(), torch.from_numpy(labels)

    def _step(self, x, labels):
        import torch
        with torch.autocast("cpu", torch.bfloat16, self.half):
            logits = self.net.logits(x)
        loss = torch.nn.functional.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def check(self, count):
        """Losses of the first steps in float64: in float32, of a membrane that is a rounding away from its threshold one library
        makes a spike and the other none, and normalisation carries such a difference through all layers.
        """
        self.net.module.double()
        self.batches = [(x.double(), labels) for x, labels in self.batches]
        return self.losses(count)

    def losses(self, count):
        """Losses of the first steps."""
        return [self._step(*self.batches[n % len(self.batches)]) for n in range(count)]

    def seconds(self, count):
        """Seconds per step."""
        began = time.perf_counter()
        self.losses(count)
        return (time.perf_counter() - began) / count

    def epoch(self, data, count):
        """Test accuracy after one epoch over the images of an npz file, in batches of ``count``."""
        import torch
        with np.load(data) as arrays:
            images, labels, tests, truth = (arrays[name] for name in ("images", "labels", "tests", "truth"))
        self.net.module.train()
        order = np.random.default_rng(7).permutation(len(images))
        for at in range(0, len(order) - count + 1, count):
            taken = order[at:at + count]
            self._step(*self._tensors(images[taken], labels[taken]))
        self.net.module.eval()
        right = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, self.half):
            for at in range(0, len(tests), 200):
                x, of = self._tensors(tests[at:at + 200], truth[at:at + 200])
                right += int((self.net.logits(x).argmax(1) == of).sum())
        return right / len(tests)


def compare(script, counts, fast=False):
    """Seconds per step of all libraries for networks, inputs and precisions.

    Parameters
    ----------
    counts : network -> (steps of a round, rounds)
    fast : bool, Winograd's convolutions in spikeproof, which is beside itself with direct sums then, and no bfloat16
    """
    libraries = {**LIBRARIES, **({"direct": "spikeproof"} if fast else {})}
    workers = [Worker(script, name, where) for name, where in libraries.items()]
    result, found = {"versions": {}, "rows": []}, None
    for network in counts:
        for frames in (False, True):
            given = {"network": network, "frames": frames, "fast": fast}
            losses = {}
            for worker in workers[:2]:
                worker.ask(do="prepare", **given)
                losses[worker.name] = worker.ask(do="check", count=3)
            difference = max(abs(a - b) for a, b in zip(*losses.values()))
            if difference > 1e-9:
                raise SystemExit(f"{network}: losses of spikeproof and spikingjelly differ by {difference} in float64: {losses}")
            for half in (False,) if fast else (False, True):
                for worker in workers:
                    result["versions"][worker.name] = worker.ask(do="prepare", half=half, **given)
                    worker.ask(do="losses", count=2)                # what is compiled or cached at first is
                count, times = counts[network]
                found = rounds(workers, times, do="seconds", count=count)
                row = {**given, "half": half, "losses": losses, "seconds": found,
                       "ratio": {name: ratios(found["spikeproof"], found[name]) for name in list(libraries)[1:]}}
                result["rows"].append(row)
                tell(row)
    for worker in workers:
        worker.close()
    return result


def precision_of(row):
    return "bfloat16" if row["half"] else "float32, winograd" if row.get("fast") else "float32"


def tell(row):
    precision, what = precision_of(row), "frames of events" if row["frames"] else "one image"
    own = min(row["seconds"]["spikeproof"])
    print(f"{row['network']:6} {what:17} {precision:17} spikeproof {own * 1e3:8.1f} ms; " + "; ".join(
        f"{name} {of['median']:.2f} times longer ({of['low']:.2f} to {of['high']:.2f})" for name, of in row["ratio"].items()),
        flush=True)


def grow(script, rounds_):
    """Seconds per step of all libraries against batch size and time steps -> list of series with exponents."""
    workers = [Worker(script, name, where) for name, where in LIBRARIES.items()]
    series = []
    for network, frames, count in (("vgg", True, 1), ("dense", True, 20)):
        for axis, sizes in (("count", (8, 16, 32, 64)), ("steps", (1, 2, 4, 8, 16))):
            seconds = {worker.name: [] for worker in workers}
            for size in sizes:
                for worker in workers:
                    worker.ask(do="prepare", network=network, frames=frames, **{axis: size})
                    worker.ask(do="losses", count=1)
                for name, of in rounds(workers, rounds_, do="seconds", count=count).items():
                    seconds[name].append(median(of))
            series.append({"network": network, "axis": "images of a batch" if axis == "count" else "time steps", "sizes": sizes,
                           "seconds": seconds, "exponents": {name: exponent(sizes, of) for name, of in seconds.items()}})
            print(network, axis, sizes, {name: f"exponent {of:.2f}" for name, of in series[-1]["exponents"].items()}, flush=True)
    for worker in workers:
        worker.close()
    return series


def accuracy(script, data, seeds):
    """Test accuracy after one epoch, of all libraries and seeds, from the same weights and in the same order of images
    -> dict of them and of how many images there were."""
    import spikeproof
    mnist = {"kind": "mnist", "bits": 8, "steps": 4}
    entries = {"dense": mnist, "vgg": {**mnist, "train_images": 9600, "test_images": 2000}}
    workers = [Worker(script, name, where) for name, where in LIBRARIES.items()]
    found, images = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for network, entry in entries.items():
            given, path = spikeproof.prepare(entry, data), Path(folder) / f"{network}.npz"
            parts = {part: np.asarray(given.frames[part]).transpose(0, 3, 1, 2) for part in ("train", "test")}
            if network == "vgg":                                     # 28x28 digits in the middle of 32x32, three times
                parts = {part: np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))).repeat(3, 1) for part, x in parts.items()}
            np.savez(path, images=parts["train"], labels=given.labels["train"], tests=parts["test"], truth=given.labels["test"])
            found[network], images[network] = {worker.name: [] for worker in workers}, len(parts["train"])
            for seed in range(seeds):
                for worker in workers:
                    worker.ask(do="prepare", network=network, seed=seed)
                    found[network][worker.name].append(worker.ask(do="epoch", data=str(path), count=32))
            print(network, "; ".join(f"{name} {100 * np.mean(of):.2f} % (sd {100 * np.std(of, ddof=1):.2f})"
                                     for name, of in found[network].items()), flush=True)
    for worker in workers:
        worker.close()
    return {"accuracy": found, "images": images}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--winograd", action="store_true", help="with Winograd's convolutions, the VGG in float32")
    parser.add_argument("--growth", action="store_true", help="how the time grows with batch and time steps")
    parser.add_argument("--accuracy", action="store_true", help="what an epoch reaches")
    parser.add_argument("--data", default="data", help="folder of the datasets' files (default data)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the result in results/reference/benchmarks")
    arguments = parser.parse_args()
    if arguments.worker:
        return answer(Training(arguments.worker))
    script = Path(__file__).resolve()
    if arguments.growth:
        name, result = "training_growth", {"series": grow(script, arguments.rounds)}
    elif arguments.winograd:
        name, result = "training_winograd", compare(script, {"vgg": (2, arguments.rounds)}, True)
    elif arguments.accuracy:
        name, result = "training_accuracy", accuracy(script, arguments.data, arguments.seeds)
    else:
        # A round of the dense network takes no second: more of them, as memory is shared with neighbours that come and go.
        name, result = "training_step", compare(script, {"vgg": (2, arguments.rounds), "dense": (100, 8 * arguments.rounds)})
    if arguments.keep:
        keep(name, result)


if __name__ == "__main__":
    main()
