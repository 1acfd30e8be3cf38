"""From words of spikes to one synaptic event a cycle."""
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .gather import Token

__all__ = ["Event", "Scanner"]


class Event(data.StructLayout):
    """One spike at one weight row. ``hit`` is 0 for a word without spikes, which only carries flags.

    ``head``: first event of a group (the sums start from 0); ``double``: first event of a bit plane after the
    highest (the sums double); ``tail``: last event of a group (the sums are complete).
    """
    def __init__(self, rows):
        super().__init__({"row": range(max(rows, 2)), "hit": 1, "head": 1, "double": 1, "tail": 1})


class Scanner(wiring.Component):
    """Takes the spikes of a word lowest first, one a cycle; a word without spikes takes one cycle.

    Throughput: an event a cycle, with no gap between words. Latency: two cycles. Back-pressure: a refused event
    stays as it is.

    Parameters
    ----------
    word : int, spikes of one token
    rows : int, weight rows

    Members
    -------
    i : In(stream of Token)
    o : Out(stream of Event)
    """
    def __init__(self, word, rows):
        self.word, self.rows = word, rows
        super().__init__({"i": In(stream.Signature(Token(word, rows))), "o": Out(stream.Signature(Event(rows)))})

    def elaborate(self, platform):
        m = Module()
        token, have = Signal(self.i.payload.shape()), Signal()
        head, double = Signal(init=1), Signal()
        rest, bit = Signal(self.word), Signal(range(max(self.word, 2)))
        done, advance = Signal(), Signal()

        # The lowest spike and what is left without it.
        m.d.comb += [rest.eq(token.spikes & (token.spikes - 1)), done.eq(rest == 0),
                     advance.eq(~self.o.valid | self.o.ready)]
        for k in reversed(range(self.word)):
            with m.If(token.spikes[k]):
                m.d.comb += bit.eq(k)

        # Emit it.
        with m.If(advance):
            m.d.sync += self.o.valid.eq(have)
            with m.If(have):
                m.d.sync += [self.o.p.row.eq(token.row + bit), self.o.p.hit.eq(token.spikes != 0),
                             self.o.p.head.eq(head), self.o.p.double.eq(double), self.o.p.tail.eq(token.end & done),
                             token.spikes.eq(rest), head.eq(token.end & done),
                             double.eq(token.plane_end & ~token.end & done)]

        # Take the next word as the last spike of this one leaves.
        m.d.comb += self.i.ready.eq(~have | (advance & done))
        with m.If(self.i.ready):
            m.d.sync += have.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += token.eq(self.i.payload)
        return m
