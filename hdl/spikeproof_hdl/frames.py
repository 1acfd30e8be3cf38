"""The frame memory: maps on their way from one layer to the next."""
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .parts import Counter, claim, map_word, pick

__all__ = ["Frames"]


class Frames(wiring.Component):
    """Keeps frames of one or more maps, and hands out whole rows of them.

    A store of one region has several banks: one fills while another is walked. A store of several regions has one bank
    each: an engine's own layers fill and walk them in turn. A row is ``fetch`` words of the stream side by side; each has a
    memory of its own, so that words are written as they come.

    Throughput: a word in and a row out each cycle. Back-pressure: ``i`` waits while the region's next bank is full.

    Parameters
    ----------
    store : Store
    asynchronous : bool, whether a row is there in the cycle of its address (small memories)

    Members
    -------
    i : In(stream of map_word), pixels in row-major order, a whole frame of a region at a time
    en, address : In, of the row to read
    row : Out, the words side by side, the first in the low bits
    full : Out, per region: its frame is complete
    base : Out, address of the frame's first row, for a store of one region
    release : In, per region: its frame was walked
    """
    def __init__(self, store, asynchronous=False):
        self.store, self.asynchronous = store, asynchronous
        regions = store.regions
        self.fetch, self.width, self.depth = store.fetch, store.width, store.rows
        self.bases = [sum(region.rows * region.banks for region in regions[:n]) for n in range(len(regions))]
        self.word = map_word(self.width, len(regions))
        super().__init__({"i": In(stream.Signature(self.word)),
                          "en": In(1), "address": In(range(max(self.depth, 2))), "row": Out(self.width * self.fetch),
                          "full": Out(len(regions)), "base": Out(range(max(self.depth, 2))), "release": In(len(regions))})

    def elaborate(self, platform):
        m = Module()
        regions = self.store.regions
        select = self.i.p.region if len(regions) > 1 else None
        accept = Signal()
        m.d.comb += accept.eq(self.i.valid & self.i.ready)

        # Where the next word goes: its place in a row, the row, whether it is a pixel's or a frame's last word.
        part = Counter(m, "at_part", [region.fetch for region in regions], select)
        word = Counter(m, "at_word", [region.words for region in regions], select)
        at, here, start, end = (Signal(range(max(self.depth, 2)), name=name) for name in ("at", "here", "start", "end"))
        fresh, row_end, frame_end = Signal(init=1), Signal(), Signal()
        m.d.comb += [here.eq(Mux(fresh, start, at)), row_end.eq(part.last | word.last),
                     frame_end.eq(word.last & (here == end))]
        with m.If(accept):
            m.d.sync += [*part.up, *word.step, fresh.eq(frame_end), at.eq(here + row_end)]
            with m.If(row_end):
                m.d.sync += part.clear

        if len(regions) == 1:
            self._rotate(m, accept & frame_end, start, end)
        else:
            full = Signal(len(regions))
            m.d.comb += [start.eq(pick(m, select, self.bases)), self.full.eq(full),
                         end.eq(pick(m, select, [base + region.rows - 1 for base, region in zip(self.bases, regions)])),
                         self.i.ready.eq(~full.bit_select(select, 1))]
            for n in range(len(regions)):
                with m.If(accept & frame_end & (select == n)):
                    m.d.sync += full[n].eq(1)
                with m.If(self.release[n]):
                    m.d.sync += full[n].eq(0)

        claim(m, "addresses are in range", here < self.depth, accept)
        rows = []
        for n in range(self.fetch):
            name = "frames" if self.fetch == 1 else f"frames{n}"
            m.submodules[name] = held = memory.Memory(shape=unsigned(self.width), depth=self.depth, init=[])
            write = held.write_port()
            read = held.read_port(domain="comb" if self.asynchronous else "sync")
            m.d.comb += [write.addr.eq(here), write.data.eq(self.i.p.codes), write.en.eq(accept & (part.at == n)),
                         read.addr.eq(self.address)]
            if not self.asynchronous:
                m.d.comb += read.en.eq(self.en)
            rows.append(read.data)
        m.d.comb += self.row.eq(Cat(*rows))
        return m

    def _rotate(self, m, filled, start, end):
        """One region: banks are filled, and walked, in turn."""
        region = self.store.regions[0]
        rows, banks = region.rows, region.banks
        full = Signal(banks)

        def pointer(name, advance):
            bank, base = Counter(m, f"{name}_bank", banks), Signal(range(max(self.depth, 2)), name=f"{name}_base")
            with m.If(advance):
                m.d.sync += [*bank.step, base.eq(Mux(bank.last, 0, base + rows))]
            return bank, base

        fill, fill_base = pointer("fill", filled)
        walk, walk_base = pointer("walk", self.release[0])
        m.d.comb += [start.eq(fill_base), end.eq(fill_base + (rows - 1)), self.base.eq(walk_base),
                     self.i.ready.eq(~full.bit_select(fill.at, 1)), self.full[0].eq(full.bit_select(walk.at, 1))]
        with m.If(filled):
            m.d.sync += full.bit_select(fill.at, 1).eq(1)
        with m.If(self.release[0]):
            m.d.sync += full.bit_select(walk.at, 1).eq(0)
