"""From neurons to the frame memories of whoever reads them."""
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .parts import map_word, pick
from .updates import engine_update

__all__ = ["Fork", "Pack", "target_word"]


def target_word(target):
    """Layout of the words that a Target takes."""
    return map_word(target.store.width, len(target.store.regions))


class Pack(wiring.Component):
    """Collects the updates of a group of lanes into the words that other layers read: spikes, and membranes where read.

    Latency: one cycle. Back-pressure: an unfinished word goes on filling; a finished one waits.

    Parameters
    ----------
    layers : list of LayerSpec
    lanes : list of int
    updaters : int
    membranes : set of int, bits of the membrane codes that are read, one word each

    Members
    -------
    i : In(stream of engine_update)
    o : Out(stream of words): ``spikes``, ``membranes<bits>``, and the ``layer`` that they are of
    """
    def __init__(self, layers, lanes, updaters, membranes):
        self.lanes, self.updaters, self.membranes = lanes, updaters, sorted(membranes)
        most = max(lanes)
        super().__init__({"i": In(stream.Signature(engine_update(layers, updaters))),
                          "o": Out(stream.Signature(data.StructLayout({
                              "spikes": most, **{f"membranes{bits}": bits * most for bits in self.membranes},
                              "layer": range(max(len(layers), 2))})))})

    def elaborate(self, platform):
        m = Module()
        most, units = max(self.lanes), self.updaters
        layer = Signal(self.i.p.layer.shape())
        accept = Signal()
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), accept.eq(self.i.valid & self.i.ready),
                     self.o.p.layer.eq(layer)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(accept):
            m.d.sync += [self.o.valid.eq(self.i.p.group_end), layer.eq(self.i.p.layer)]
        select = layer if len(self.lanes) > 1 else 0
        fields = [("spikes", 1, self.i.p.spikes)]
        fields += [(f"membranes{bits}", bits, Cat(self.i.p.membranes[k][:bits] for k in range(units))) for bits in self.membranes]
        for name, bits, new in fields:
            word = Signal(most * bits, name=f"word_{name}")
            with m.If(accept):
                m.d.sync += word.eq(Cat(word, new)[units * bits:])
            # A layer of fewer lanes shifts in less often: its word lies at the top.
            m.d.comb += self.o.p[name].eq(pick(m, select, [word[(most - count) * bits:] if count < most else word
                                                        for count in self.lanes]))
        return m


class Fork(wiring.Component):
    """Hands every word to the readers that want it; each takes it when it can, none twice.

    Latency: none. Back-pressure: the next word comes when the slowest reader has this one.

    Parameters
    ----------
    payload : layout of the words: ``spikes``, ``membranes<bits>``, ``layer``
    targets : list of Target

    Members
    -------
    i : In(stream of payload)
    o0, o1, ... : Out(stream of map_word), one per target
    """
    def __init__(self, payload, targets):
        self.targets = targets
        super().__init__({"i": In(stream.Signature(payload)),
                          **{f"o{k}": Out(stream.Signature(target_word(target))) for k, target in enumerate(targets)}})

    def elaborate(self, platform):
        m = Module()
        count = len(self.targets)
        taken, done = Signal(count), Signal(count)
        layers = max(n for target in self.targets for n in target.regions) + 1
        for k, target in enumerate(self.targets):
            out = getattr(self, f"o{k}")
            wanted, kept = Signal(name=f"wanted{k}"), target.store.regions[0]
            field = "spikes" if kept.reads == "spikes" else f"membranes{kept.bits}"
            everyone = all(set(other.regions) == set(target.regions) for other in self.targets)
            m.d.comb += [wanted.eq(1 if everyone else Value.cast(self.i.p.layer).matches(*target.regions)),
                         out.p.codes.eq(self.i.p[field]), out.valid.eq(self.i.valid & wanted & ~taken[k]),
                         done[k].eq(taken[k] | out.ready | ~wanted)]
            if len(target.store.regions) > 1:
                m.d.comb += out.p.region.eq(pick(m, self.i.p.layer, [target.regions.get(n, 0) for n in range(layers)]))
        m.d.comb += self.i.ready.eq(done.all())
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(done.all(), 0, done))
        return m
