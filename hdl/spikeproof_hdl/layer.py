"""One layer: gather, scan, accumulate, update, pack. Dense and convolution are the same datapath."""
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .codecs import decode
from .gather import Counter, FrameWord, Gather
from .neuron import NeuronUpdate, Update
from .plan import pools_before
from .pool import MaxPool
from .scan import Event, Scanner

__all__ = ["Accumulator", "Drain", "Fork", "Layer", "Pack"]


class Accumulator(wiring.Component):
    """Adds the weight row of each event to ``lanes`` sums.

    A layer with several sources takes the events of a group from one after the other: the sums start with the first
    source's head and are complete with the last one's tail. Pipeline: cycle 0 addresses the weight memory, 1 takes its
    word, 2 adds. The sums double at the head of a bit plane, so an n-bit source comes first. They cannot overflow:
    their range is proved from the codes, for every order of events.
    Throughput: ``lanes`` synaptic operations a cycle. Back-pressure: everything stands still while a finished
    group is refused.

    Parameters
    ----------
    projections : list of Projection, in the order in which they accumulate
    names : list of str, of their weight memories
    rows : list of int, of their weight memories
    lanes : int
    acc_shape : Shape of a sum

    Members
    -------
    i0, i1, ... : In(stream of Event), one per projection
    o : Out(stream of ``lanes`` sums)
    """
    def __init__(self, projections, names, rows, lanes, acc_shape):
        self.projections, self.names, self.rows, self.lanes = projections, names, rows, lanes
        super().__init__({**{f"i{k}": In(stream.Signature(Event(rows))) for k, rows in enumerate(self.rows)},
                          "o": Out(stream.Signature(data.ArrayLayout(acc_shape, lanes)))})

    def elaborate(self, platform):
        m = Module()
        go, finished = Signal(), Signal()
        m.d.comb += [self.o.valid.eq(finished), go.eq(~finished | self.o.ready)]

        # Cycle 0: the event of the source whose turn it is.
        turn = Counter("turn", len(self.projections))
        flags = data.StructLayout({"valid": 1, "hit": 1, "head": 1, "double": 1, "tail": 1,
                                   "source": range(max(len(self.rows), 2))})
        e0, e1, e2 = (Signal(flags, name=f"e{k}") for k in range(3))
        words = []
        for k, (projection, rows) in enumerate(zip(self.projections, self.rows)):
            source, bits = getattr(self, f"i{k}"), self.lanes * projection.codec.bits
            m.submodules[self.names[k]] = weights = memory.Memory(
                shape=unsigned(bits), depth=rows, init=weight_rows(projection, self.lanes))
            read = weights.read_port()
            m.d.comb += [read.addr.eq(source.p.row), read.en.eq(go)]
            with m.If(turn.at == k):
                m.d.comb += [source.ready.eq(go), e0.valid.eq(source.valid), e0.hit.eq(source.p.hit),
                             e0.head.eq(source.p.head & (k == 0)), e0.double.eq(source.p.double), e0.source.eq(k),
                             e0.tail.eq(source.p.tail & (k == len(self.rows) - 1))]
                with m.If(go & source.valid & source.p.tail):
                    m.d.sync += turn.clear if k == len(self.rows) - 1 else turn.up
            # Cycle 1: its weight word.
            word = Signal(bits, name=f"word{k}")
            words.append(word)
            with m.If(go):
                m.d.sync += word.eq(read.data)
        with m.If(go):
            m.d.sync += [e1.eq(e0), e2.eq(e1), finished.eq(e2.valid & e2.tail)]

        # Cycle 2: add.
        for lane in range(self.lanes):
            acc = self.o.payload[lane]
            base = Mux(e2.head, 0, Mux(e2.double, acc.shift_left(1), acc))
            codes = [decode(p.codec, w.word_select(lane, p.codec.bits)) for p, w in zip(self.projections, words)]
            code = codes[-1]
            for k in reversed(range(len(codes) - 1)):
                code = Mux(e2.source == k, codes[k], code)
            with m.If(go & e2.valid):
                m.d.sync += acc.eq(base + Mux(e2.hit, code, 0))
        return m


