"""Harnesses for formal proofs: scanning, packing, pooling, gathering, accumulating; a small engine as a whole."""

import numpy as np
from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from spikeproof.codecs import parse_codec
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Leak, NeuronSpec, Store

from .accumulate import Accumulator
from .codecs import span
from .engine import Engine
from .formal import Harness
from .gather import Gather, token_shape
from .layout import Region
from .neuron_harnesses import layer_of, streams_of
from .plan import CorePlan
from .pool import MaxPool
from .route import Pack
from .scan import Scanner, event_shape

__all__ = ["AccumulatorHarness", "EngineHarness", "GatherHarness", "MaxPoolHarness", "PackHarness", "ScannerHarness"]


class ScannerHarness(Harness):
    """Event number ``k`` of a token is its k-th spike, for every k; flags are on the right events; none is dropped or doubled.

    A token without spikes gives one event that says so.
    """
    def __init__(self, spikes=5, align=0):
        self.width, self.align = spikes, align
        self.dut = Scanner(token_shape(spikes, 16, 3, align), align)
        super().__init__(streams_of(self.dut.i, self.dut.o))

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
        self.layer = layer_of(NeuronSpec(Leak(), Store(-2, 1)), np.full((1, 1, 1, 1), 1))
        self.dut = Pack([self.layer], [lanes], updaters, set())
        super().__init__(streams_of(self.dut.i, self.dut.o))

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
        super().__init__({**streams_of(self.dut.i, self.dut.o), "which": In(range(columns))})

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
        super().__init__({**streams_of(self.dut.i0, self.dut.o), "mark": In(1),
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
        super().__init__({**streams_of(self.dut.i0), "ready": In(1)})

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
        super().__init__({**streams_of(self.dut.i0_0), "ready": In(1)})

    def elaborate(self, platform):
        m = self.module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i0_0)
        m.d.comb += dut.o0.ready.eq(self.ready)
        return self.done(m)
