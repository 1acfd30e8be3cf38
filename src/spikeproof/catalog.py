"""What a configuration may name: section -> kind -> "module:Class".

Adding a kind is one file and one line here. Modules named here import without torch, so that a
configuration is checked in milliseconds; a test loads every line and runs the conformance suite on it.
Every class has a docstring and a nested ``Options`` model: what its configuration entry may say.
"""
from difflib import get_close_matches
from importlib import import_module

__all__ = ["CATALOG", "load", "module_of", "unknown"]

CATALOG = {
    "datasets": {
        "digits": "spikeproof.datasets.digits:Digits",
    },
    "architectures": {
        "feedforward": "spikeproof.architectures.feedforward:Feedforward",
    },
    "neurons": {
        "if": "spikeproof.neurons.integrate_fire:IntegrateFire",
        "lif": "spikeproof.neurons.leaky:LeakyIntegrateFire",
    },
    "pretraining": {
        "surrogate": "spikeproof.pretraining.surrogate:SurrogateGradient",
    },
    "quantizers": {
        "binary": "spikeproof.quantizers.binary:BinaryQuantizer",
        "int": "spikeproof.quantizers.integer:IntQuantizer",
        "pot": "spikeproof.quantizers.power_of_two:PowerOfTwoQuantizer",
        "ternary": "spikeproof.quantizers.ternary:TernaryQuantizer",
    },
    "pruners": {
        "channel": "spikeproof.pruners.channel:ChannelPruner",
    },
}


def unknown(what, name, known):
    """The sentence for a name that is not among the known ones, with the nearest one."""
    near = get_close_matches(str(name), [str(k) for k in known], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {name!r} is unknown: it must be one of {', '.join(map(str, sorted(known)))}{hint}"


def module_of(section, kind):
    """The module that implements a kind, by name."""
    return CATALOG[section][kind].split(":")[0]


def load(section, kind):
    """The class of a kind.

    Raises
    ------
    ValueError
        If the catalog has no such kind in that section.
    """
    if kind not in CATALOG[section]:
        raise ValueError(unknown(f"{section} kind", kind, CATALOG[section]))
    module, name = CATALOG[section][kind].split(":")
    return getattr(import_module(module), name)