def weight_rows(projection, lanes):
    """The weight memory: row (group, kernel y, kernel x, input channel), lane 0 in the low bits.

    Returns
    -------
    list of int, each ``lanes * codec.bits`` wide
    """
    words = projection.codec.pack(projection.weights).reshape(-1, projection.out_channels // lanes, lanes)
    bits, rows = projection.codec.bits, []
    for group in words.transpose(1, 0, 2).tolist():
        for lanes_of_row in group:
            row = 0
            for k, word in enumerate(lanes_of_row):
                row |= word << (k * bits)
            rows.append(row)
    return rows


class Drain(wiring.Component):
    """Takes ``lanes`` finished sums at once and hands them on ``updaters`` at a time.

    The next group accumulates meanwhile. Latency: one cycle; throughput: lanes / updaters cycles a group, without
    a gap between groups.

    Members
    -------
    i : In(stream of ``lanes`` sums)
    o : Out(stream of ``updaters`` sums), lowest lanes first
    """
    def __init__(self, acc_shape, lanes, updaters):
        self.acc_shape, self.lanes, self.updaters = acc_shape, lanes, updaters
        super().__init__({"i": In(stream.Signature(data.ArrayLayout(acc_shape, lanes))),
                          "o": Out(stream.Signature(data.ArrayLayout(acc_shape, updaters)))})

    def elaborate(self, platform):
        m = Module()
        width = self.updaters * self.acc_shape.width
        held, busy = Signal(self.lanes * self.acc_shape.width), Signal()
        at = Counter("at", self.lanes // self.updaters)
        m.d.comb += [self.o.valid.eq(busy), self.o.payload.eq(held[:width]),
                     self.i.ready.eq(~busy | (self.o.ready & at.last))]
        with m.If(busy & self.o.ready):
            m.d.sync += [held.eq(held >> width), *at.up]
            with m.If(at.last):
                m.d.sync += [*at.clear, busy.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload), busy.eq(1)]
        return m


class Pack(wiring.Component):
    """Collects the spikes of ``lanes`` neurons into the word that the next layer reads.

    Latency: one cycle. Back-pressure: an unfinished word goes on filling; a finished one waits.

    Members
    -------
    i : In(stream of Update)
    o : Out(stream of FrameWord, one bit a spike)
    """
    def __init__(self, layer, lanes, updaters):
        self.lanes, self.updaters = lanes, updaters
        super().__init__({"i": In(stream.Signature(Update(layer, updaters))),
                          "o": Out(stream.Signature(FrameWord(lanes, 1)))})

    def elaborate(self, platform):
        m = Module()
        word = Signal(self.lanes)
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), self.o.payload.eq(word)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(Cat(word, self.i.p.spikes)[self.updaters:]), self.o.valid.eq(self.i.p.group_end)]
        return m


class Fork(wiring.Component):
    """Hands every word of a stream to several readers; each takes it when it can, none twice.

    Latency: none. Back-pressure: the next word comes when the slowest reader has this one.

    Members
    -------
    i : In(stream of FrameWord)
    o0, o1, ... : Out(stream of FrameWord)
    """
    def __init__(self, shape, count):
        self.count = count
        super().__init__({"i": In(stream.Signature(shape)), **{f"o{k}": Out(stream.Signature(shape)) for k in range(count)}})

    def elaborate(self, platform):
        m = Module()
        taken, done = Signal(self.count), Signal(self.count)
        for k in range(self.count):
            out = getattr(self, f"o{k}")
            m.d.comb += [out.payload.eq(self.i.payload), out.valid.eq(self.i.valid & ~taken[k]),
                         done[k].eq(taken[k] | out.ready)]
        m.d.comb += self.i.ready.eq(done.all())
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(done.all(), 0, done))
        return m


class Layer(wiring.Component):
    """One layer of the network, up to the updates of its neurons.

    Parameters
    ----------
    plan : CorePlan
    index : int, of the layer in the network

    Members
    -------
    i0, i1, ... : In(stream of FrameWord), the source map of each projection
    o : Out(stream of Update)
    """
    def __init__(self, plan, index):
        net, layer, part = plan.net, plan.net.layers[index], plan.layers[index]
        self.plan, self.layer = plan, layer
        self.neurons = NeuronUpdate(layer, net.acc_range(layer), net.steps, part.lanes, part.updaters)
        acc_shape = self.neurons.acc_shape
        # One pipe per projection; the one that doubles the sums comes first.
        self.order = sorted(range(len(layer.projections)), key=lambda k: -plan.source_bits(layer.projections[k]))
        self.pipes = []
        inputs, walked = {}, []
        for k in self.order:
            whole, word = layer.projections[k], plan.source_word(layer.projections[k])
            projection, source_shape = plan.walk(whole)
            bits, from_input = plan.source_bits(whole), whole.source == "input"
            repeat = net.steps if from_input and net.input.constant else 1
            pool = MaxPool(net.source_shape(whole), word, whole.pool) if pools_before(whole) else None
            gather = Gather(projection, source_shape, word, bits, part.lanes, repeat)
            self.pipes.append((k, pool, gather, Scanner(word, gather.rows)))
            inputs[f"i{k}"] = In(stream.Signature(FrameWord(word, bits)))
            walked.append(projection)
        alone = len(self.order) == 1
        names = ["weights" if alone else f"weights{k}" for k in self.order]
        rows = [gather.rows for _, _, gather, _ in self.pipes]
        self.accumulator = Accumulator(walked, names, rows, part.lanes, acc_shape)
        self.drain = Drain(acc_shape, part.lanes, part.updaters)
        super().__init__({**inputs, "o": Out(stream.Signature(Update(layer, part.updaters)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.accumulator, m.submodules.drain, m.submodules.neurons = self.accumulator, self.drain, self.neurons
        for n, (k, pool, gather, scanner) in enumerate(self.pipes):
            suffix = "" if len(self.pipes) == 1 else str(k)
            m.submodules[f"gather{suffix}"], m.submodules[f"scanner{suffix}"] = gather, scanner
            source = wiring.flipped(getattr(self, f"i{k}"))
            if pool is not None:
                m.submodules[f"pool{suffix}"] = pool
                wiring.connect(m, source, pool.i)
                source = pool.o
            wiring.connect(m, source, gather.i)
            wiring.connect(m, gather.o, scanner.i)
            wiring.connect(m, scanner.o, getattr(self.accumulator, f"i{n}"))
        wiring.connect(m, self.accumulator.o, self.drain.i)
        wiring.connect(m, self.drain.o, self.neurons.i)
        wiring.connect(m, self.neurons.o, wiring.flipped(self.o))
        return m
