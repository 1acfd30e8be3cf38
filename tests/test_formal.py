"""Proofs by model checking: what the documentation calls proved is proved, and a fault in the design refutes each property."""
import shutil
import sys
import types
from pathlib import Path
from unittest.mock import patch

import pytest
from amaranth.hdl import Signal
from amaranth.lib.wiring import In
from conftest import not_run
from spikeproof_hdl import accumulate, formal, frames, gather, gather_harnesses, neuron, neuron_harnesses, pool, proofs, route, scan
from spikeproof_hdl.formal import prove
from spikeproof_hdl.proofs import PROOFS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def model_checker():
    if shutil.which("yosys-abc") is None and shutil.which("berkeley-abc") is None:
        not_run("ABC is not installed (Debian: apt-get install yosys)")


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof.property}: {proof.name}")
def test_proof(proof):
    outcome = proof.run(seconds=60 if proof.unbounded else 8)
    if proof.unbounded:
        assert outcome.status == "proved"
    else:
        assert outcome.status == "bounded" and outcome.cycles >= 15


def test_every_property_has_an_unbounded_proof():
    assert {proof.property for proof in PROOFS if proof.unbounded} == {"five steps", "no overflow", "addresses", "streams"}


def mutant(module, old, new):
    """The module with one place of its source changed."""
    text = Path(module.__file__).read_text()
    assert text.count(old) == 1, f"{old!r} must stand once in {module.__name__}"
    made = types.ModuleType(module.__name__)
    made.__package__, made.__file__ = module.__package__, module.__file__
    with patch.dict(sys.modules, {module.__name__: made}):                    # where dataclasses look for it
        exec(compile(text.replace(old, new), module.__file__, "exec"), made.__dict__)
    return made


