"""Spike-timing-dependent plasticity of competing neurons (Diehl and Cook, 2015), image by image, in NumPy.

The sums that drive all neurons over all steps of an image are one matrix product. A spike changes the weights of its own neuron
alone, so only that neuron's remaining sums are computed again: nothing else of the image is.
"""
from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from tqdm import tqdm

from .convert import batch_size, to_codes
from .files import write_container
from .training import CHECKPOINT_EVERY, read_checkpoint, seed_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from .annotations import Array, Entry, Json, Say, StrPath
    from .datasets.base import PreparedData
    from .models import CodeNetwork, FloatNetwork
    from .pretraining.stdp import Stdp
    from .quantizers.fixed_point import FixedPointQuantizer
    from .training import Network

    Real: TypeAlias = float | np.float32

__all__ = ["Competition", "Precision", "RoundedPrecision", "first_weights", "label_neurons", "learn", "traces"]

CHECKPOINT = "spikeproof STDP checkpoint"


class Precision:
    """What weights, membranes and thresholds are rounded to while they are learned; this one keeps them as they are."""
    #: Whether weights are kept as they are rounded, or in full precision beside that.
    kept = True

    def weights(self, w: Array, rng: np.random.Generator) -> Array:
        """Weights as the network uses them."""
        return w

    def leak(self, v: Array, beta: Real) -> Array:
        """Membranes after the leak."""
        return v * beta

    def membranes(self, v: Array, rng: np.random.Generator) -> Array:
        """Membranes as memory keeps them."""
        return v

    def thresholds(self, theta: Array) -> Array:
        """Thresholds as the network uses them."""
        return theta

    def inhibition(self, strength: Real) -> Real:
        """What a spike takes off, as the network does."""
        return strength


def _rounded(x: Array, rounding: str, rng: np.random.Generator) -> Array:
    """x rounded to integers, in full precision; ``rng`` draws for stochastic rounding."""
    if rounding == "stochastic":
        return np.floor(x + rng.random(x.shape, np.float32))
    return np.rint(x) if rounding == "half_even" else np.floor(x + 0.5 if rounding == "half_up" else x)


class RoundedPrecision(Precision):
    """What a quantized network of fixed point does to the values of its first layer.

    Parameters
    ----------
    model : CodeNetwork
    rule : spikeproof.pretraining.stdp.Stdp.Options, whose ``largest_weight`` sets the step where the quantizer leaves it open
    """
    def __init__(self, model: CodeNetwork, rule: Stdp.Options) -> None:
        layer = model.layers[0]
        self.quantizer, self.lateral, self.reach = cast("FixedPointQuantizer", layer.quantizer), layer.lateral, (1.0, 1.0)
        self.kept = self.quantizer.options.updates == "rounded"
        self.step = np.float32(self.quantizer.scale(torch.full((1, 1, 1, 1), rule.largest_weight), False).item())

    def weights(self, w: Array, rng: np.random.Generator) -> Array:
        most, codes = self.quantizer.most, _rounded(w / self.step, self.quantizer.options.rounding, rng)
        return np.clip(codes, -most, most - 1) * self.step

    def leak(self, v: Array, beta: Real) -> Array:
        return np.floor(v * (beta / self.step)) * self.step

    def membranes(self, v: Array, rng: np.random.Generator) -> Array:
        options = self.quantizer.options.membrane
        unit = self.step * np.float32(2.0**options.shift(*self.reach))
        lo, hi = options.codes
        return np.clip(_rounded(v / unit, options.rounding, rng), lo, hi) * unit

    def thresholds(self, theta: Array) -> Array:
        codes = self.quantizer.thresholds(torch.from_numpy(theta / self.step)).numpy()
        self.reach = float(np.median(codes)), float(codes.max())
        return codes * self.step

    def inhibition(self, strength: Real) -> Real:
        assert self.lateral is not None
        return self.lateral.in_codes(float(self.step)).inhibition * self.step


def traces(spikes: Array, decay: float) -> tuple[Array, Array]:
    """Presynaptic traces: 1 at a spike, and times ``decay`` in every step after it.

    Parameters
    ----------
    spikes : array [T, P], 0 or 1
    decay : float, below 1

    Returns
    -------
    (since: int [T, P], steps since the last spike, T where there was none; table: float32 [T + 1], the trace of each)
    """
    steps = len(spikes)
    at = np.arange(steps)[:, None]
    last = np.maximum.accumulate(np.where(spikes, at, -steps), axis=0)
    table = np.append(decay ** np.arange(steps), 0).astype(np.float32)
    return np.minimum(at - last, steps), table


