"""Random integer networks for Hypothesis, over every option of the contract."""
from dataclasses import replace

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from spikeproof_hdl.layout import Unbuildable
from spikeproof_hdl.plan import CorePlan

from spikeproof.codecs import parse_codec
from spikeproof.fixed_point import ROUNDINGS
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Lateral, Leak, NeuronSpec, Store

CODECS = ("binary", "ternary", "int2", "int4", "int8", "pot2", "pot3", "pot4", "pot5", "pot8", "apot4", "apot5", "apot8",
          "shift1", "shift2")


def small_network():
    """Conv with padding and n-bit input, per-channel thresholds, biases and initial membranes; pooled dense layer; both lively."""
    rng = np.random.default_rng(7)
    int4, pot = parse_codec("int4"), parse_codec("pot3")
    lif = NeuronSpec(Leak("subtract_shift", 2), Store(-16, 15, 1, "half_up"))
    conv = LayerSpec("conv1", (6, 6, 4), (Projection("input", int4, rng.integers(-3, 5, (3, 3, 1, 4)), padding=1),), lif,
                     np.array([17, 18, 20, 22]).reshape(1, 1, 1, 4), np.array([1, -2, 0, 3]),
                     v_init=np.array([2, -1, 0, 1]).reshape(1, 1, 4))
    out = LayerSpec("out", (1, 1, 6), (Projection("conv1", pot, rng.choice(pot.codes, (3, 3, 4, 6)), pool=2),),
                    NeuronSpec(Leak(), Store(-64, 63)), np.full((1, 1, 1, 1), 7), None)
    return NetworkSpec(InputSpec((6, 6, 1), 2, True), (conv, out), 4)


@st.composite
def leaks(draw):
    kind = draw(st.sampled_from(Leak.KINDS))
    if kind in ("subtract_shift", "shift"):
        return Leak(kind, shift=draw(st.integers(1, 4)))
    if kind == "multiply":
        fraction = draw(st.integers(1, 8))
        return Leak(kind, multiplier=draw(st.integers(0, (1 << fraction) - 1)), fraction=fraction)
    return Leak()


@st.composite
def stores(draw):
    lo, hi = draw(st.sampled_from([(-1, 1), (0, 1), (-2, 1), (-8, 7), (-3, 12), (-128, 127), (-32768, 32767)]))
    rounding = draw(st.sampled_from(ROUNDINGS))
    seed = draw(st.integers(1, 2**32 - 1)) if rounding == "stochastic" else 0
    return Store(lo, hi, draw(st.integers(0, 4)), rounding, seed)


@st.composite
def neurons(draw):
    store, reset = draw(stores()), draw(st.sampled_from(NeuronSpec.RESETS))
    v_reset = draw(st.integers(-9, 9)) if reset == "hard" else 0
    return NeuronSpec(draw(leaks()), store, reset, v_reset)


def _reads(draw, source):
    return "spikes" if source == "input" else draw(st.sampled_from(["spikes", "spikes", "membranes"]))