#: name: (module, text, changed text, class, where it is used, beginning of the names of the proofs that must fail)
MUTANTS = {
    "equality does not fire": (neuron, "return h >= theta", "return h > theta", "NeuronUpdate", "five steps: soft reset"),
    "a spike is forgotten by the reset": (neuron, "r = Mux(spike, after, kept)", "r = Mux(spike, kept, kept)", "NeuronUpdate",
                                          "five steps: soft reset"),
    "the membrane is read before it is stored": (neuron, "waits = waiting_layers(layers, units)", "waits = []",
                                                 "NeuronUpdate", "five steps: leak v - (v >> 1)"),
    "the bias is lost": (neuron, "total = acc[1].sums[k] + pick(m, which2, biases[k])", "total = acc[1].sums[k] + 0",
                         "NeuronUpdate", "five steps: leak v - (v >> 1)"),
    "the initial membrane is ignored": (neuron, "Mux(s[2].first, initials[k][n], held[n][k])", "Mux(s[2].first, 0, held[n][k])",
                                        "NeuronUpdate", "five steps: an initial membrane"),
    "gates are open": (neuron, "if self.gated else total) - off", "if False else total) - off", "NeuronUpdate",
                       "five steps: gates"),
    "spikes but the last do not inhibit": (neuron, "spent.eq(spent + count * inhibition)", "spent.eq(count * inhibition)",
                                           "NeuronUpdate", "five steps: inhibition by every spike"),
    "the image before inhibits": (neuron, "off.eq(Mux(self.step.at == 0, 0, spent))", "off.eq(spent)", "NeuronUpdate",
                                  "five steps: one spike and its inhibition"),
    "two neurons fire in a step": (neuron, "m.d.sync += taken.eq(1)", "m.d.sync += taken.eq(0)", "NeuronUpdate",
                                   "five steps: one spike and its inhibition"),
    "two neurons fire in a cycle": (neuron, "closed = closed | (reached & only)", "closed = closed", "NeuronUpdate",
                                    "five steps: one spike of four"),
    "inhibition is not counted in the width": (neuron, "- layer.inhibition,\n", "- 0,\n", "NeuronUpdate",
                                               "no overflow: neurons, inhibition"),
    "no saturation": (neuron, "codes[k].eq(Mux(q > hi, hi, Mux(q < lo, lo, q)))", "codes[k].eq(q)", "NeuronUpdate",
                      "five steps: soft reset"),
    "sums are not cleared": (accumulate, "m.d.sync += acc.eq(0)", "m.d.sync += acc.eq(sums[lane])", "Accumulator",
                             "no overflow: accumulator"),
    "sums are too narrow": (gather_harnesses, "span(*net.acc_range(net.layers[0])))", "span(-3, 3))", "AccumulatorHarness",
                            "no overflow: accumulator"),
    "h is too narrow": (neuron, "h_shape = span(min(-1, *(lo for lo, _ in ranges)), max(hi for _, hi in ranges))",
                        "h_shape = span(-4, 3)", "NeuronUpdate", "no overflow: neurons, soft reset"),
    "weight rows run on": (gather, "r.eq(passes[0].row >> self.align)", "r.eq(r + 1)", "Gather", "addresses: engine, dense"),
    "a window lies outside": (gather, "inside = (x >= 0) & (x < width)",
                              "inside = (x >= -1) & (x < width + 1)", "Gather",
                              "addresses: engine, conv 2x2 on 3x3, padded"),
    "a spike is scanned twice": (scan, "spikes.eq(rest), double", "spikes.eq(spikes & (rest | 1)), double", "Scanner",
                                 "streams: scanner"),
    "a token replaces the last one": (scan, "self.i.ready.eq(~have | (advance & done))", "self.i.ready.eq(~have | advance)",
                                      "Scanner", "streams: scanner"),
    "a group replaces the last one": (accumulate, "self.i.ready.eq(~busy | (self.o.ready & last))", "self.i.ready.eq(~busy | last)",
                                      "Drain", "streams: drain"),
    "a finished word is written over": (route, "ready.eq(~self.o.valid | self.o.ready", "ready.eq(1 | self.o.ready", "Pack",
                                        "streams: pack"),
    "a reader gets a word twice": (route, "self.i.valid & wanted & ~taken[k])", "self.i.valid & wanted)", "Fork", "streams: fork"),
    "the pool forgets a line": (pool, "fresh.eq((x.at == 0) & (y.at == 0))", "fresh.eq(x.at == 0)", "MaxPool", "streams: max pool"),
    "the pool takes signed codes for unsigned": (pool, "[int(region.signed) << (bits - 1) for region in regions]",
                                                 "[0 for _ in regions]", "MaxPool", "streams: max pool, codes of 3 bits"),
    "the pool keeps the last code": (pool, "fresh | ((code ^ flip) > (kept ^ flip))", "fresh | ((code ^ flip) >= 0)", "MaxPool",
                                     "streams: max pool, two codes"),
    "the first bank is walked for ever": (frames, 'pointer("walk", self.release[0])', 'pointer("walk", 0)', "Frames",
                                          "streams: frame memory and walk, dense"),
    "the padding is read": (gather, "inside=inside & ~skip", "inside=~skip", "Gather", "streams: frame memory and walk, conv"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutated_design_is_refuted(name):
    module, old, new, used, beginning = MUTANTS[name]
    changed = getattr(mutant(module, old, new), used)
    proof = next(proof for proof in PROOFS if f"{proof.property}: {proof.name}".startswith(beginning))
    places = (proofs, gather_harnesses, neuron_harnesses, sys.modules["spikeproof_hdl.engine"], gather)
    users = [place for place in places if hasattr(place, used)]
    patches = [patch.object(place, used, changed) for place in users]
    for each in patches:
        each.start()
    try:
        outcome = prove(proof.harness(), proof.claims, seconds=30)
    finally:
        for each in patches:
            each.stop()
    assert outcome.status == "refuted"


def test_all_properties_have_mutants():
    assert {entry[-1].split(":")[0] for entry in MUTANTS.values()} == {proof.property for proof in PROOFS}


class Counts(formal.Harness):
    """A counter that is said never to reach 5, or to stay below 16."""
    def __init__(self, limit, assumed=None):
        self.limit, self.assumed = limit, assumed
        super().__init__({"go": In(1)})

    def elaborate(self, platform):
        m = self.module()
        at = Signal(4)
        with m.If(self.go):
            m.d.sync += at.eq(at + 1)
        if self.assumed is not None:
            self.assume(at != self.assumed)
        self.check(m, at != self.limit)
        return self.done(m)


def test_counterexample_has_the_right_length():
    assert (prove(Counts(5)).status, prove(Counts(5)).cycles) == ("refuted", 6)


def test_assumptions_hold_until_they_are_broken():
    assert prove(Counts(5, assumed=4)).status == "proved" and prove(Counts(5, assumed=6)).status == "refuted"


def test_nothing_to_prove_is_an_error():
    class Empty(formal.Harness):
        def __init__(self):
            super().__init__({"go": In(1)})

        def elaborate(self, platform):
            m = self.module()
            at = Signal()
            m.d.sync += at.eq(self.go)
            return m
    with pytest.raises(RuntimeError, match="the harness asserts nothing"):
        prove(Empty())
