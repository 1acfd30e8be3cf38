"""What is proved about the core's parts: a harness for each, and the list of properties.

Parts are small here (a few neurons, lanes and codes); the proofs cover all their inputs, not all sizes.
"""
import itertools
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Array, Cat, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.codecs import parse_codec
from spikeproof.network import InputSpec, LayerSpec, NetworkSpec, Projection
from spikeproof.spec import Lateral, Leak, NeuronSpec, Store

from .accumulate import Accumulator, Drain
from .codecs import span
from .engine import Engine
from .formal import Harness, prove
from .gather import Gather, token_shape
from .neuron import NeuronUpdate
from .plan import CorePlan, Region
from .pool import MaxPool
from .route import Fork, Pack
from .scan import Scanner, event_shape

__all__ = ["PROOFS", "Proof"]


def _streams(i, o=None):
    """Members like a part's streams."""
    streams = {"i": In(stream.Signature(i.payload.shape()))}
    return streams if o is None else {**streams, "o": Out(stream.Signature(o.payload.shape()))}


def _layer(neuron, theta, bias=None, shape=(1, 1, 4), inputs=2, gate=None, v_init=None, lateral=None):
    codec = parse_codec("int2")
    weights = np.random.default_rng(1).integers(-2, 2, (1, 1, inputs, shape[2]))
    return LayerSpec("layer", shape, (Projection("input", codec, weights),), neuron, theta,
                     None if bias is None else np.array(bias), gate, None if v_init is None else np.array(v_init).reshape(1, 1, -1),
                     lateral)


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
        super().__init__({**_streams(self.dut.i, self.dut.o), "which": In(range(max(layer.neurons, 2)))})

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
        super().__init__(_streams(self.dut.i, self.dut.o))

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
            _conv("a", "input", 2), _conv("b", "a", 2),
            LayerSpec("c", (2, 2, 2), (_conv("c", "a", 2).projections[0], _conv("c", "b", 2).projections[0]),
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


def _conv(name, source, channels, kernel=1, padding=0, inputs=2, pool=1):
    weights = np.random.default_rng(1).integers(-2, 2, (kernel, kernel, inputs, channels))
    return LayerSpec(name, (2, 2, channels), (Projection(source, parse_codec("int2"), weights, padding=padding, pool=pool),),
                     NeuronSpec(Leak(), Store(-4, 3)), np.full((1, 1, 1, 1), 2), None)


class ScannerHarness(Harness):
    """Event number ``k`` of a token is its k-th spike, for every k; flags are on the right events; none is dropped or doubled.

    A token without spikes gives one event that says so.
    """
    def __init__(self, spikes=5, align=0):
        self.width, self.align = spikes, align
        self.dut = Scanner(token_shape(spikes, 16, 3, align), align)
        super().__init__(_streams(self.dut.i, self.dut.o))

    def elaborate(self, platform):
        m, dut, taken, given = self.passing()
        # Two tokens are on the way at most: what is still to come of each.
        held = data.StructLayout({"left": self.width, "silent": 1, "row": len(dut.o.p.row), "plane_end": 1, "end": 1})
        first, second = (Signal(held, name=name) for name in ("first", "second"))
        double = Signal()

        def idle(token):
            return (token.left == 0) & ~token.silent
        after = Signal(first.shape())
        lowest = first.left & ~(first.left - 1)[:self.width]
        m.d.comb += after.eq(first)
        with m.If(given):
            m.d.comb += [after.left.eq(first.left & ~lowest), after.silent.eq(0)]
        arrives = Signal(first.shape())
        row = (Value.cast(dut.i.p.row) + dut.i.p.offset) << self.align
        m.d.comb += [arrives.left.eq(dut.i.p.spikes), arrives.silent.eq(dut.i.p.spikes == 0), arrives.row.eq(row),
                     arrives.plane_end.eq(dut.i.p.plane_end), arrives.end.eq(dut.i.p.end)]
        finished = given & idle(after)
        m.d.sync += first.eq(after)
        with m.If(idle(after)):
            m.d.sync += [first.eq(second), second.left.eq(0), second.silent.eq(0)]
        with m.If(finished):
            m.d.sync += double.eq(first.plane_end & ~first.end)
        with m.Elif(given):
            m.d.sync += double.eq(0)
        with m.If(taken):
            with m.If(idle(after) & idle(second)):
                m.d.sync += first.eq(arrives)
            with m.Else():
                m.d.sync += second.eq(arrives)
        place = Signal(range(self.width))
        for k in reversed(range(self.width)):
            with m.If(first.left[k]):
                m.d.comb += place.eq(k)
        last = (first.left & ~lowest) == 0
        self.check(m, ~taken | idle(second) | idle(after), ~dut.o.valid | ~idle(first),
                   ~dut.o.valid | (dut.o.p.hit == ~first.silent),
                   ~dut.o.valid | first.silent | (dut.o.p.row == (first.row + place)[:len(dut.o.p.row)]),
                   ~dut.o.valid | (dut.o.p.tail == (first.end & last)), ~dut.o.valid | (dut.o.p.double == double))
        return self.done(m)


class PackHarness(Harness):
    """Every spike of a group of lanes is in its word, in its place, once; words come in order and a refused word stays."""
    def __init__(self, lanes=4, updaters=2):
        self.lanes, self.updaters = lanes, updaters
        self.layer = _layer(NeuronSpec(Leak(), Store(-2, 1)), np.full((1, 1, 1, 1), 1))
        self.dut = Pack([self.layer], [lanes], updaters, set())
        super().__init__(_streams(self.dut.i, self.dut.o))

    def elaborate(self, platform):
        m, dut, taken, given = self.passing()
        per_word = self.lanes // self.updaters
        at, filling, word, ready = Signal(range(per_word)), Signal(self.lanes), Signal(self.lanes), Signal()
        self.assume(~dut.i.valid | (dut.i.p.group_end == (at == per_word - 1)))
        now = Cat(filling, dut.i.p.spikes)[self.updaters:]
        with m.If(given):
            m.d.sync += ready.eq(0)
        with m.If(taken):
            m.d.sync += [filling.eq(now), at.eq(Mux(at == per_word - 1, 0, at + 1))]
            with m.If(at == per_word - 1):
                m.d.sync += [word.eq(now), ready.eq(1)]
        self.check(m, dut.o.valid == ready, ~dut.o.valid | (dut.o.p.spikes == word),
                   ~(taken & (at == per_word - 1)) | ~ready | given)
        return self.done(m)


class MaxPoolHarness(Harness):
    """Any pixel of the pooled map: its codes are the largest of its window (of spikes: their OR), and come once, in their place."""
    def __init__(self, columns=2, pool=2, codes=1, bits=1, signed=False):
        self.columns, self.pool, self.bits, self.signed = columns, pool, bits, signed
        region = Region("input", "spikes", (pool, columns * pool, codes), pool, False, codes, bits, 1, 2, signed)
        self.dut = MaxPool((region,), codes * bits)
        super().__init__({**_streams(self.dut.i, self.dut.o), "which": In(range(columns))})

    def larger(self, left, right):
        """The larger of each code of two words."""
        ends = range(0, len(left), self.bits)
        pairs = [(left[k:k + self.bits], right[k:k + self.bits]) for k in ends]
        above = [a.as_signed() > b.as_signed() if self.signed else a > b for a, b in pairs]
        return Cat(Mux(over, a, b) for over, (a, b) in zip(above, pairs))

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        chosen, started = self.chosen(m, self.which, "chosen", self.columns)
        self.feed(m, dut.i, started)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        self.stable(m, dut.o)
        taken, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        side, across = self.pool, self.columns * self.pool
        x, y, out = Signal(range(across)), Signal(range(side)), Signal(range(self.columns))
        total, expected, ahead = Signal.like(dut.i.p.codes), Signal.like(dut.i.p.codes), Signal(range(3))
        with m.If(taken):
            m.d.sync += x.eq(Mux(x == across - 1, 0, x + 1))
            with m.If(x == across - 1):
                m.d.sync += y.eq(Mux(y == side - 1, 0, y + 1))
        mine = taken & (x >= chosen * side) & (x < chosen * side + side)
        begins, ends = (x == chosen * side) & (y == 0), (x == chosen * side + side - 1) & (y == side - 1)
        so_far = Signal.like(total)
        m.d.comb += so_far.eq(Mux(begins, dut.i.p.codes, self.larger(total, dut.i.p.codes)))
        with m.If(mine):
            m.d.sync += total.eq(so_far)
            with m.If(ends):
                m.d.sync += expected.eq(so_far)
        window_ends = taken & (y == side - 1) & (x % side == side - 1)
        m.d.sync += ahead.eq(ahead + window_ends - given)
        with m.If(given):
            m.d.sync += out.eq(Mux(out == self.columns - 1, 0, out + 1))
        self.check(m, dut.o.valid == (ahead == 1), ahead < 2, ~(dut.o.valid & (out == chosen)) | (dut.o.p.codes == expected))
        return self.done(m)


def _last(source, shape):
    return LayerSpec("last", (1, 1, 2), (Projection(source, parse_codec("int2"), np.ones((*shape, 2), int)),),
                     NeuronSpec(Leak(), Store(-4, 3)), np.full((1, 1, 1, 1), 2), None)


def _small_plan(kernel, padding, side, inputs, channels):
    rng = np.random.default_rng(2)
    out = side + 2 * padding - kernel + 1
    first = LayerSpec("a", (out, out, channels), (Projection("input", parse_codec("int2"),
                      rng.integers(-2, 2, (kernel, kernel, inputs, channels)), padding=padding),),
                      NeuronSpec(Leak("subtract_shift", 1), Store(-4, 3)), np.full((1, 1, 1, 1), 2),
                      v_init=rng.integers(-4, 4, (out, out, channels)))
    net = NetworkSpec(InputSpec((side, side, inputs), 1, False), (first, _last("a", first.shape)), 2)
    return CorePlan.of(net, 2, word=2)


class GatherHarness(Harness):
    """Frame memory and window walk: any input of any window of any group reaches the scanner once if it spiked, else never.

    Follows one frame, freely chosen, one group of lanes at one position of it, and one weight row.
    """
    def __init__(self, **shape):
        lanes = 2
        gather = _small_plan(**shape).engine_plans[0].gathers[0]
        self.walk, self.region = gather.passes[0], gather.stores[0].regions[0]
        rows = self.walk.projection.weights[..., 0].size
        self.groups = self.walk.projection.out_channels // lanes
        self.dut = Gather(gather, 2, rows * self.groups, False)
        out = self.walk.projection.output_map(self.region.shape)
        self.windows = out[0] * out[1] * self.groups
        self.rows = rows
        super().__init__({**_streams(self.dut.i0, self.dut.o), "mark": In(1),
                          "window": In(range(max(self.windows, 2))), "row": In(range(max(rows, 2)))})

    def _pixel(self, window, row):
        """(word of the frame, bit of it) of a weight row in a window, or None in the padding."""
        p, region = self.walk.projection, self.region
        _, width = p.output_map(region.shape)
        place, channels = window // self.groups, p.weights.shape[2]
        ky, kx, c = row // channels // p.kernel[1], row // channels % p.kernel[1], row % channels
        y, x = place // width * p.stride - p.padding + ky, place % width * p.stride - p.padding + kx
        if not (0 <= y < region.shape[0] and 0 <= x < region.shape[1]):
            return None
        return (y * region.shape[1] + x) * region.words + c // region.word, c % region.word

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        window, started = self.chosen(m, self.window, "chosen_window", self.windows)
        row, _ = self.chosen(m, self.row, "chosen_row", self.rows)
        self.feed(m, dut.i0, started)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        self.stable(m, dut.o)
        taken, given = dut.i0.valid & dut.i0.ready, dut.o.valid & dut.o.ready
        region = self.region
        frame_words = region.shape[0] * region.shape[1] * region.words

        # The word and bit that matter; a window's row in the padding has none.
        key_word, key_bit, real = Signal(range(max(frame_words, 2))), Signal(range(max(region.word, 2))), Signal()
        with m.Switch(Cat(row, window)):
            for w in range(self.windows):
                for r in range(self.rows):
                    if (at := self._pixel(w, r)) is not None:
                        with m.Case(r | w << len(row)):
                            m.d.comb += [key_word.eq(at[0]), key_bit.eq(at[1]), real.eq(1)]

        # Frames that have arrived and whose last token has not left: two in memory, and some in the queue of tokens.
        word, ends = Signal(range(max(frame_words, 2))), Signal(range(max(self.windows, 2)))
        arriving, waiting = Signal(), Signal(4)
        following, is_arriving, spiked, behind, seen = Signal(), Signal(), Signal(), Signal.like(waiting), Signal()
        m.d.comb += arriving.eq(taken & (word == frame_words - 1))
        with m.If(taken):
            m.d.sync += word.eq(Mux(word == frame_words - 1, 0, word + 1))
        window_end = given & dut.o.p.end
        walked = window_end & (ends == self.windows - 1)
        with m.If(window_end):
            m.d.sync += ends.eq(Mux(ends == self.windows - 1, 0, ends + 1))
        m.d.sync += waiting.eq(waiting + arriving - walked)
        # Follow a frame from its first word on.
        starts = taken & (word == 0) & self.mark & ~following
        with m.If(starts):
            m.d.sync += [following.eq(1), behind.eq(waiting - walked), is_arriving.eq(1)]
        with m.Elif(following & walked & (behind != 0)):
            m.d.sync += behind.eq(behind - 1)
        with m.Elif(following & walked):
            m.d.sync += following.eq(0)
        with m.If(arriving):
            m.d.sync += is_arriving.eq(0)
        with m.If(taken & (starts | is_arriving) & (word == key_word)):
            m.d.sync += spiked.eq(real & dut.i0.p.codes.bit_select(key_bit, 1))
        with m.If(starts & ~real):
            m.d.sync += spiked.eq(0)

        # Tokens of the followed window.
        here = dut.o.valid & following & (behind == 0) & (ends == window)
        group = Mux(window % self.groups == 0, 0, self.rows) if self.groups == 2 else 0
        first = (Value.cast(dut.o.p.row) + dut.o.p.offset) << self.dut.align
        distance = Signal(range(-64, 64))
        m.d.comb += distance.eq(row + group - first)
        inside = (distance >= 0) & (distance < self.dut.part)
        hit = Signal()
        m.d.comb += hit.eq(inside & dut.o.p.spikes.bit_select(distance[:3], 1))
        with m.If(here & dut.o.ready):
            m.d.sync += seen.eq(Mux(dut.o.p.end, 0, seen | hit))
        self.check(m, ~here | ~(seen & hit), ~(here & dut.o.p.end) | ((seen | hit) == spiked), ~dut.o.valid | (waiting != 0),
                   waiting != 15)
        return self.done(m)


class AccumulatorHarness(Harness):
    """The sums of a group whose events are any of its weight rows, in any order, each once at most."""
    def __init__(self, **shape):
        plan = _small_plan(**shape)
        net, engine = plan.net, plan.engine_plans[0]
        event = event_shape(token_shape(2, engine.weights[0].rows, 1))
        self.dut = Accumulator(engine, net, [event], 2, span(*net.acc_range(net.layers[0])))
        self.rows = net.layers[0].projections[0].weights[..., 0].size
        super().__init__({**_streams(self.dut.i0), "ready": In(1)})

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i0)
        m.d.comb += dut.o.ready.eq(self.ready)
        seen, group = Signal(self.rows), Signal(range(2))
        taken = dut.i0.valid & dut.i0.ready
        row = dut.i0.p.row - Mux(group, self.rows, 0)
        self.assume(~dut.i0.valid | ~dut.i0.p.hit | ((row >= 0) & (row < self.rows) & ~seen.bit_select(row[:3], 1)),
                    ~dut.i0.valid | ~dut.i0.p.double)
        with m.If(taken):
            with m.If(dut.i0.p.tail):
                m.d.sync += [seen.eq(0), group.eq(~group)]
            with m.Elif(dut.i0.p.hit):
                m.d.sync += seen.eq(seen | (1 << row[:3]))
        return self.done(m)


