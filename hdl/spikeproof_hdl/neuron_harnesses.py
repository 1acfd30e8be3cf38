"""Harnesses for formal proofs: neurons, the queue before them, streams that part."""
import itertools

import numpy as np
from amaranth.hdl import Array, Cat, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.codecs import parse_codec
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Leak, NeuronSpec, Store

from .accumulate import Drain
from .formal import Harness
from .neuron import NeuronUpdate
from .plan import CorePlan
from .route import Fork

__all__ = ["DrainHarness", "ForkHarness", "NeuronHarness", "conv", "layer_of", "streams_of"]


def streams_of(i, o=None):
    """Members like a part's streams."""
    streams = {"i": In(stream.Signature(i.payload.shape()))}
    return streams if o is None else {**streams, "o": Out(stream.Signature(o.payload.shape()))}


def layer_of(neuron, theta, bias=None, shape=(1, 1, 4), inputs=2, gate=None, v_init=None, lateral=None):
    codec = parse_codec("int2")
    weights = np.random.default_rng(1).integers(-2, 2, (1, 1, inputs, shape[2]))
    return LayerSpec("layer", shape, (Projection("input", codec, weights),), neuron, theta,
                     None if bias is None else np.array(bias), gate, None if v_init is None else np.array(v_init).reshape(1, 1, -1),
                     lateral)


def conv(name, source, channels, kernel=1, padding=0, inputs=2, pool=1):
    weights = np.random.default_rng(1).integers(-2, 2, (kernel, kernel, inputs, channels))
    return LayerSpec(name, (2, 2, channels), (Projection(source, parse_codec("int2"), weights, padding=padding, pool=pool),),
                     NeuronSpec(Leak(), Store(-4, 3)), np.full((1, 1, 1, 1), 2), None)


