"""The core: engines joined by streams, then the readout."""
from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeproof.projections import INPUT

from .accumulate import weight_memory
from .engine import Engine, port_name
from .load import LoadPort, LoadSignature
from .plan import CorePlan
from .readout import Readout
from .route import Fork
from .updates import Update, bias_memories, theta_memories, v_init_memories

__all__ = ["Core", "FrameWord", "loadable_memories", "ports"]


class FrameWord(data.ArrayLayout):
    """``word`` neighbouring channels of one pixel, ``bits`` each; the lowest channel in the low bits."""
    def __init__(self, word, bits):
        super().__init__(bits, word)


def loadable_memories(plan):
    """What can be written at run time, all of the model but membranes: {path in the core: bits of a word}, in order of number."""
    found = {}
    for engine in plan.engine_plans:
        layers, units = [plan.net.layers[k] for k in engine.layers], plan.layers[engine.layers[0]].updaters
        for n, memory in enumerate(engine.weights):
            found[f"{engine.name}.accumulator.{weight_memory(engine, n)}"] = memory.lanes * memory.codec.bits
        for name, (bits, count), _ in theta_memories(layers, units):
            found[f"{engine.name}.neurons.{name}"] = bits * count
        for name, shape, _ in (*bias_memories(layers), *v_init_memories(layers)):
            found[f"{engine.name}.neurons.{name}"] = shape.width * units
    return found


class Core(wiring.Component):
    """A spiking neural network in hardware, computing exactly what its NetworkSpec says.

    Each engine works on its own time step; streams of words join them. Silent inputs cost no synaptic
    cycle. Images follow each other without a gap: nothing needs clearing between them.

    Parameters
    ----------
    plan : CorePlan

    Members
    -------
    i : In(stream of FrameWord), pixels in row-major order, ceil(channels / word) words each; one frame an image
        for a constant input, else one frame a step
    o : Out(stream of the class), one an image
    load : LoadSignature, where the plan is loadable
    trace_<layer>_valid, trace_<layer>_payload : Out, every update as it is handed on; for observation, not
        synthesised where unconnected
    """
    def __init__(self, plan):
        if not isinstance(plan, CorePlan):
            raise TypeError(f"plan must be a CorePlan, not {plan!r}")
        self.plan, net = plan, plan.net
        self.load_port = LoadPort(loadable_memories(plan)) if plan.loadable else None
        self.engines = [Engine(plan, e, self.load_port) for e in range(len(plan.engines))]
        traces = {} if self.load_port is None else {"load": Out(LoadSignature(self.load_port.width))}
        for layer, part in zip(net.layers, plan.layers):
            traces[f"trace_{layer.name}_valid"] = Out(1)
            traces[f"trace_{layer.name}_payload"] = Out(Update(layer, part.updaters))
        super().__init__({"i": In(stream.Signature(FrameWord(plan.word, net.input.bits))),
                          "o": Out(stream.Signature(range(max(net.classes, 2)))), **traces})

    def contents(self):
        """What the memories of the model hold: {path: (kind, list of (layer, projection or 0))}, rows in order."""
        return {f"core.{engine.plan.name}.{path}": what for engine in self.engines for path, what in engine.contents().items()}

    def elaborate(self, platform):
        m = Module()
        net, engines = self.plan.net, self.engines

        if self.load_port is not None:
            self.load_port.connect(m, self.load)
        targets = self.plan.targets([INPUT])
        m.submodules.input_fork = fork = Fork(data.StructLayout({"spikes": len(self.i.payload.as_value()), "layer": 1}), targets)
        m.d.comb += [fork.i.p.spikes.eq(self.i.payload), fork.i.valid.eq(self.i.valid), self.i.ready.eq(fork.i.ready)]
        joins = [(getattr(fork, f"o{k}"), target) for k, target in enumerate(targets)]
        for engine in engines:
            m.submodules[engine.plan.name] = engine
            joins += [(getattr(engine, f"o{k}"), target) for k, target in enumerate(engine.outside)]
            for n, layer in enumerate(engine.layers):
                self._trace(m, engine, n, layer)
        for source, target in joins:
            wiring.connect(m, source, getattr(engines[target.port[0]], port_name(*target.port[1:])))

        m.submodules.readout = readout = Readout(net, engines[-1].update.payload.shape())
        wiring.connect(m, engines[-1].update, readout.i)
        wiring.connect(m, readout.o, wiring.flipped(self.o))
        return m

    def _trace(self, m, engine, n, layer):
        """The engine's updates of one layer, in the layer's own layout."""
        valid, payload = getattr(self, f"trace_{layer.name}_valid"), getattr(self, f"trace_{layer.name}_payload")
        mine = 1 if len(engine.layers) == 1 else engine.trace.layer == n
        m.d.comb += [valid.eq(engine.trace_valid & mine), payload.spikes.eq(engine.trace.spikes),
                     *(payload[name].eq(engine.trace[name]) for name in ("index", "group_end", "step_end", "image_end"))]
        for k in range(len(Value.cast(payload.spikes))):
            m.d.comb += payload.membranes[k].eq(engine.trace.membranes[k])


def ports(core):
    """The core's top-level ports as Amaranth's back ends take them: {name: (value, direction)}.

    Names have single underscores (``i_payload``), which every tool leaves alone.
    """
    from amaranth.hdl._ir import PortDirection
    return {"_".join(map(str, path)): (Value.cast(value), PortDirection.Input if member.flow == In else PortDirection.Output)
            for path, member, value in core.signature.flatten(core)}