class EngineHarness(Harness):
    """A whole engine, any words and any stalls: the claims inside its parts (no overflow, addresses in range) hold."""
    def __init__(self, **shape):
        self.dut = Engine(_small_plan(**shape), 0)
        super().__init__({**_streams(self.dut.i0_0), "ready": In(1)})

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i0_0)
        m.d.comb += dut.o0.ready.eq(self.ready)
        return self.done(m)


OVERFLOW = ("sums never overflow", "membranes never overflow")
ADDRESSES = ("addresses are in range",)
PER_CHANNEL, PER_STEP = np.array([2, 1]).reshape(1, 1, 1, 2), np.array([2, 1]).reshape(2, 1, 1, 1)
CONSTANT = np.full((1, 1, 1, 1), 2)
DENSE, CONV = ({"kernel": k, "padding": k - 1, "side": k, "inputs": n, "channels": n} for k, n in ((1, 4), (2, 2)))


@dataclass(frozen=True)
class Proof:
    """A property, the harness that states it, and the claims that it asserts.

    Parameters
    ----------
    property : str, one of "no overflow", "streams", "addresses", "five steps"
    name : str, the part and its size
    harness : function without arguments that gives it
    claims : names of claims
    unbounded : bool, whether ``pdr`` is known to prove it; else only cycles from the start are covered
    """
    property: str
    name: str
    harness: object
    claims: tuple = ()
    unbounded: bool = True

    def run(self, seconds=60):
        """Outcome of the proof."""
        return prove(self.harness(), self.claims, seconds, self.unbounded)


