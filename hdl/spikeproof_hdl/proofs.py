"""What is proved about the core's parts: a harness for each, and the list of properties.

Parts are small here (a few neurons, lanes and codes); the proofs cover all their inputs, not all sizes.
"""
from dataclasses import dataclass

import numpy as np

from spikeproof.spec import Lateral, Leak, NeuronSpec, Store

from .formal import prove
from .gather_harnesses import AccumulatorHarness, EngineHarness, GatherHarness, MaxPoolHarness, PackHarness, ScannerHarness
from .neuron_harnesses import DrainHarness, ForkHarness, NeuronHarness, layer_of

__all__ = ["PROOFS", "Proof"]

OVERFLOW = ("sums never overflow", "membranes never overflow")
ADDRESSES = ("addresses are in range",)
PER_CHANNEL, PER_STEP = np.array([2, 1]).reshape(1, 1, 1, 2), np.array([2, 1]).reshape(2, 1, 1, 1)
CONSTANT = np.full((1, 1, 1, 1), 2)
DENSE, CONV = ({"kernel": k, "padding": k - 1, "side": k, "inputs": n, "channels": n} for k, n in ((1, 4), (2, 2)))


@dataclass(frozen=True)
class Proof:
    """A property, the harness that states it, and the claims that it asserts.

    Parameters
    ----------
    property : str, one of "no overflow", "streams", "addresses", "five steps"
    name : str, the part and its size
    harness : function without arguments that gives it
    claims : names of claims
    unbounded : bool, whether ``pdr`` is known to prove it; else only cycles from the start are covered
    """
    property: str
    name: str
    harness: object
    claims: tuple = ()
    unbounded: bool = True

    def run(self, seconds=60):
        """Outcome of the proof."""
        return prove(self.harness(), self.claims, seconds, self.unbounded)


def _neurons(property, name, neuron, theta=CONSTANT, bias=None, units=1, neurons=2, acc=(-4, 4), gate=None, claims=(),
             unbounded=True, v_init=None, lateral=None):
    layer = layer_of(neuron, theta, bias, (1, 1, neurons), gate=gate, v_init=v_init, lateral=lateral)
    return Proof(property, name, lambda: NeuronHarness(layer, neurons, acc, 2, units), claims, unbounded)


IF, LIF = NeuronSpec(Leak(), Store(-4, 3)), NeuronSpec(Leak("subtract_shift", 1), Store(-2, 1, 1, "half_up"), "hard", -1)
PROOFS = (
    _neurons("five steps", "soft reset, thresholds per channel", IF, PER_CHANNEL),
    _neurons("five steps", "leak v - (v >> 1), hard reset, half_up, biases", LIF, bias=(1, -1)),
    _neurons("five steps", "leak v >> 1, half_even, thresholds per step",
             NeuronSpec(Leak("shift", 1), Store(-2, 1, 1, "half_even")), PER_STEP),
    _neurons("five steps", "leak (v * 3) >> 2, ternary membrane", NeuronSpec(Leak("multiply", multiplier=3, fraction=2),
                                                                            Store(-1, 1, 1))),
    _neurons("five steps", "gates", NeuronSpec(Leak("subtract_shift", 1), Store(-2, 1)), gate="other"),
    _neurons("five steps", "inhibition by every spike", IF, acc=(-2, 4), lateral=Lateral(1)),
    _neurons("five steps", "one spike and its inhibition", IF, acc=(-2, 4), lateral=Lateral(2, one_spike=True)),
    _neurons("five steps", "one spike of four neurons, two a cycle", NeuronSpec(Leak(), Store(-2, 1)), units=2, neurons=4,
             acc=(-2, 2), lateral=Lateral(1, one_spike=True)),
    _neurons("five steps", "no threshold", IF, None),
    _neurons("five steps", "an initial membrane per neuron", IF, v_init=(2, -3)),
    _neurons("five steps", "one initial membrane, leak v - (v >> 1), hard reset", LIF, v_init=(1,)),
    _neurons("five steps", "two neurons a cycle", NeuronSpec(Leak(), Store(-2, 1)), units=2, neurons=4),
    _neurons("five steps", "eight neurons, no interlock", NeuronSpec(Leak(), Store(-1, 1)), acc=(-1, 1), neurons=8,
             unbounded=False),
    Proof("no overflow", "accumulator, dense 4 -> 4, rows in any order",
          lambda: AccumulatorHarness(**DENSE), OVERFLOW),
    _neurons("no overflow", "neurons, soft reset", IF, PER_CHANNEL, claims=OVERFLOW),
    _neurons("no overflow", "neurons, leak, hard reset, rounding, biases", LIF, bias=(1, -1), claims=OVERFLOW),
    _neurons("no overflow", "neurons, inhibition by every spike", IF, lateral=Lateral(1), claims=OVERFLOW),
    Proof("no overflow", "engine, dense 4 -> 4", lambda: EngineHarness(**DENSE), OVERFLOW, unbounded=False),
    Proof("no overflow", "engine, conv 2x2 on 2x2, padded", lambda: EngineHarness(**CONV), OVERFLOW, unbounded=False),
    # Sizes that are no powers of two, so that there are addresses out of range.
    Proof("addresses", "engine, dense 3 -> 6", lambda: EngineHarness(**{**DENSE, "inputs": 3, "channels": 6}), ADDRESSES),
    Proof("addresses", "engine, conv 2x2 on 3x3", lambda: EngineHarness(**{**CONV, "side": 3, "padding": 0}), ADDRESSES),
    Proof("addresses", "engine, conv 2x2 on 3x3, padded", lambda: EngineHarness(**{**CONV, "side": 3}), ADDRESSES, unbounded=False),
    Proof("streams", "scanner", ScannerHarness),
    Proof("streams", "drain", DrainHarness),
    Proof("streams", "pack", PackHarness),
    Proof("streams", "fork", ForkHarness),
    Proof("streams", "max pool", MaxPoolHarness),
    Proof("streams", "max pool, two codes of 2 bits", lambda: MaxPoolHarness(codes=2, bits=2)),
    Proof("streams", "max pool, codes of 3 bits, signed", lambda: MaxPoolHarness(bits=3, signed=True)),
    Proof("streams", "frame memory and walk, dense 4 -> 4", lambda: GatherHarness(**DENSE), unbounded=False),
    Proof("streams", "frame memory and walk, conv 2x2 on 2x2, padded", lambda: GatherHarness(**CONV), unbounded=False),
)
