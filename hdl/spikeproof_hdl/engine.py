"""An engine: gather, scan, accumulate, update, pack. Dense and convolution are the same datapath, and so are many layers."""
from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .accumulate import Accumulator, Drain, weight_memory
from .gather import Gather
from .neuron import NeuronUpdate
from .route import Fork, Pack, target_word
from .scan import Scanner
from .updates import bias_memories, engine_update, membrane_memories, theta_memories, v_init_memories

__all__ = ["Engine", "port_name"]


def port_name(kind, gather, store):
    """Name of the engine's port of a frame memory that is filled from outside."""
    return f"{kind}{gather}_{store}"


class Engine(wiring.Component):
    """Computes one layer, or several in turn in every time step, up to the words that are read.

    Maps that its own layers read stay inside. What all its layers have in common is a constant; what one of them needs is
    there once.

    Parameters
    ----------
    core : CorePlan
    position : int, of the engine in the core
    load : None, or LoadPort of a core whose memories are loadable

    Members
    -------
    i<g>_<n>, g<g>_<n> : In(stream of map_word), store ``n`` of gather ``g`` and of its gates, where filled from outside
    o0, o1, ... : Out(stream of map_word), one per entry of ``outside``
    update : Out(stream of engine_update), the updates of the network's last layer, where that is here
    trace, trace_valid : Out, every update as it is handed on
    """
    def __init__(self, core, position, load=None):
        net, plan = core.net, core.engine_plans[position]
        self.plan, self.position = plan, position
        self.layers = [net.layers[k] for k in plan.layers]
        lanes = [core.layers[k].lanes for k in plan.layers]
        units = core.layers[plan.layers[0]].updaters
        ranges = [net.acc_range(layer) for layer in self.layers]
        acc_range = (min(lo for lo, _ in ranges), max(hi for _, hi in ranges))
        rows = max(memory.rows * memory.pitch for memory in plan.weights)
        several, gated = len(self.layers) > 1, any(layer.gate is not None for layer in self.layers)
        self.gathers = [Gather(gather, net.steps, rows, several) for gather in plan.gathers]
        self.scanners = [Scanner(gather.o.payload.shape(), gather.align) for gather in self.gathers]
        self.neurons = NeuronUpdate(self.layers, lanes, acc_range, net.steps, units, gated, load and (load, plan.name))
        events = [scanner.o.payload.shape() for scanner in self.scanners]
        self.accumulator = Accumulator(plan, net, events, max(lanes), self.neurons.acc_shape, load)
        groups = [layer.neurons // count for layer, count in zip(self.layers, lanes)]
        self.drain = Drain(self.neurons.acc_shape, lanes, groups, units, gated)
        self.has_last = plan.layers[-1] == len(net.layers) - 1
        self.targets = core.targets([layer.name for layer in self.layers])
        self.outside = [target for target in self.targets if target.port[0] != position]
        bits = {target.store.regions[0].bits for target in self.targets if target.store.regions[0].reads == "membranes"}
        self.pack = Pack(self.layers, lanes, units, bits) if self.targets else None
        members = {port_name(*port): In(stream.Signature(store.word)) for port, store in self._stores() if store.store.external}
        members |= {f"o{k}": Out(stream.Signature(target_word(target))) for k, target in enumerate(self.outside)}
        update = engine_update(self.layers, units)
        if self.has_last:
            members["update"] = Out(stream.Signature(update))
        super().__init__({**members, "trace": Out(update), "trace_valid": Out(1)})

    def contents(self):
        """What the memories of the model hold: {path in the engine: (kind, list of (layer, projection or 0))}, rows in order."""
        found = {}
        for n, memory in enumerate(self.plan.weights):
            found[f"accumulator.{weight_memory(self.plan, n)}"] = ("weights", [(s.layer, s.number) for s in memory.segments])
        units = self.neurons.updaters
        for kind, memories in (("membranes", membrane_memories(self.layers)), ("thresholds", theta_memories(self.layers, units)),
                               ("biases", bias_memories(self.layers)), ("initials", v_init_memories(self.layers))):
            for name, _, members in memories:
                found[f"neurons.{name}"] = (kind, [(self.layers[n].name, 0) for n in members])
        return found

    def _stores(self):
        """(port, Frames) of every frame memory."""
        for (kind, g, n), _ in self.plan.stores():
            yield (kind, g, n), (self.gathers[g].stores if kind == "i" else self.gathers[g].gates)[n]

    def _gather_port(self, kind, g, n):
        return getattr(self.gathers[g], f"{kind}{n}")

    def elaborate(self, platform):
        m = Module()
        m.submodules.accumulator, m.submodules.drain, m.submodules.neurons = self.accumulator, self.drain, self.neurons
        for g, (gather, scanner) in enumerate(zip(self.gathers, self.scanners)):
            suffix = "" if len(self.gathers) == 1 else str(g)
            m.submodules[f"gather{suffix}"], m.submodules[f"scanner{suffix}"] = gather, scanner
            wiring.connect(m, gather.o, scanner.i)
            wiring.connect(m, scanner.o, getattr(self.accumulator, f"i{g}"))
        for port, store in self._stores():
            if store.store.external:
                wiring.connect(m, wiring.flipped(getattr(self, port_name(*port))), self._gather_port(*port))
        wiring.connect(m, self.accumulator.o, self.drain.i)
        wiring.connect(m, self.drain.o, self.neurons.i)

        # Updates: of the last layer to the readout, all others to the packer.
        updates = self.neurons.o
        m.d.comb += [self.trace.eq(updates.payload), self.trace_valid.eq(updates.valid & updates.ready)]
        last = (1 if len(self.layers) == 1 else updates.p.layer == len(self.layers) - 1) if self.has_last else 0
        if self.has_last:
            m.d.comb += [self.update.payload.eq(updates.payload), self.update.valid.eq(updates.valid & last)]
        if self.targets:
            m.submodules.pack = self.pack
            m.submodules.fork = fork = Fork(self.pack.o.payload.shape(), self.targets)
            m.d.comb += [self.pack.i.payload.eq(updates.payload), self.pack.i.valid.eq(updates.valid & ~Value.cast(last)[0])]
            wiring.connect(m, self.pack.o, fork.i)
            for k, target in enumerate(self.targets):
                out = getattr(fork, f"o{k}")
                if target in self.outside:
                    wiring.connect(m, out, wiring.flipped(getattr(self, f"o{self.outside.index(target)}")))
                else:
                    wiring.connect(m, out, self._gather_port(*target.port[1:]))
        if not self.has_last:
            m.d.comb += updates.ready.eq(self.pack.i.ready)
        elif not self.targets:
            m.d.comb += updates.ready.eq(self.update.ready)
        else:
            with m.If(last):
                m.d.comb += updates.ready.eq(self.update.ready)
            with m.Else():
                m.d.comb += updates.ready.eq(self.pack.i.ready)
        return m