@dataclass
class Competition:
    """A layer of N neurons on P inputs that learns: membranes, spikes and updates as :mod:`spikeproof.neuron_steps` has them.

    Values are those of the network, in which a threshold is 1 before it adapts.

    Members
    -------
    weights : float32 [N, P], value
    adapted : float32 [N], value that the thresholds adapted by
    beta : float, the membranes' factor at every step
    inhibition : float, value; one_spike : bool, as :class:`spikeproof.neurons.base.Inhibition`
    rule : spikeproof.pretraining.stdp.Stdp.Options
    precision : Precision
    rate : float, the learning rate now
    used : float32 [N, P], the weights as the network uses them
    """
    weights: Array
    adapted: Array
    beta: Real
    inhibition: Real
    one_spike: bool
    rule: Stdp.Options
    precision: Precision

    def __post_init__(self) -> None:
        self.inhibition, self.rate = self.precision.inhibition(self.inhibition), self.rule.learning_rate
        self.used = self.precision.weights(self.weights, np.random.default_rng(0)).copy()
        if self.precision.kept:
            self.weights[:] = self.used

    def present(self, spikes: Array, rng: np.random.Generator, learns: bool = True) -> Array:
        """Show one image, and learn from it.

        Parameters
        ----------
        spikes : uint8 [T, P], 0 or 1
        rng : numpy Generator, of stochastic roundings
        learns : bool

        Returns
        -------
        int [N], how often each neuron fired
        """
        rule, precision = self.rule, self.precision
        x = spikes.astype(np.float32)
        sums = x @ self.used.T
        since, table = traces(spikes, rule.trace_decay) if learns else (None, None)
        counts, before = np.zeros(len(self.weights), np.int64), 0
        v, theta = np.zeros(len(self.weights), np.float32), precision.thresholds(1 + self.adapted)
        for t in range(len(x)):
            v = precision.leak(v, self.beta)
            v += sums[t]
            if before:
                v -= self.inhibition * before
            reached = v >= theta
            before = 0
            if reached.any():
                fired = [int(reached.argmax())] if self.one_spike else np.flatnonzero(reached).tolist()
                before = len(fired)
                for n in fired:
                    counts[n] += 1
                    v[n] = 0
                    if learns:
                        assert since is not None and table is not None
                        self._learn(n, table[since[t]], rng)
                        sums[t + 1:, n] = x[t + 1:] @ self.used[n]
                        self.adapted[n] += rule.theta_plus
                if learns:
                    theta = precision.thresholds(1 + self.adapted)
            v = precision.membranes(v, rng)
        if learns:
            self.adapted *= np.float32((1 - rule.theta_decay) ** len(x))
            for n in np.flatnonzero(counts).tolist():
                self._normalise(n, rng)
        return counts

    def _learn(self, n: int, trace: Array, rng: np.random.Generator) -> None:
        """The rule at a spike of neuron n: towards the largest weight where the input spiked of late, else towards 0."""
        rule, w = self.rule, self.weights[n]
        w += self.rate * (trace - rule.target) * np.maximum(rule.largest_weight - w, 0) ** rule.exponent
        np.clip(w, 0, rule.largest_weight, out=w)
        self._use(n, rng)

    def _normalise(self, n: int, rng: np.random.Generator) -> None:
        total = self.weights[n].sum()
        if total > 0:
            np.minimum(self.weights[n] * (self.rule.weight_sum / total), self.rule.largest_weight, out=self.weights[n])
            self._use(n, rng)

    def _use(self, n: int, rng: np.random.Generator) -> None:
        self.used[n] = self.precision.weights(self.weights[n], rng)
        if self.precision.kept:
            self.weights[n] = self.used[n]


def first_weights(neurons: int, inputs: int, rule: Stdp.Options, rng: np.random.Generator) -> Array:
    """Uniform draws, float32 [neurons, inputs], scaled to the sum that the rule keeps; value."""
    weights = rng.random((neurons, inputs), np.float32)
    return np.minimum(weights * (rule.weight_sum / weights.sum(1, keepdims=True)), rule.largest_weight)


def _inputs(frames: Array) -> Array:
    """Frames [T, H, W, C] of one bit -> [T, P], an input per position and channel in the order of the contract."""
    return frames.reshape(len(frames), -1)


