"""Maximum pooling: the largest code of a window, on the way from one layer to the next."""
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .parts import Counter, map_word, pick

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """Makes ``pool`` x ``pool`` pixels one, the largest of each code (of spikes: their OR); one line of pooled words is in memory.

    Throughput: one word a cycle. Latency: one cycle after a window's last pixel. Back-pressure: a finished word waits,
    and stops what follows.

    Parameters
    ----------
    regions : tuple of Region; those with a pool of 1 pass as they are
    width : int, bits of a word

    Members
    -------
    i : In(stream of map_word), pixels in row-major order, a whole frame of a region at a time
    o : Out(stream of map_word), pooled pixels in row-major order
    """
    def __init__(self, regions, width):
        self.regions, self.width = regions, width
        payload = map_word(width, len(regions))
        super().__init__({"i": In(stream.Signature(payload)), "o": Out(stream.Signature(payload))})

    def elaborate(self, platform):
        m = Module()
        regions = self.regions
        select = self.i.p.region if len(regions) > 1 else None
        words = [-(-region.arrives[2] // region.word) for region in regions]
        columns = [region.arrives[1] // region.pool for region in regions]
        word, column = Counter(m, "at_word", words, select), Counter(m, "at_column", columns, select)
        pools = [region.pool for region in regions]
        x, y = Counter(m, "at_x", pools, select), Counter(m, "at_y", pools, select)
        depth = max(n * w for n, w in zip(columns, words))
        m.submodules.line = line = memory.Memory(shape=unsigned(self.width), depth=depth, init=[])
        read, write = line.read_port(domain="comb"), line.write_port()

        # The word's place in the line; it is walked again for every pixel of the window.
        at, pixel = Signal(range(max(depth, 2))), Signal(range(max(depth, 2)))
        accept, pooled, fresh = Signal(), Signal(self.width), Signal()
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), accept.eq(self.i.valid & self.i.ready),
                     fresh.eq((x.at == 0) & (y.at == 0)), read.addr.eq(at), write.addr.eq(at), write.en.eq(accept),
                     write.data.eq(pooled)]
        bits, new = regions[0].bits, self.i.p.codes                          # regions of one memory have codes of one width
        if bits == 1:
            m.d.comb += pooled.eq(Mux(fresh, 0, read.data) | new)
        else:
            # A signed code with its sign flipped is in the order of unsigned ones.
            flip = pick(m, select, [int(region.signed) << (bits - 1) for region in regions])
            largest = []
            for k in range(self.width // bits):
                code, kept = (word[k * bits:(k + 1) * bits] for word in (new, read.data))
                largest.append(Mux(fresh | ((code ^ flip) > (kept ^ flip)), code, kept))
            m.d.comb += pooled.eq(Cat(largest))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(accept):
            m.d.sync += [self.o.valid.eq(x.last & y.last), self.o.payload.eq(self.i.payload), self.o.p.codes.eq(pooled),
                         *word.step, at.eq(at + 1)]
            with m.If(word.last):
                m.d.sync += [*x.step, at.eq(pixel)]
                with m.If(x.last):
                    m.d.sync += [*column.step, at.eq(pixel + pick(m, select, words)), pixel.eq(pixel + pick(m, select, words))]
                    with m.If(column.last):
                        m.d.sync += [*y.step, at.eq(0), pixel.eq(0)]
        return m
