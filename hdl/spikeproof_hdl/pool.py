"""Maximum pooling of spikes: the OR of a window, on the way from one layer to the next."""
from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .gather import Counter, FrameWord

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """ORs ``pool`` x ``pool`` pixels into one, word by word, with one line of pooled words in memory.

    Throughput: one word a cycle. Latency: one cycle after a window's last pixel. Back-pressure: a finished word waits,
    and stops what follows.

    Parameters
    ----------
    source_shape : (height, width, channels); ``pool`` divides height and width
    word : int, channels of one word
    pool : int

    Members
    -------
    i : In(stream of FrameWord, one bit a spike), pixels in row-major order
    o : Out(stream of FrameWord, one bit a spike), pooled pixels in row-major order
    """
    def __init__(self, source_shape, word, pool):
        self.source_shape, self.word, self.pool = source_shape, word, pool
        super().__init__({"i": In(stream.Signature(FrameWord(word, 1))), "o": Out(stream.Signature(FrameWord(word, 1)))})

    def elaborate(self, platform):
        m = Module()
        _, width, channels = self.source_shape
        words, columns = -(-channels // self.word), width // self.pool
        word, x, y = Counter("at_word", words), Counter("at_x", self.pool), Counter("at_y", self.pool)
        column = Counter("at_column", columns)
        m.submodules.line = line = memory.Memory(shape=unsigned(self.word), depth=columns * words, init=[])
        read, write = line.read_port(domain="comb"), line.write_port()

        # The word's place in the line; it is walked again for every pixel of the window.
        at, pixel = Signal(range(max(columns * words, 2))), Signal(range(max(columns * words, 2)))
        accept, pooled, fresh = Signal(), Signal(self.word), Signal()
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), accept.eq(self.i.valid & self.i.ready),
                     fresh.eq((x.at == 0) & (y.at == 0)), read.addr.eq(at), write.addr.eq(at), write.en.eq(accept),
                     pooled.eq(Mux(fresh, 0, read.data) | self.i.payload.as_value()), write.data.eq(pooled)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(accept):
            m.d.sync += [self.o.valid.eq(x.last & y.last), self.o.payload.eq(pooled), *word.up, at.eq(at + 1)]
            with m.If(word.last):
                m.d.sync += [*word.clear, *x.up, at.eq(pixel)]
                with m.If(x.last):
                    m.d.sync += [*x.clear, *column.up, at.eq(pixel + words), pixel.eq(pixel + words)]
                    with m.If(column.last):
                        m.d.sync += [*column.clear, *y.up, at.eq(0), pixel.eq(0)]
                        with m.If(y.last):
                            m.d.sync += y.clear
        return m