class NeuronHarness(Harness):
    """One neuron, any of the layer's: after every update its spike and membrane are those of the contract's five steps.

    The steps are a table of :meth:`spikeproof.spec.NeuronSpec.step` over all membranes, sums and thresholds. Index and flags of
    the updates are compared too, and a refused update stays.
    """
    def __init__(self, layer, lanes, acc_range, steps, updaters):
        self.layer, self.acc_range, self.steps, self.updaters = layer, acc_range, steps, updaters
        self.gated = layer.gate is not None
        self.dut = NeuronUpdate([layer], [lanes], acc_range, steps, updaters, self.gated)
        self.lanes = lanes
        super().__init__({**streams_of(self.dut.i, self.dut.o), "which": In(range(max(layer.neurons, 2)))})

    def elaborate(self, platform):
        m = self.module()
        layer, units, neuron, store = self.layer, self.updaters, self.layer.neuron, self.layer.neuron.store
        m.submodules.dut = dut = self.dut
        chosen, started = self.chosen(m, self.which, "chosen", layer.neurons)
        lo, hi = self.acc_range
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        self.feed(m, dut.i, started)
        self.assume(*((self.i.p.sums[k] >= lo) & (self.i.p.sums[k] <= hi) for k in range(units)))
        self.stable(m, dut.o)

        def counters(name, move):
            index, step = Signal(range(max(layer.neurons // units, 2)), name=f"{name}_index"), Signal(range(max(self.steps, 2)),
                                                                                                  name=f"{name}_step")
            last = index == layer.neurons // units - 1
            with m.If(move):
                m.d.sync += index.eq(Mux(last, 0, index + 1))
                with m.If(last):
                    m.d.sync += step.eq(Mux(step == self.steps - 1, 0, step + 1))
            return index, step, last
        taken, given = self.i.valid & self.i.ready, dut.o.valid & dut.o.ready
        in_index, _, _ = counters("in", taken)
        out_index, out_step, last = counters("out", given)
        acc, open_ = Signal(dut.acc_shape), Signal()
        for k in range(units):
            with m.If(taken & (in_index * units + k == chosen)):
                m.d.sync += acc.eq(self.i.p.sums[k])
                if self.gated:
                    m.d.sync += open_.eq(self.i.p.open[k])

        # Spikes of other neurons, in this step and in the one before, are counted where they come out.
        lateral, inhibits, free = layer.lateral, Signal(range(layer.inhibition + 1)), 1
        if lateral is not None:
            sent, sent_before = (Signal(range(layer.neurons + 1), name=name) for name in ("sent", "sent_before"))
            now = sent + sum(dut.o.p.spikes[1:units], dut.o.p.spikes[0])
            with m.If(given):
                m.d.sync += sent.eq(Mux(last, 0, now))
                with m.If(last):
                    m.d.sync += sent_before.eq(Mux(out_step == self.steps - 1, 0, now))
            m.d.comb += inhibits.eq(sent_before * lateral.inhibition)
            if lateral.one_spike:
                free = Signal()
                m.d.comb += free.eq(sent == 0)
                for k in range(1, units):
                    with m.If((out_index * units + k == chosen) & dut.o.p.spikes[:k].any()):
                        m.d.comb += free.eq(0)
                self.check(m, now <= 1)

        # The contract as a table: address (threshold, bias, gate, free to fire, membrane code, sum), word (spike, new code).
        thetas = [None] if layer.theta is None else sorted({int(t) for t in layer.theta.flat})
        biases = [0] if layer.bias is None else sorted({int(b) for b in layer.bias.flat})
        sums = range(lo - layer.inhibition, hi + 1)
        chances = (0, 1) if lateral is not None and lateral.one_spike else (1,)
        codes = range(store.lo, store.hi + 1)
        rows, gates = [], (0, 1) if self.gated else (1,)
        for theta, bias, is_open, chance, code, total in itertools.product(thetas, biases, gates, chances, codes, sums):
            spike, new = neuron.step(code, total + bias if is_open else 0, theta, free=bool(chance))
            rows.append(spike | (new - store.lo) << 1)
        width = (store.hi - store.lo).bit_length()
        m.submodules.table = table = memory.Memory(shape=width + 1, depth=len(rows), init=rows)
        read = table.read_port(domain="comb")
        where, held = Signal(range(len(rows))), Signal(range(store.lo, store.hi + 1))

        def position(values, of, array):
            """Which of ``values`` the chosen neuron has, from an array over steps and neurons (or fewer)."""
            if array is None or len(values) == 1:
                return 0
            found = Signal(range(len(values)), name=f"position_{of}")
            full = np.broadcast_to(array, (self.steps, *layer.shape)).reshape(self.steps, -1)
            with m.Switch(Cat(chosen, out_step)):
                for step in range(self.steps):
                    for n in range(layer.neurons):
                        with m.Case(n | step << len(chosen)):
                            m.d.comb += found.eq(values.index(int(full[step, n])))
            return found
        at = position(thetas, "theta", layer.theta) * len(biases) + position(biases, "bias", layer.bias)
        at = (at * 2 + open_) if self.gated else at
        at = (at * 2 + free) if len(chances) > 1 else at
        starts = [0] * layer.neurons if layer.v_init is None else np.broadcast_to(layer.v_init, layer.shape).flatten().tolist()
        before = Signal.like(held)
        m.d.comb += before.eq(Mux(out_step == 0, Array(starts)[chosen], held))
        m.d.comb += [where.eq((at * len(codes) + (before - store.lo)) * len(sums) + (acc - inhibits - sums[0])),
                     read.addr.eq(where)]
        new = Signal(range(store.lo, store.hi + 1))
        m.d.comb += new.eq((read.data >> 1) + store.lo)
        for k in range(units):
            mine = dut.o.valid & (out_index * units + k == chosen)
            self.check(m, ~mine | ((dut.o.p.spikes[k] == read.data[0]) & (dut.o.p.membranes[k] == new)))
            with m.If(mine & dut.o.ready):
                m.d.sync += held.eq(Mux(neuron.stateless, 0, new))
        flags = Cat(dut.o.p.group_end, dut.o.p.step_end, dut.o.p.image_end)
        per_group = self.lanes // units
        group_end = (out_index % per_group) == per_group - 1
        self.check(m, ~dut.o.valid | ((dut.o.p.index == out_index) & (flags == Cat(
            group_end, last, last & (out_step == self.steps - 1)))))
        return self.done(m)


class DrainHarness(Harness):
    """The sums of each group leave in order, each once and unchanged; a group is taken when the last one has left."""
    def __init__(self, lanes=4, updaters=2, bits=3):
        self.lanes, self.updaters = lanes, updaters
        self.dut = Drain(Shape.cast(bits), [lanes], [2], updaters, False)
        super().__init__(streams_of(self.dut.i, self.dut.o))

    def elaborate(self, platform):
        m, dut, taken, given = self.passing()
        held, left = Signal(dut.i.payload.shape()), Signal(range(self.lanes // self.updaters + 1))
        with m.If(given):
            m.d.sync += [left.eq(left - 1), Value.cast(held.sums).eq(Value.cast(held.sums) >> len(Value.cast(dut.o.p.sums)))]
        with m.If(taken):
            m.d.sync += [left.eq(self.lanes // self.updaters), held.eq(dut.i.payload)]
        self.check(m, dut.o.valid == (left != 0), ~taken | (left == 0) | (given & (left == 1)),
                   ~dut.o.valid | (Value.cast(dut.o.p.sums) == Value.cast(held.sums)[:len(Value.cast(dut.o.p.sums))]))
        return self.done(m)


class ForkHarness(Harness):
    """Every word reaches every target that wants it, once, unchanged, before the next word is taken."""
    def __init__(self):
        net = NetworkSpec(InputSpec((2, 2, 2), 1, True), (
            conv("a", "input", 2), conv("b", "a", 2),
            LayerSpec("c", (2, 2, 2), (conv("c", "a", 2).projections[0], conv("c", "b", 2).projections[0]),
                      NeuronSpec(Leak(), Store(-4, 3)), np.full((1, 1, 1, 1), 2), None)), 1)
        self.plan = CorePlan.of(net, 2, fold=[2, 1])
        self.targets = self.plan.targets(["a", "b"])
        self.payload = data.StructLayout({"spikes": 2, "layer": 1})
        self.dut = Fork(self.payload, self.targets)
        super().__init__({"i": In(stream.Signature(self.payload)),
                          "ready": In(len(self.targets))})

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        self.sender_holds(m, self.i)
        for k, target in enumerate(self.targets):
            out, got, wanted = getattr(dut, f"o{k}"), Signal(name=f"got{k}"), Signal(name=f"wants{k}")
            now = out.valid & out.ready
            m.d.comb += [out.ready.eq(self.ready[k]), wanted.eq(Value.cast(dut.i.p.layer).matches(*target.regions))]
            self.check(m, ~(out.valid & got), ~out.valid | (dut.i.valid & wanted), ~out.valid | (out.p.codes == dut.i.p.spikes),
                       ~(dut.i.valid & dut.i.ready) | ((got | now) == wanted))
            m.d.sync += got.eq(Mux(dut.i.valid & dut.i.ready, 0, got | now))
            self.stable(m, out)
        return self.done(m)
