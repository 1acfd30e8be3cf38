"""Which class wins."""
from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .codecs import span

__all__ = ["Readout"]


class Readout(wiring.Component):
    """Compares the classes of one image as the last layer's updates of the last step come by.

    Spike counts are kept in a memory of one word per class; a membrane readout compares the stored codes and
    keeps nothing. Only a larger score replaces the best, so a tie goes to the lowest index.
    Latency: one cycle after the last update. Back-pressure: a refused result stops the updates.

    Parameters
    ----------
    net : NetworkSpec
    update : layout of the updates, one neuron each (:func:`spikeproof_hdl.updates.engine_update`)

    Members
    -------
    i : In(stream of update), those of the last layer
    o : Out(stream of the class, an unsigned index)
    """
    def __init__(self, net, update):
        self.net = net
        super().__init__({"i": In(stream.Signature(update)),
                          "o": Out(stream.Signature(range(max(net.classes, 2))))})

    def elaborate(self, platform):
        m = Module()
        net, store = self.net, self.net.layers[-1].neuron.store
        accept, last_step = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), accept.eq(self.i.valid & self.i.ready)]
        step = Signal(range(max(net.steps, 2)))
        m.d.comb += last_step.eq(step == net.steps - 1)
        with m.If(accept & self.i.p.step_end):
            m.d.sync += step.eq(Mux(last_step, 0, step + 1))

        # The score of this class so far.
        if net.readout == "membrane":
            score = Signal(span(store.lo, store.hi))
            m.d.comb += score.eq(self.i.p.membranes[0])
        else:
            m.submodules.counts = counts = memory.Memory(shape=unsigned(bits_for(net.steps)), depth=net.classes, init=[])
            read, write = counts.read_port(domain="comb"), counts.write_port()
            score = Signal(bits_for(net.steps))
            m.d.comb += [read.addr.eq(self.i.p.index), write.addr.eq(self.i.p.index), write.en.eq(accept),
                         score.eq(Mux(step == 0, 0, read.data) + self.i.p.spikes), write.data.eq(score)]

        # The best class so far, in the last step.
        best, winner, wins = Signal(score.shape()), Signal(self.o.payload.shape()), Signal()
        m.d.comb += wins.eq((self.i.p.index == 0) | (score > best))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(accept & last_step):
            with m.If(wins):
                m.d.sync += [best.eq(score), winner.eq(self.i.p.index)]
            m.d.sync += [self.o.valid.eq(self.i.p.step_end), self.o.payload.eq(Mux(wins, self.i.p.index, winner))]
        return m
