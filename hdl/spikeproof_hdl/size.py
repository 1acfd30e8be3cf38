"""How many lanes a network wants: cycles by the exact model, block RAM by its shapes, logic by a fitted estimate."""
import math
from dataclasses import dataclass

from .codecs import span
from .layout import most_lanes
from .parts import BLOCK_RAM, SMALL, bank_depth
from .plan import CorePlan
from .timing import predict

__all__ = ["Candidate", "candidates", "estimate_brams", "estimate_luts"]

#: ECP5 LUT4 per engine, per lane and bit of a sum, per updater and bit of h, per bit of a fetched row: least squares over the
#: cores of the default study and two of MNIST shape, of which it misses none by more than 13 %. All are pipelines: what a fold
#: chooses between layers is not in it (one VGG-9 on one engine took 3,350 LUT, not the 2,400 estimated).
LUTS = (243, 4.92, 13.8, 1.92)
#: Share of a device's LUTs that a design can fill and still be routed.
FULL = 0.9


@dataclass(frozen=True)
class Candidate:
    """A plan with what it takes: cycles of an image back to back and alone, estimated LUT4 and block RAMs (18 kbit)."""
    plan: CorePlan
    interval: float
    latency: float
    luts: int
    brams: int

    @property
    def lanes(self):
        return [part.lanes for part in self.plan.layers]


def estimate_luts(plan):
    """Estimated LUT4 of a core on an ECP5."""
    net, total = plan.net, 0
    for engine in plan.engine_plans:
        layers = [net.layers[k] for k in engine.layers]
        lanes, units = max(plan.layers[k].lanes for k in engine.layers), plan.layers[engine.layers[0]].updaters
        sums = max(span(*net.acc_range(layer)).width for layer in layers)
        h = max(span(*net.h_range(layer)).width for layer in layers)
        row = sum(g.fetch * g.cuts * g.part * max(p.bits for p in g.passes) for g in engine.gathers)
        total += sum(weight * value for weight, value in zip(LUTS, (1, lanes * sums, h * units, row)))
    return round(total)


def estimate_brams(plan):
    """Block RAMs (18 kbit) of the memories that are not small, in the shapes that :class:`parts.Banked` cuts them into."""
    net, shapes = plan.net, []
    for engine in plan.engine_plans:
        for memory in engine.weights:
            shapes.append((memory.rows, memory.lanes * memory.codec.bits))
        for k in engine.layers:
            layer, units = net.layers[k], plan.layers[k].updaters
            if not layer.neuron.stateless:
                shapes.append((layer.neurons // units, layer.neuron.store.bits * units))
            for entries, width in ((0 if layer.theta is None else layer.theta.size, layer.theta_width),
                                   (layer.shape[2], layer.bias_width),
                                   (0 if layer.v_init is None else layer.v_init.size, layer.v_init_width)):
                shapes.append((entries // units, width * units))
        shapes += [(store.rows, store.width) for _, store in engine.stores() for _ in range(store.fetch)]
    large = [(depth, width) for depth, width in shapes if depth * width > SMALL]
    return sum(math.ceil(depth / bank_depth(depth, width)) * math.ceil(width / BLOCK_RAM[bank_depth(depth, width)])
               for depth, width in large)


def candidates(net, frames, fold=False, updaters=1, most=256):
    """Ever wider plans: from one lane each, the layer that keeps its engine busiest gets its next number of lanes.

    Parameters
    ----------
    net : NetworkSpec
    frames : int array of input codes, [B, (T,) H, W, C], typical images
    fold, updaters : as in :meth:`CorePlan.of`
    most : int, lanes that a layer may have

    Yields
    ------
    Candidate
    """
    widths = [most_lanes(layer) for layer in net.layers]
    divisors = [[d for d in range(1, min(width, most) + 1) if width % d == 0] for width in widths]
    lanes = [1] * len(net.layers)
    linked = _linked(net)
    while True:
        plan = CorePlan.of(net, lanes, updaters, fold=fold)
        run, alone = predict(plan, frames), predict(plan, frames, sequential=True)
        yield Candidate(plan, run.cycles / len(frames), alone.latency, estimate_luts(plan), estimate_brams(plan))
        load = {engine: sum(run.busy[net.layers[k].name] for k in engine) for engine in plan.engines}
        order = sorted(range(len(lanes)), key=lambda k: (-next(load[e] for e in plan.engines if k in e),
                                                         -run.busy[net.layers[k].name]))
        for k in order:
            wider = [d for d in divisors[k] if d > lanes[k] and all(d in divisors[other] for other in linked[k])]
            if wider:
                for other in linked[k]:
                    lanes[other] = wider[0]
                break
        else:
            return


def _linked(net):
    """Layers that must have equal lanes: those whose gates come in words of one bit per lane."""
    position = {layer.name: k for k, layer in enumerate(net.layers)}
    groups = {k: {k} for k in range(len(net.layers))}
    for k, layer in enumerate(net.layers):
        if layer.gate is not None and net.by_name[layer.gate].shape[2] > 1:
            merged = groups[k] | groups[position[layer.gate]]
            for member in merged:
                groups[member] = merged
    return groups
