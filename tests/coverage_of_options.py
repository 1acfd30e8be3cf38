"""Which options of the contract and of the core a plan uses, and a set of random plans that uses them all."""
import itertools
from functools import cache

from hypothesis import HealthCheck, Phase, given, seed, settings
from spikeproof_hdl.layout import is_channelwise
from strategies import CODECS, plans

from spikeproof.codecs import parse_codec
from spikeproof.fixed_point import ROUNDINGS
from spikeproof.projections import INPUT
from spikeproof.spec import Leak

#: Every option that hardware is made for: axis -> values.
OPTIONS = {
    "input": ("spikes", "n-bit", "constant", "per step"),
    "connection": ("dense", "convolution", "stride", "padding", "groups", "depthwise", "sum pool", "max pool", "max pool of codes",
                   "residual add", "identity add", "channel-wise, several lanes", "membranes read", "membranes read, unsigned"),
    "codec": tuple(sorted({parse_codec(name).name for name in CODECS})),
    "leak": Leak.KINDS,
    "reset": ("soft", "hard"),
    "store": ("ternary", "binary", "signed", "unsigned", "scaled", "stateless"),
    "rounding": ROUNDINGS,
    "threshold": ("none", "layer", "channel", "neuron", "layer, by step", "channel, by step", "neuron, by step",
                  "in coarser units"),
    "bias": ("none", "channel"),
    "initial membrane": ("none", "layer", "channel", "neuron"),
    "lateral": ("none", "inhibition", "one spike", "one spike, inhibition"),
    "gate": ("none", "one for all", "by channel", "by block", "of one position"),
    "readout": ("spike_count", "membrane"),
    "lanes": ("one", "several"),
    "updaters": ("one", "several"),
    "engines": ("pipeline", "folded"),
}


def _of_layer(net, layer):
    neuron, store = layer.neuron, layer.neuron.store
    yield "leak", neuron.leak.kind
    yield "reset", neuron.reset
    yield "store", "ternary" if (store.lo, store.hi) == (-1, 1) else "binary" if (store.lo, store.hi) == (0, 1) else \
        "signed" if store.lo < 0 else "unsigned"
    if store.lo == 0:
        yield "store", "unsigned"
    if store.shift:
        yield "store", "scaled"
        yield "rounding", store.rounding
    if neuron.stateless:
        yield "store", "stateless"
    yield "bias", "none" if layer.bias is None else "channel"
    yield "initial membrane", "none" if layer.v_init is None else "layer" if layer.v_init.size == 1 else \
        "channel" if layer.v_init.shape[:2] == (1, 1) else "neuron"
    if layer.theta is None:
        yield "threshold", "none"
    else:
        steps, height, width, channels = layer.theta.shape
        which = "neuron" if height * width > 1 else "channel" if channels > 1 else "layer"
        yield "threshold", which + (", by step" if steps > 1 else "")
        if layer.theta_shift and layer.theta_width:
            yield "threshold", "in coarser units"
    if layer.lateral is None:
        yield "lateral", "none"
    elif layer.lateral.one_spike:
        yield "lateral", "one spike, inhibition" if layer.lateral.inhibition else "one spike"
    else:
        yield "lateral", "inhibition"
    if layer.gate is None:
        yield "gate", "none"
    else:
        gate = net.by_name[layer.gate].shape
        yield "gate", "by channel" if gate[2] > 1 else "one for all"
        if gate[:2] == layer.shape[:2] and gate[:2] != (1, 1):
            yield "gate", "of one position"
        elif gate[:2] != (1, 1):
            yield "gate", "by block"
    if len(layer.projections) > 1:
        yield "connection", "residual add"
    for p in layer.projections:
        yield "codec", p.codec.name
        source = net.source_shape(p)
        yield "connection", "dense" if layer.shape[:2] == (1, 1) else "convolution"
        for name, used in (("stride", p.stride > 1), ("padding", p.padding > 0), ("groups", p.groups > 1),
                           ("depthwise", p.groups > 1 and p.groups == source[2]), ("sum pool", p.pool > 1 and p.pool_kind == "sum"),
                           ("max pool", p.pool > 1 and p.pool_kind == "max")):
            if used:
                yield "connection", name
        if p.pool > 1 and p.pool_kind == "max" and net.input_bits(p)[0] > 1:
            yield "connection", "max pool of codes"
        if is_channelwise(p) and p.kernel == (1, 1) and len(layer.projections) > 1:
            yield "connection", "identity add"
        if p.reads == "membranes":
            yield "connection", "membranes read" + ("" if net.input_bits(p)[1] else ", unsigned")
        if p.source == INPUT:
            yield "input", "spikes" if net.input.bits == 1 else "n-bit"
            yield "input", "constant" if net.input.constant else "per step"


def options_of(plan):
    """Set of (axis, value) that a plan uses."""
    net = plan.net
    found = {("readout", net.readout)}
    for layer in net.layers:
        found |= set(_of_layer(net, layer))
    if any(memory.pitch > 1 for engine in plan.engine_plans for memory in engine.weights):
        found.add(("connection", "channel-wise, several lanes"))
    for part in plan.layers:
        found.add(("lanes", "one" if part.lanes == 1 else "several"))
        found.add(("updaters", "one" if part.updaters == 1 else "several"))
    found |= {("engines", "folded" if len(engine) > 1 else "pipeline") for engine in plan.engines}
    return found


ALL = {(axis, value) for axis, values in OPTIONS.items() for value in values}


@cache
def _drawn(examples=1500, batches=12):
    """Random plans that together use every option: list of (plan, its options).

    What Hypothesis draws changes with its version and with the constants in our code; where an option is missing, another batch
    of plans is drawn.
    """
    pool = []

    def collect(plan):
        pool.append((plan, options_of(plan)))

    for batch in range(batches):
        seed(2026 + batch)(settings(max_examples=examples, deadline=None, phases=[Phase.generate], derandomize=False, database=None,
                                    suppress_health_check=list(HealthCheck))(given(plans())(collect)))()
        if ALL <= set().union(*(options for _, options in pool)):
            break
    return pool


def covering_plans(count):
    """Of many random plans, ``count`` or more that together use every option, and many pairs of them."""
    pool = _drawn()
    chosen = _cover([], pool, set(ALL), len(pool))
    offers = [(plan, pairs(options)) for plan, options in pool]
    return _cover(chosen, offers, set().union(*(offer for _, offer in offers)), count)


def _cover(chosen, offers, missing, count):
    """Add plans, each the one that offers most of what is missing (the smaller of equals), up to ``count``."""
    missing = missing.difference(*(offer for plan, offer in offers if plan in chosen))
    while missing and len(chosen) < count:
        plan, offer = max(offers, key=lambda entry: (len(entry[1] & missing), -sum(l.neurons for l in entry[0].net.layers)))
        if not offer & missing:
            break
        chosen = [*chosen, plan]
        missing = missing - offer
    return chosen


def pairs(options):
    """Pairs of options of different axes."""
    return {pair for pair in itertools.combinations(sorted(options), 2) if pair[0][0] != pair[1][0]}


def summary(chosen):
    """What some plans cover, in words; the pairs are counted, not demanded: some exclude each other."""
    used = [options_of(plan) for plan in chosen]
    covered = set().union(*used)
    both = set().union(*(pairs(options) for options in used))
    return (f"{len(covered & ALL)} of {len(ALL)} options, {len(both)} of {len(pairs(ALL))} pairs of options, "
            f"in {len(chosen)} networks")