def _neurons(property, name, neuron, theta=CONSTANT, bias=None, units=1, neurons=2, acc=(-4, 4), gate=None, claims=(),
             unbounded=True, v_init=None, lateral=None):
    layer = _layer(neuron, theta, bias, (1, 1, neurons), gate=gate, v_init=v_init, lateral=lateral)
    return Proof(property, name, lambda: NeuronHarness(layer, neurons, acc, 2, units), claims, unbounded)


IF, LIF = NeuronSpec(Leak(), Store(-4, 3)), NeuronSpec(Leak("subtract_shift", 1), Store(-2, 1, 1, "half_up"), "hard", -1)
PROOFS = (
    _neurons("five steps", "soft reset, thresholds per channel", IF, PER_CHANNEL),
    _neurons("five steps", "leak v - (v >> 1), hard reset, half_up, biases", LIF, bias=(1, -1)),
    _neurons("five steps", "leak v >> 1, half_even, thresholds per step",
             NeuronSpec(Leak("shift", 1), Store(-2, 1, 1, "half_even")), PER_STEP),
    _neurons("five steps", "leak (v * 3) >> 2, ternary membrane", NeuronSpec(Leak("multiply", multiplier=3, fraction=2),
                                                                            Store(-1, 1, 1))),
    _neurons("five steps", "gates", NeuronSpec(Leak("subtract_shift", 1), Store(-2, 1)), gate="other"),
    _neurons("five steps", "inhibition by every spike", IF, acc=(-2, 4), lateral=Lateral(1)),
    _neurons("five steps", "one spike and its inhibition", IF, acc=(-2, 4), lateral=Lateral(2, one_spike=True)),
    _neurons("five steps", "one spike of four neurons, two a cycle", NeuronSpec(Leak(), Store(-2, 1)), units=2, neurons=4,
             acc=(-2, 2), lateral=Lateral(1, one_spike=True)),
    _neurons("five steps", "no threshold", IF, None),
    _neurons("five steps", "an initial membrane per neuron", IF, v_init=(2, -3)),
    _neurons("five steps", "one initial membrane, leak v - (v >> 1), hard reset", LIF, v_init=(1,)),
    _neurons("five steps", "two neurons a cycle", NeuronSpec(Leak(), Store(-2, 1)), units=2, neurons=4),
    _neurons("five steps", "eight neurons, no interlock", NeuronSpec(Leak(), Store(-1, 1)), acc=(-1, 1), neurons=8,
             unbounded=False),
    Proof("no overflow", "accumulator, dense 4 -> 4, rows in any order",
          lambda: AccumulatorHarness(**DENSE), OVERFLOW),
    _neurons("no overflow", "neurons, soft reset", IF, PER_CHANNEL, claims=OVERFLOW),
    _neurons("no overflow", "neurons, leak, hard reset, rounding, biases", LIF, bias=(1, -1), claims=OVERFLOW),
    _neurons("no overflow", "neurons, inhibition by every spike", IF, lateral=Lateral(1), claims=OVERFLOW),
    Proof("no overflow", "engine, dense 4 -> 4", lambda: EngineHarness(**DENSE), OVERFLOW, unbounded=False),
    Proof("no overflow", "engine, conv 2x2 on 2x2, padded", lambda: EngineHarness(**CONV), OVERFLOW, unbounded=False),
    # Sizes that are no powers of two, so that there are addresses out of range.
    Proof("addresses", "engine, dense 3 -> 6", lambda: EngineHarness(**{**DENSE, "inputs": 3, "channels": 6}), ADDRESSES),
    Proof("addresses", "engine, conv 2x2 on 3x3", lambda: EngineHarness(**{**CONV, "side": 3, "padding": 0}), ADDRESSES),
    Proof("addresses", "engine, conv 2x2 on 3x3, padded", lambda: EngineHarness(**{**CONV, "side": 3}), ADDRESSES, unbounded=False),
    Proof("streams", "scanner", ScannerHarness),
    Proof("streams", "drain", DrainHarness),
    Proof("streams", "pack", PackHarness),
    Proof("streams", "fork", ForkHarness),
    Proof("streams", "max pool", MaxPoolHarness),
    Proof("streams", "max pool, two codes of 2 bits", lambda: MaxPoolHarness(codes=2, bits=2)),
    Proof("streams", "max pool, codes of 3 bits, signed", lambda: MaxPoolHarness(bits=3, signed=True)),
    Proof("streams", "frame memory and walk, dense 4 -> 4", lambda: GatherHarness(**DENSE), unbounded=False),
    Proof("streams", "frame memory and walk, conv 2x2 on 2x2, padded", lambda: GatherHarness(**CONV), unbounded=False),
)
