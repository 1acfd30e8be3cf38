"""One layer: gather, scan, accumulate, update, pack. Dense and convolution are the same datapath."""
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .codecs import decode
from .gather import Counter, FrameWord, Gather
from .neuron import NeuronUpdate, Update
from .plan import walk_geometry
from .scan import Event, Scanner

__all__ = ["Accumulator", "Drain", "Layer", "Pack"]


class Accumulator(wiring.Component):
    """Adds the weight row of each event to ``lanes`` sums.

    Pipeline: cycle 0 addresses the weight memory, 1 takes its word, 2 adds. The sums double at the head of a bit
    plane. They cannot overflow: their range is proved from the codes, for every order of events.
    Throughput: ``lanes`` synaptic operations a cycle. Back-pressure: everything stands still while a finished
    group is refused.

    Parameters
    ----------
    projection : Projection
    lanes : int
    rows : int, weight rows
    acc_shape : Shape of a sum

    Members
    -------
    i : In(stream of Event)
    o : Out(stream of ``lanes`` sums)
    """
    def __init__(self, projection, lanes, rows, acc_shape):
        self.projection, self.lanes, self.rows = projection, lanes, rows
        super().__init__({"i": In(stream.Signature(Event(rows))),
                          "o": Out(stream.Signature(data.ArrayLayout(acc_shape, lanes)))})

    def elaborate(self, platform):
        m = Module()
        codec = self.projection.codec
        m.submodules.weights = weights = memory.Memory(
            shape=unsigned(self.lanes * codec.bits), depth=self.rows, init=weight_rows(self.projection, self.lanes))
        read = weights.read_port()
        go, finished = Signal(), Signal()
        m.d.comb += [self.o.valid.eq(finished), go.eq(~finished | self.o.ready), self.i.ready.eq(go),
                     read.addr.eq(self.i.p.row), read.en.eq(go)]
        e1, e2 = Signal(self.i.payload.shape()), Signal(self.i.payload.shape())
        v1, v2 = Signal(), Signal()
        word = Signal(self.lanes * codec.bits)
        with m.If(go):
            m.d.sync += [e1.eq(self.i.payload), v1.eq(self.i.valid),
                         e2.eq(e1), v2.eq(v1), word.eq(read.data), finished.eq(v2 & e2.tail)]
        for k in range(self.lanes):
            acc = self.o.payload[k]
            base = Mux(e2.head, 0, Mux(e2.double, acc.shift_left(1), acc))
            code = decode(codec, word.word_select(k, codec.bits))
            with m.If(go & v2):
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


class Layer(wiring.Component):
    """One layer of the network, up to the updates of its neurons.

    Parameters
    ----------
    net : NetworkSpec
    layer : LayerSpec, of ``net``
    plan : LayerPlan

    Members
    -------
    i : In(stream of FrameWord), the source map
    o : Out(stream of Update)
    """
    def __init__(self, net, layer, plan):
        self.net, self.layer, self.plan = net, layer, plan
        projection, source_shape = walk_geometry(layer.projections[0], net.source_shape(layer.projections[0]))
        from_input = projection.source == "input"
        bits = net.input.bits if from_input else 1
        repeat = net.steps if from_input and net.input.constant else 1
        self.gather = Gather(projection, source_shape, plan.word, bits, plan.lanes, repeat)
        self.scanner = Scanner(plan.word, self.gather.rows)
        self.neurons = NeuronUpdate(layer, net.acc_range(layer), net.steps, plan.lanes, plan.updaters)
        acc_shape = self.neurons.acc_shape
        self.accumulator = Accumulator(projection, plan.lanes, self.gather.rows, acc_shape)
        self.drain = Drain(acc_shape, plan.lanes, plan.updaters)
        super().__init__({"i": In(stream.Signature(FrameWord(plan.word, bits))),
                          "o": Out(stream.Signature(Update(layer, plan.updaters)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gather, m.submodules.scanner = self.gather, self.scanner
        m.submodules.accumulator, m.submodules.drain, m.submodules.neurons = self.accumulator, self.drain, self.neurons
        wiring.connect(m, wiring.flipped(self.i), self.gather.i)
        wiring.connect(m, self.gather.o, self.scanner.i)
        wiring.connect(m, self.scanner.o, self.accumulator.i)
        wiring.connect(m, self.accumulator.o, self.drain.i)
        wiring.connect(m, self.drain.o, self.neurons.i)
        wiring.connect(m, self.neurons.o, wiring.flipped(self.o))
        return m
