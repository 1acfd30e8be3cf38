"""What a configuration may name: section -> kind -> "module:Class".

Adding a kind is one file and one line here. Modules named here import without torch, so that a
configuration is checked in milliseconds; a test loads every line and runs the conformance suite on it.
Every class has a docstring and a nested ``Options`` model: what its configuration entry may say.
"""
from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

__all__ = ["CATALOG", "load", "module_of", "unknown"]

CATALOG = {
    "datasets": {
        "cifar10": "spikeproof.datasets.cifar10:Cifar10",
        "cifar100": "spikeproof.datasets.cifar100:Cifar100",
        "cifar10_dvs": "spikeproof.datasets.cifar10_dvs:Cifar10Dvs",
        "digits": "spikeproof.datasets.digits:Digits",
        "dvs128_gesture": "spikeproof.datasets.dvs128_gesture:Dvs128Gesture",
        "fashion_mnist": "spikeproof.datasets.fashion_mnist:FashionMnist",
        "folder": "spikeproof.datasets.folder:Folder",
        "gen1": "spikeproof.datasets.gen1:Gen1",
        "imagenet": "spikeproof.datasets.imagenet:ImageNet",
        "mnist": "spikeproof.datasets.mnist:Mnist",
        "moving_shapes": "spikeproof.datasets.moving_shapes:MovingShapes",
        "n_caltech101": "spikeproof.datasets.n_caltech101:NCaltech101",
        "n_cars": "spikeproof.datasets.n_cars:NCars",
        "n_mnist": "spikeproof.datasets.n_mnist:NMnist",
        "speech_commands": "spikeproof.datasets.speech_commands:SpeechCommands",
    },
    "architectures": {
        "feedforward": "spikeproof.architectures.feedforward:Feedforward",
        "graph": "spikeproof.architectures.graph:Graph",
        "resnet": "spikeproof.architectures.resnet:ResNet",
        "spike_transformer": "spikeproof.architectures.transformers:SpikeTransformer",
        "spikformer": "spikeproof.architectures.transformers:Spikformer",
        "yolo": "spikeproof.architectures.yolo:Yolo",
    },
    "neurons": {
        "atif_nu": "spikeproof.neurons.atif_nu:AtifNu",
        "atif_u": "spikeproof.neurons.atif_u:AtifU",
        "decay": "spikeproof.neurons.decay:Decay",
        "diehl_cook": "spikeproof.neurons.diehl_cook:DiehlCook",
        "if": "spikeproof.neurons.integrate_fire:IntegrateFire",
        "lif": "spikeproof.neurons.leaky:LeakyIntegrateFire",
        "lt_lif": "spikeproof.neurons.learned_threshold:LearnedThresholdLif",
        "per_layer": "spikeproof.neurons.per_layer:PerLayer",
        "plif": "spikeproof.neurons.parametric:ParametricLif",
        "relu": "spikeproof.neurons.relu:Relu",
        "synaptic": "spikeproof.neurons.synaptic:Synaptic",
    },
    "pretraining": {
        "continued": "spikeproof.pretraining.continued:Continued",
        "conversion": "spikeproof.pretraining.conversion:Conversion",
        "decolle": "spikeproof.pretraining.decolle:Decolle",
        "imported": "spikeproof.pretraining.imported:Imported",
        "stbp": "spikeproof.pretraining.stbp:Stbp",
        "stdp": "spikeproof.pretraining.stdp:Stdp",
        "surrogate": "spikeproof.pretraining.surrogate:SurrogateGradient",
        "tssl_bp": "spikeproof.pretraining.tssl_bp:TsslBp",
    },
    "quantizers": {
        "apot": "spikeproof.quantizers.additive_power_of_two:AdditivePowerOfTwoQuantizer",
        "binary": "spikeproof.quantizers.binary:BinaryQuantizer",
        "cbp": "spikeproof.quantizers.cbp:CbpQuantizer",
        "fixed_point": "spikeproof.quantizers.fixed_point:FixedPointQuantizer",
        "int": "spikeproof.quantizers.integer:IntQuantizer",
        "lsq": "spikeproof.quantizers.lsq:LsqQuantizer",
        "pot": "spikeproof.quantizers.power_of_two:PowerOfTwoQuantizer",
        "ternary": "spikeproof.quantizers.ternary:TernaryQuantizer",
    },
    "pruners": {
        "channel": "spikeproof.pruners.channel:ChannelPruner",
        "masks": "spikeproof.pruners.masks:MaskPruner",
    },
    "analyses": {
        "atif_sqnr": "spikeproof.analyses.atif_sqnr:AtifSqnr",
        "exploration": "spikeproof.analyses.exploration:Exploration",
        "membrane_clipping": "spikeproof.analyses.membrane_clipping:MembraneClipping",
        "network_costs": "spikeproof.analyses.network_costs:NetworkCosts",
        "network_sizes": "spikeproof.analyses.network_sizes:NetworkSizes",
    },
}


def unknown(what: str, name: object, known: Collection[str]) -> str:
    """The sentence for a name that is not among the known ones, with the nearest one."""
    near = get_close_matches(str(name), [str(k) for k in known], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {name!r} is unknown: it must be one of {', '.join(map(str, sorted(known)))}{hint}"


def module_of(section: str, kind: str) -> str:
    """The module that implements a kind, by name."""
    return CATALOG[section][kind].split(":")[0]


def load(section: str, kind: str) -> type[Any]:
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
