"""From words of spikes to one synaptic event a cycle."""
import functools
import operator

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Scanner", "event_shape"]


def event_shape(token, align=0):
    """One spike at one weight row, for a layout of tokens with rows in units of 2^align.

    ``hit`` is 0 where there is no spike, only flags.
    ``double``: first event of a bit plane after the highest (the sums double); ``tail``: last event of a group (the sums are
    complete). ``negative``, ``gate`` and ``frame_end`` as in the token, where it has them.
    """
    kept = {name: field.shape for name, field in token if name in ("negative", "gate", "frame_end")}
    return data.StructLayout({"row": Shape.cast(token["row"].shape).width + align, "hit": 1, "double": 1, "tail": 1, **kept})


class Scanner(wiring.Component):
    """Takes the spikes of a token lowest first, one a cycle; a token without spikes takes one cycle.

    Throughput: an event a cycle, with no gap between tokens. Latency: two cycles. Back-pressure: a refused event
    stays as it is.

    Parameters
    ----------
    token : layout of :func:`spikeproof_hdl.gather.token_shape`
    align : int, rows of tokens are in units of 2^align

    Members
    -------
    i : In(stream of token)
    o : Out(stream of event_shape)
    """
    def __init__(self, token, align=0):
        self.align = align
        super().__init__({"i": In(stream.Signature(token)), "o": Out(stream.Signature(event_shape(token, align)))})

    def elaborate(self, platform):
        m = Module()
        token, have = Signal(self.i.payload.shape()), Signal()
        spikes, double = token.spikes, Signal()
        rest, bit = Signal(len(spikes)), Signal(range(max(len(spikes), 2)))
        done, advance = Signal(), Signal()

        # The lowest spike, by nibbles: which nibble, which of its bits, and whether there are more.
        nibbles = [spikes[k:k + 4] for k in range(0, len(spikes), 4)]
        busy = Cat(nibble.any() for nibble in nibbles)
        first = busy & ~(busy - 1)[:len(busy)]
        low = Signal(4)
        m.d.comb += low.eq(functools.reduce(operator.or_, (Mux(first[n], nibble, 0) for n, nibble in enumerate(nibbles))))
        lowest = low & ~(low - 1)[:4]
        m.d.comb += [rest.eq(Cat(nibble & ~Mux(first[n], lowest, 0)[:len(nibble)] for n, nibble in enumerate(nibbles))),
                     done.eq(((busy & ~first) == 0) & ((low & ~lowest) == 0)), advance.eq(~self.o.valid | self.o.ready),
                     bit.eq(Cat(_encode(lowest), _encode(first)))]

        # Emit it.
        with m.If(advance):
            m.d.sync += self.o.valid.eq(have)
            with m.If(have):
                m.d.sync += [self.o.p.row.eq(Cat(bit, token.row) if self.align else token.row + bit), self.o.p.hit.eq(spikes != 0),
                             self.o.p.double.eq(double), self.o.p.tail.eq(token.end & done),
                             spikes.eq(rest), double.eq(token.plane_end & ~token.end & done)]
                kept = [name for name, _ in self.o.payload.shape() if name in ("negative", "gate")]
                m.d.sync += [self.o.p[name].eq(token[name]) for name in kept]
                if hasattr(token, "frame_end"):
                    m.d.sync += self.o.p.frame_end.eq(token.frame_end & done)

        # Take the next token as the last spike of this one leaves; its row is that of its bit 0 from here on.
        m.d.comb += self.i.ready.eq(~have | (advance & done))
        with m.If(self.i.ready):
            m.d.sync += have.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [token.eq(self.i.payload), token.row.eq(self.i.p.row + self.i.p.offset)]
        return m


def _encode(one_hot):
    """Position of the only bit that is set."""
    width = max((len(one_hot) - 1).bit_length(), 0)
    return Cat(Cat(one_hot[k] for k in range(len(one_hot)) if k >> b & 1).any() for b in range(width))