def _projection(draw, rng, source, source_shape, max_input, last):
    height, width, channels = source_shape
    codec = parse_codec(draw(st.sampled_from(CODECS)))
    pool = draw(st.sampled_from([k for k in (1, 2, 3) if height % k == 0 and width % k == 0]))
    reads = _reads(draw, source)
    pool_kind = draw(st.sampled_from(Projection.POOLS))
    rows, columns = height // pool, width // pool
    groups = 1
    if last or draw(st.booleans()):
        kernel, padding, stride = (rows, columns), 0, 1                       # dense
    else:
        padding, stride = draw(st.integers(0, 2)), draw(st.integers(1, 2))
        kernel = tuple(draw(st.integers(1, min(3, n + 2 * padding))) for n in (rows, columns))
        if draw(st.booleans()):                                               # the map stays
            padding, stride, kernel = 1, 1, (3, 3)
        groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    out = groups * draw(st.integers(1, 6 if groups == 1 else 2)) if draw(st.booleans()) or channels % groups else channels
    weights = rng.choice(codec.codes, (*kernel, channels // groups, out))
    return Projection(source, codec, weights, stride, padding, groups, pool, pool_kind, reads)


def _joining(draw, rng, earlier, shape):
    """Projections from earlier maps that give a map of ``shape``: a residual add, or a dense shortcut."""
    found = []
    for source, source_shape in earlier.items():
        if not draw(st.booleans()):
            continue
        codec = parse_codec(draw(st.sampled_from(CODECS)))
        if source_shape == shape and draw(st.booleans()):            # an identity: each channel to its own
            found.append(Projection(source, codec, rng.choice(codec.codes, (1, 1, 1, shape[2])), groups=shape[2],
                                    reads=_reads(draw, source)))
            continue
        if source_shape[:2] == shape[:2]:
            kernel = (1, 1)
        elif shape[:2] == (1, 1):
            kernel = source_shape[:2]
        else:
            continue
        found.append(Projection(source, codec, rng.choice(codec.codes, (*kernel, source_shape[2], shape[2])),
                                reads=_reads(draw, source)))
    return found


def _gate(draw, rng, name, earlier, shape):
    """A layer whose spikes can gate a layer of ``shape``: one gate, or one per block of positions; one per channel or for all."""
    blocks = [(name, k) for name, (height, width, _) in earlier.items() for k in (1, 2, 3)
              if height % k == width % k == 0 and shape[0] % (height // k) == shape[1] % (width // k) == 0
              and (height, width) != (k, k)]
    whole = [(name, 0) for name in earlier]                              # one gate for the whole map
    source, pool = draw(st.sampled_from(blocks if blocks and draw(st.integers(0, 3)) else whole))
    height, width, channels = earlier[source]
    kernel, pool = ((height, width), 1) if pool == 0 else ((1, 1), pool)
    out = draw(st.sampled_from([1, shape[2]]))
    codec = parse_codec(draw(st.sampled_from(CODECS)))
    projection = Projection(source, codec, rng.choice(codec.codes, (*kernel, channels, out)), pool=pool, reads=_reads(draw, source))
    neuron = NeuronSpec(Leak("multiply", multiplier=0, fraction=1), Store(-8, 7)) if draw(st.booleans()) else draw(neurons())
    # A bias that makes about half of the gates open.
    return LayerSpec(name, (*projection.output_map(earlier[source]), out), (projection,), neuron,
                     np.full((1, 1, 1, 1), 2), rng.integers(0, 5, out))


def _layer(draw, rng, name, source, earlier, steps, max_inputs, last):
    first = _projection(draw, rng, source, earlier[source], max_inputs[source], last)
    shape = (*first.output_map(earlier[source]), first.out_channels)
    others = _joining(draw, rng, {n: s for n, s in earlier.items() if n != source}, shape)
    projections = tuple(draw(st.permutations([first, *others])))
    reach = int(max(1, max(np.abs(p.weights).mean() * np.sqrt(p.weights[..., 0].size) * max_inputs[p.source] * p.pool
                           for p in projections)))
    out = shape[2]
    theta_shape = draw(st.sampled_from([(1, 1, 1, 1), (1, 1, 1, out), (steps, 1, 1, 1), (steps, 1, 1, out),
                                        (1, *shape), (steps, *shape)]))
    theta = rng.integers(1, 2 * reach + 2, theta_shape)
    theta_shift = draw(st.sampled_from([0, 0, 0, 1, 3]))
    theta = -(-theta >> theta_shift) << theta_shift
    if last and draw(st.booleans()):
        theta, theta_shift = None, 0
    bias = rng.integers(-reach, reach + 1, out) if draw(st.booleans()) else None
    neuron, v_init = draw(neurons()), None
    size = draw(st.sampled_from([None, None, (1, 1, 1), (1, 1, out), shape]))
    if size is not None and not neuron.stateless:
        v_init = rng.integers(max(neuron.store.lo, -9), min(neuron.store.hi, 9) + 1, size)
    lateral = None
    if theta is not None and draw(st.integers(0, 3)) == 0:
        one_spike = draw(st.booleans())
        lateral = Lateral(int(rng.integers(0 if one_spike else 1, reach + 2)), one_spike)
    return LayerSpec(name, shape, projections, neuron, theta, bias, v_init=v_init, lateral=lateral, theta_shift=theta_shift)


@st.composite
def networks(draw):
    """1 to 3 layers, each reading the one before and sometimes earlier maps too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.sampled_from([1, 2, 4, 6])), draw(st.sampled_from([1, 3, 4, 6])), draw(st.integers(1, 5)))
    bits = draw(st.sampled_from([1, 1, 2, 4]))
    given_input = InputSpec(shape, bits, draw(st.booleans()))
    steps = draw(st.integers(1, 4))
    depth = draw(st.integers(1, 3))
    layers, source = [], "input"
    earlier, max_inputs = {"input": shape}, {"input": given_input.max_code}
    for k in range(depth):
        layer = _layer(draw, rng, f"layer{k}", source, earlier, steps, max_inputs, k == depth - 1)
        if draw(st.sampled_from([False, False, True])):
            gate = _gate(draw, rng, f"gate{k}", earlier, layer.shape)
            layers.append(gate)
            earlier[gate.name], max_inputs[gate.name] = gate.shape, 1
            layer = replace(layer, gate=gate.name)
        layers.append(layer)
        source = layer.name
        earlier[source], max_inputs[source] = layer.shape, 1
    readout = "membrane" if layers[-1].theta is None else draw(st.sampled_from(NetworkSpec.READOUTS))
    return NetworkSpec(given_input, tuple(layers), steps, readout)


@st.composite
def plans(draw):
    """A network and how its core is built: lanes, updaters, input word, layers folded onto engines."""
    net = draw(networks())
    lanes, updaters = draw(st.sampled_from([1, 2, 3, 16])), draw(st.sampled_from([1, 2, 4]))
    fold, left = [], len(net.layers)
    while left:
        fold.append(draw(st.integers(1, left)))
        left -= fold[-1]
    try:
        word = draw(st.integers(1, min(CorePlan.of(net).input_shape[2], 40)))
        return CorePlan.of(net, lanes, updaters, word, fold)
    except Unbuildable:
        reject()


def random_frames(net, images, seed=0, rate=0.4):
    """Input codes for ``images`` images; about ``rate`` of them are not zero."""
    rng = np.random.default_rng(seed)
    shape = net.input.shape if net.input.constant else (net.steps, *net.input.shape)
    codes = rng.integers(1, net.input.max_code + 1, (images, *shape))
    return (codes * (rng.random(codes.shape) < rate)).astype(np.uint16)
