"""The core: layers joined by streams, then the readout."""
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.network import INPUT

from .gather import FrameWord
from .layer import Fork, Layer, Pack
from .neuron import Update
from .plan import CorePlan
from .readout import Readout

__all__ = ["Core"]


class Core(wiring.Component):
    """A spiking neural network in hardware, computing exactly what its NetworkSpec says.

    Each layer works on its own time step; streams of spike words join them. Silent inputs cost no synaptic
    cycle. Images follow each other without a gap: nothing needs clearing between them.

    Parameters
    ----------
    plan : CorePlan

    Members
    -------
    i : In(stream of FrameWord), pixels in row-major order, ceil(channels / word) words each; one frame an image
        for a constant input, else one frame a step
    o : Out(stream of the class), one an image
    trace_<layer>_valid, trace_<layer>_payload : Out, every update as it is handed on; for observation, not
        synthesised where unconnected
    """
    def __init__(self, plan):
        if not isinstance(plan, CorePlan):
            raise TypeError(f"plan must be a CorePlan, not {plan!r}")
        self.plan, net = plan, plan.net
        traces = {}
        for layer, part in zip(net.layers, plan.layers):
            traces[f"trace_{layer.name}_valid"] = Out(1)
            traces[f"trace_{layer.name}_payload"] = Out(Update(layer, part.updaters))
        super().__init__({"i": In(stream.Signature(FrameWord(plan.word, net.input.bits))),
                          "o": Out(stream.Signature(range(max(net.classes, 2)))), **traces})

    def elaborate(self, platform):
        m = Module()
        net = self.plan.net
        layers = [Layer(self.plan, k) for k in range(len(net.layers))]
        sources = {INPUT: wiring.flipped(self.i)}
        for layer, part, hardware in zip(net.layers, self.plan.layers, layers):
            m.submodules[layer.name] = hardware
            m.d.comb += [getattr(self, f"trace_{layer.name}_valid").eq(hardware.o.valid & hardware.o.ready),
                         getattr(self, f"trace_{layer.name}_payload").eq(hardware.o.payload)]
            if layer is net.layers[-1]:
                m.submodules.readout = readout = Readout(net)
                wiring.connect(m, hardware.o, readout.i)
                wiring.connect(m, readout.o, wiring.flipped(self.o))
            else:
                m.submodules[f"{layer.name}_pack"] = pack = Pack(layer, part.lanes, part.updaters)
                wiring.connect(m, hardware.o, pack.i)
                sources[layer.name] = pack.o
        # Join every source to its readers.
        for name, source in sources.items():
            readers = [getattr(hardware, f"i{k}") for layer, hardware in zip(net.layers, layers)
                       for k, projection in enumerate(layer.projections) if projection.source == name]
            if len(readers) == 1:
                wiring.connect(m, source, readers[0])
            elif readers:
                m.submodules[f"{name}_fork"] = fork = Fork(source.payload.shape(), len(readers))
                wiring.connect(m, source, fork.i)
                for k, reader in enumerate(readers):
                    wiring.connect(m, getattr(fork, f"o{k}"), reader)
        return m


def ports(core):
    """The core's top-level ports as Amaranth's back ends take them: {name: (value, direction)}.

    Names have single underscores (``i_payload``), which every tool leaves alone.
    """
    from amaranth.hdl import Value
    from amaranth.hdl._ir import PortDirection
    return {"_".join(map(str, path)): (Value.cast(value), PortDirection.Input if member.flow == In else PortDirection.Output)
            for path, member, value in core.signature.flatten(core)}
