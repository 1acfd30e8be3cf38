"""What the neurons of an engine keep in memories, and the stream of their updates."""
from amaranth.lib import data

from .codecs import span

__all__ = ["DEPTH", "Update", "bias_memories", "engine_update", "membrane_memories", "theta_memories", "v_init_memories",
           "waiting_layers"]

#: Cycles from reading a membrane to the first in which its new value can be read.
DEPTH = 7


class Update(data.StructLayout):
    """What one update did to ``updaters`` neighbouring neurons of a layer.

    ``index`` counts updates of a time step, so its neurons are index * updaters onwards; ``membranes`` are
    the codes now in memory; ``group_end`` marks the last update of a group of lanes, ``step_end`` that of a
    time step, ``image_end`` that of an image.
    """
    def __init__(self, layer, updaters):
        store = layer.neuron.store
        super().__init__({"spikes": updaters,
                          "membranes": data.ArrayLayout(span(store.lo, store.hi), updaters),
                          "index": range(max(layer.neurons // updaters, 2)),
                          "group_end": 1, "step_end": 1, "image_end": 1})


def engine_update(layers, updaters):
    """The update of an engine: as :class:`Update`, wide enough for all its layers, and ``layer`` says whose it is."""
    codes = span(min(l.neuron.store.lo for l in layers), max(l.neuron.store.hi for l in layers))
    return data.StructLayout({"spikes": updaters, "membranes": data.ArrayLayout(codes, updaters),
                              "index": range(max(2, *(l.neurons // updaters for l in layers))),
                              "group_end": 1, "step_end": 1, "image_end": 1, "layer": range(max(len(layers), 2))})


def _shared(kind, keys):
    """Layers that share a memory, those of equal keys -> list of (name, key, positions); a key of None has no memory."""
    groups = {}
    for n, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(n)
    return [(kind if len(groups) == 1 else f"{kind}{n}", key, members) for n, (key, members) in enumerate(groups.items())]


def membrane_memories(layers):
    """Memories of membranes: (name, Shape of a code, positions of the layers). Stateless neurons have none."""
    return _shared("membrane", [None if layer.neuron.stateless else span(layer.neuron.store.lo, layer.neuron.store.hi)
                                for layer in layers])


def theta_memories(layers, units):
    """Memories of thresholds: (name, (bits, thresholds of a row), positions of the layers). One constant needs none."""
    return _shared("theta", [None if layer.theta is None or layer.theta.size == 1 else
                             (layer.theta_width, 1 if layer.theta[0].size == 1 else units) for layer in layers])


def _code_shape(of):
    """Shape of a code of a range (lo, hi), or 0."""
    return span(min(0, of[0]), max(0, of[1]))


def bias_memories(layers):
    """Memories of biases: (name, Shape of a bias, positions of the layers)."""
    return _shared("bias", [_code_shape(layer.bias_range) if layer.bias_width else None for layer in layers])


def v_init_memories(layers):
    """Memories of initial membranes: (name, Shape of a code, positions of the layers). One constant needs none."""
    return _shared("v_init", [_code_shape(layer.v_init_range) if layer.v_init_width else None for layer in layers])


def waiting_layers(layers, updaters):
    """Positions of the layers whose time step begins when all updates before it are stored.

    Those are layers whose neurons inhibit each other, and the first where a time step has fewer updates than the pipeline has
    cycles.
    """
    short = sum(layer.neurons // updaters for layer in layers) < DEPTH
    return [n for n, layer in enumerate(layers) if layer.lateral is not None or (short and n == 0)]