def learn(model: FloatNetwork, data: PreparedData, rule: Stdp.Options, precision: Precision, epochs: int, seed: int = 0,
          beta: float | None = None, checkpoint: StrPath | None = None, context: Json = None, label: str = "training",
          say: Say = print, device: str = "cpu") -> list[Entry]:
    """Let the first layer of a FloatNetwork learn from the training part, in place; on one CPU core, whatever the device.

    The order of images and all draws depend on (seed, epoch, image) alone: a training that continues from a checkpoint gives the
    same bits as one that was never stopped.

    Parameters
    ----------
    model : FloatNetwork of two dense layers
    data : PreparedData of one-bit frames per step
    rule : spikeproof.pretraining.stdp.Stdp.Options
    precision : Precision
    epochs, seed : int
    beta : float, the membranes' factor, or None for the neuron's own
    checkpoint, context, label, say : as of :func:`spikeproof.training.fit`

    Returns
    -------
    list of dicts, one per epoch; accuracies are not known before neurons are labelled
    """
    neuron, layer = model.neuron_of(0), model.layers[0]
    weight = layer.connections[0].weight.data                        # [N, C, H, W]
    count, inputs = weight.shape[0], weight[0].numel()
    job = {"rule": rule.model_dump(), "seed": seed, "epochs": epochs, "context": context}
    weights = first_weights(count, inputs, rule, np.random.default_rng(seed_of(seed, "weights")))
    assert neuron.lateral is not None
    layer_of = Competition(weights, np.zeros(count, np.float32), np.float32(neuron.beta if beta is None else beta),
                           neuron.lateral.strength, neuron.lateral.one_spike, rule, precision)
    history: list[Entry] = []
    frames, done, total = data.frames["train"], 0, 0
    images = len(frames)
    if (found := read_checkpoint(checkpoint, CHECKPOINT, job, "image", say)) is not None:
        say(f"continuing after {found[0]['done']:,} images")
        history, done, total = (found[0][key] for key in ("history", "done", "total"))
        layer_of.weights[:], layer_of.adapted[:], layer_of.used[:] = (found[1][key] for key in ("weights", "adapted", "used"))
    saved = time.monotonic()
    with tqdm(total=epochs * images, initial=done, desc=label, unit="image", mininterval=1) as bar:
        for epoch in range(done // images, epochs):
            order = np.random.default_rng(seed_of(seed, "order", epoch)).permutation(images)
            for k in range(done - epoch * images, images):
                layer_of.rate = rule.learning_rate * (1 - (1 - rule.final_rate) * done / (epochs * images))
                rng = np.random.default_rng((seed_of(seed, "rounding"), done))
                total += int(layer_of.present(_inputs(frames[int(order[k])]), rng).sum())
                done += 1
                bar.update()
                if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_EVERY and k + 1 < images:
                    write_container(checkpoint, CHECKPOINT, {"job": job, "history": history, "done": done, "total": total},
                                    {"weights": layer_of.weights, "adapted": layer_of.adapted, "used": layer_of.used})
                    saved = time.monotonic()
            history.append({"epoch": epoch + 1, "loss": None, "train_accuracy": None, "validation_accuracy": None,
                            "firing_rate": total / (images * model.steps * count), "learning_rate": layer_of.rate})
            total = 0
    with torch.no_grad():
        shape = (count, *weight.shape[2:], weight.shape[1])          # inputs in the contract's order are channels-last
        weight.copy_(torch.from_numpy(layer_of.used).reshape(shape).permute(0, 3, 1, 2))
        layer.threshold.adapted.copy_(torch.from_numpy(layer_of.adapted))
        bias = layer.connections[0].bias
        assert bias is not None
        bias.zero_()
    return history


def responses(model: Network, data: PreparedData, part: str, index: Array) -> Array:
    """How often the neurons of a network's first layer fire: float64 [images, N].

    Parameters
    ----------
    model : FloatNetwork or CodeNetwork
    index : int array, of samples of the part
    """
    model.eval()
    found: list[Array] = []
    batch = batch_size(model, 512)
    with torch.no_grad():
        for at in range(0, len(index), batch):
            x = to_codes(data.frames[part][index[at:at + batch]], data.input.constant)
            found.append(model(x)[1][0].sum(0).flatten(1).double().numpy())
    return np.concatenate(found)


def label_neurons(target: FloatNetwork, model: Network, data: PreparedData, rule: Stdp.Options, seed: int = 0) -> None:
    """Set the last layer of a FloatNetwork to what the neurons of a network's first layer respond to.

    Parameters
    ----------
    target : FloatNetwork
    model : FloatNetwork or CodeNetwork whose neurons are labelled
    data : PreparedData
    rule : spikeproof.pretraining.stdp.Stdp.Options (label_images, vote)
    seed : int, of the images
    """
    drawn = np.random.default_rng(seed_of(seed, "labels")).permutation(len(data.frames["train"]))[:rule.label_images]
    drawn.sort()
    labels, spikes = data.labels["train"][drawn], responses(model, data, "train", drawn)
    mean = np.stack([spikes[labels == c].mean(0) if (labels == c).any() else np.zeros(spikes.shape[1])
                     for c in range(data.classes)])                 # [classes, N]
    if rule.vote == "proportion":
        weights = mean / np.maximum(mean.sum(0), 1e-12)
    else:
        best = (mean.argmax(0) == np.arange(data.classes)[:, None]) & (mean.max(0) > 0)
        weights = best / np.maximum(best.sum(1, keepdims=True), 1)
    with torch.no_grad():
        last = target.layers[-1].connections[0]
        last.weight.copy_(torch.from_numpy(weights)[..., None, None])
        assert last.bias is not None
        last.bias.zero_()
