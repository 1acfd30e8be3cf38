"""Weight rows into sums, and finished sums to the neurons."""
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .codecs import decode
from .parts import Banked, Counter, among, claim, fits, pick

__all__ = ["Accumulator", "Drain", "sums_shape", "weight_memory", "weight_rows"]


def weight_rows(projection, lanes):
    """The rows of a projection in a weight memory: row (group of lanes, kernel y, kernel x, input channel), lane 0 lowest.

    Returns
    -------
    list of int, each ``lanes * codec.bits`` wide
    """
    words = projection.codec.pack(projection.weights).reshape(-1, projection.out_channels // lanes, lanes)
    return Banked.pack(words.transpose(1, 0, 2).reshape(-1, lanes).tolist(), projection.codec.bits)


def weight_memory(plan, n):
    """Name of the ``n``-th weight memory of an engine."""
    return "weights" if len(plan.weights) == 1 else f"weights{n}"


def sums_shape(acc_shape, lanes, gated):
    """The sums of some neighbouring neurons, and whether their gates are open where the engine has gates."""
    return data.StructLayout({"sums": data.ArrayLayout(acc_shape, lanes), **({"open": lanes} if gated else {})})


class Accumulator(wiring.Component):
    """Adds the weight row of each event to ``lanes`` sums.

    The events of a group come from one gather after the other, in the layer's order; the sums are complete with the last
    one's tail, and start from 0 again. Pipeline: cycle 0 addresses the weight memories, 1 registers their words, 2 adds.
    The sums double at the head of a bit plane, so n-bit codes come first. They cannot overflow: their range is proved from
    the codes, for every order of events.
    Throughput: ``lanes`` synaptic operations a cycle, with no gap between groups. Back-pressure: everything stands still
    while finished sums are refused.

    Parameters
    ----------
    plan : EnginePlan
    net : NetworkSpec
    events : list of layouts, of each gather's events
    lanes : int
    acc_shape : Shape of a sum
    load : None, or LoadPort of a core whose memories are loadable

    Members
    -------
    i0, i1, ... : In(stream of events), one per gather
    o : Out(stream of sums_shape)
    """
    def __init__(self, plan, net, events, lanes, acc_shape, load=None):
        self.plan, self.net, self.lanes, self.load = plan, net, lanes, load
        self.gated = any("gate" in dict(event) for event in events)
        super().__init__({**{f"i{g}": In(stream.Signature(event)) for g, event in enumerate(events)},
                          "o": Out(stream.Signature(sums_shape(acc_shape, lanes, self.gated)))})

    def _memory_of(self, layer, number):
        """Which weight memory holds a projection."""
        name = self.net.layers[layer].name
        return next(n for n, memory in enumerate(self.plan.weights)
                    if any((s.layer, s.number) == (name, number) for s in memory.segments))

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        go = Signal()
        m.d.comb += go.eq(~self.o.valid | self.o.ready)

        # Cycle 0: the event whose turn it is. A turn is one projection of one layer.
        turns = [(n, g, self._memory_of(k, number), g == order[-1][0]) for n, (k, order) in enumerate(zip(plan.layers, plan.order))
                 for g, number in order]
        starts = [next(t for t, turn in enumerate(turns) if turn[0] == n) for n in range(len(plan.layers))]
        turn = Signal(range(max(len(turns), 2))) if len(turns) > 1 else 0
        sources = [getattr(self, f"i{g}") for g in range(len(plan.gathers))]
        chosen = [sources[g] for _, g, _, _ in turns]

        def of_turn(value):
            return pick(m, turn, [value(source) for source in chosen])

        # Of a channel-wise memory: which lane an event adds to, the low bits of its row number.
        pitch = max(memory.pitch for memory in plan.weights)
        flags = data.StructLayout({"valid": 1, "hit": 1, "double": 1, "tail": 1, "negative": 1, "lane": (pitch - 1).bit_length(),
                                   "memory": range(max(len(plan.weights), 2)), "open": self.lanes if self.gated else 0})
        e0, e1, e2 = (Signal(flags, name=f"e{k}") for k in range(3))
        last = pick(m, turn, [int(end) for _, _, _, end in turns])
        negates = [g for g, source in enumerate(sources) if "negative" in dict(source.payload.shape())]
        m.d.comb += [e0.valid.eq(of_turn(lambda s: s.valid)), e0.hit.eq(of_turn(lambda s: s.p.hit)),
                     e0.double.eq(of_turn(lambda s: s.p.double)), e0.tail.eq(of_turn(lambda s: s.p.tail) & last),
                     e0.negative.eq(pick(m, turn, [s.p.negative if g in negates else 0 for s, (_, g, _, _) in zip(chosen, turns)])),
                     e0.memory.eq(pick(m, turn, [memory for _, _, memory, _ in turns]))]
        row = of_turn(lambda s: s.p.row)
        if pitch > 1:
            m.d.comb += e0.lane.eq(row)
        if self.gated:
            everywhere = (1 << self.lanes) - 1
            m.d.comb += e0.open.eq(pick(m, turn, [s.p.gate if "gate" in dict(s.payload.shape()) else everywhere for s in chosen]))
        for g, source in enumerate(sources):
            mine = [t for t, (_, owner, _, _) in enumerate(turns) if owner == g]
            m.d.comb += source.ready.eq(go & among(turn, mine, len(turns)))
        if len(turns) > 1:
            with m.If(go & e0.valid & of_turn(lambda s: s.p.tail)):
                # The next projection of the group; after the last one the layer's first, or the next layer's.
                following = []
                for t, (n, _, _, end) in enumerate(turns):
                    if not end:
                        following.append(t + 1)
                    elif len(plan.layers) == 1:
                        following.append(starts[n])
                    else:
                        following.append(Mux(chosen[t].p.frame_end, (t + 1) % len(turns), starts[n]))
                m.d.sync += turn.eq(pick(m, turn, following))
        with m.If(go):
            m.d.sync += [e1.eq(e0), e2.eq(e1)]

        # Cycle 1 and 2: the weight words.
        codes = []
        for n, memory in enumerate(plan.weights):
            name, codec, lanes, depth = weight_memory(plan, n), memory.codec, memory.lanes, memory.rows
            address = row[memory.pitch.bit_length() - 1:] if memory.pitch > 1 else row
            init = [word for s in memory.segments
                    for word in weight_rows(self.net.by_name[s.layer].projections[s.number], lanes)]
            word = Banked(m, name, depth, lanes * codec.bits, init, go, address[:max((depth - 1).bit_length(), 1)],
                          load=self.load and (self.load, f"{plan.name}.accumulator.{name}")).row
            claim(m, "addresses are in range", address < depth, go & e0.valid & e0.hit & (e0.memory == n))
            held = Signal(lanes * codec.bits, name=f"word{n}")
            m.d.comb += held.eq(word)
            own = [decode(codec, held.word_select(lane, codec.bits)) if lane < lanes else 0 for lane in range(self.lanes)]
            if memory.pitch > 1:
                mine = e2.lane[:memory.pitch.bit_length() - 1]
                own = [Mux(mine == lane, code, 0) for lane, code in enumerate(own)]
            codes.append(own)

        # Cycle 2: add; finished sums go straight on.
        sums = self.o.p.sums
        m.d.comb += self.o.valid.eq(e2.valid & e2.tail)
        if self.gated:
            m.d.comb += self.o.p.open.eq(e2.open)
        doubles = any(p.bits > 1 for gather in plan.gathers for p in gather.passes)
        for lane in range(self.lanes):
            acc = Signal(sums[lane].shape(), name=f"acc{lane}")
            code = pick(m, e2.memory, [of_memory[lane] for of_memory in codes])
            if negates:
                code = Mux(e2.negative, -code, code)
            base = Mux(e2.double, acc.shift_left(1), acc) if doubles else acc
            total = base + Mux(e2.hit, code, 0)
            m.d.comb += sums[lane].eq(total)
            claim(m, "sums never overflow", fits(total, sums[lane].shape()), e2.valid)
            with m.If(go & e2.valid):
                m.d.sync += acc.eq(sums[lane])
            with m.If(go & e2.valid & e2.tail):
                m.d.sync += acc.eq(0)
        return m


class Drain(wiring.Component):
    """Takes the finished sums of a group at once and hands them on ``updaters`` at a time.

    The next group accumulates meanwhile. Latency: one cycle; throughput: lanes / updaters cycles a group, without
    a gap between groups.

    Parameters
    ----------
    acc_shape : Shape of a sum
    counts : list of int, the lanes that each layer uses, in turn
    groups : list of int, the groups of a time step in each layer
    updaters : int
    gated : bool

    Members
    -------
    i : In(stream of sums_shape, all lanes)
    o : Out(stream of sums_shape, ``updaters`` lanes), lowest lanes first
    """
    def __init__(self, acc_shape, counts, groups, updaters, gated):
        self.counts, self.groups, self.updaters, self.gated = counts, groups, updaters, gated
        super().__init__({"i": In(stream.Signature(sums_shape(acc_shape, max(counts), gated))),
                          "o": Out(stream.Signature(sums_shape(acc_shape, updaters, gated)))})

    def elaborate(self, platform):
        m = Module()
        held, busy = Signal(self.i.payload.shape()), Signal()
        # Which layer the group is of matters only where layers use different numbers of lanes.
        several = len(set(self.counts)) > 1
        layer = Counter(m, "at_layer", len(self.counts) if several else 1)
        group = Counter(m, "at_group", self.groups if several else 1, layer.at)
        at = Counter(m, "at", [count // self.updaters for count in self.counts], layer.at)
        last = Signal()
        m.d.comb += [last.eq(at.last), self.o.valid.eq(busy), self.i.ready.eq(~busy | (self.o.ready & last))]
        # The lowest sums leave; the others move down.
        fields = [(Value.cast(held[name]), Value.cast(self.o.p[name])) for name, _ in self.o.payload.shape()]
        m.d.comb += [out.eq(whole) for whole, out in fields]
        with m.If(busy & self.o.ready):
            m.d.sync += [*at.step, *(whole.eq(whole >> len(out)) for whole, out in fields)]
            with m.If(last):
                m.d.sync += [busy.eq(0), *group.step]
                if several:
                    with m.If(group.last):
                        m.d.sync += layer.step
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload), busy.eq(1)]
        return m
