"""Proofs about the core's parts by model checking, for every input and every stall: no simulation, no sampling.

A *harness* holds a part, leaves its inputs free, and asserts what must hold. yosys turns it into an AIGER circuit and ABC's
property-directed reachability (``pdr``) proves that no sequence of inputs, however long, breaks the assertion, or gives a
sequence that does. Where ``pdr`` finds neither in its time, bounded model checking (``bmc3``) says up to which cycle none exists.
What is proved about which part is in :mod:`spikeproof_hdl.proofs`.
"""
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Assert, Cat, ClockDomain, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .parts import asserting
from .tools import abc, run, yosys

__all__ = ["Harness", "Outcome", "prove"]

# Free wires are inputs; memories are registers; clock edges are steps of the circuit.
YOSYS = ("read_rtlil top.il; prep -top top; flatten; memory_map; async2sync; chformal -lower; setundef -anyseq; techmap; "
         "dffunmap; setundef -anyseq; aigmap; write_aiger top.aig")


@dataclass(frozen=True)
class Outcome:
    """What came of a proof.

    Parameters
    ----------
    status : "proved" (unbounded: for all times), "bounded" (no counterexample up to ``cycles``), "refuted" (a counterexample
        of ``cycles`` cycles)
    cycles : int or None
    seconds : float
    """
    status: str
    cycles: int | None
    seconds: float


def prove(harness, claims=(), seconds=60, unbounded=True):
    """Try to prove a harness's assertions, and the claims of these names in the parts that it holds.

    Parameters
    ----------
    harness : wiring.Component; its inputs are free
    claims : names of claims (:func:`spikeproof_hdl.parts.claim`) that are asserted beside the harness's own
    seconds : float, time that ``pdr`` gets, and ``bmc3`` after it
    unbounded : bool; without, ``bmc3`` alone is tried

    Returns
    -------
    Outcome

    Raises
    ------
    MissingTool
        If yosys or ABC is absent.
    RuntimeError
        If nothing is asserted.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spikeproof-") as work, asserting(claims, harness.fair):
        work = Path(work)
        inputs = [Value.cast(value) for _, member, value in harness.signature.flatten(harness) if member.flow == In]
        text = rtlil.convert(harness, name="top", ports=[*inputs, harness.domain.clk], emit_src=False)
        if "$check" not in text:
            raise RuntimeError("there is nothing to prove: the harness asserts nothing")
        (work / "top.il").write_text(text)
        run([yosys(), "-q", "-p", YOSYS], work)
        found = ""
        if unbounded:
            found = run([abc(), "-c", f"read_aiger top.aig; strash; scorr; dc2; pdr -T {seconds:g}"], work)
        if "Property proved" in found:
            return Outcome("proved", None, time.monotonic() - began)
        if not (refuted := re.search(r"asserted in frame (\d+)", found)):
            found = run([abc(), "-c", f"read_aiger top.aig; strash; scorr; dc2; bmc3 -T {seconds:g}"], work)
            refuted = re.search(r"asserted in frame (\d+)", found)
        if refuted:
            return Outcome("refuted", int(refuted[1]) + 1, time.monotonic() - began)
        reached = re.findall(r"No output asserted in (\d+) frames|(?m:^ *(\d+) [+-] :)", found)
        cycles = max((int(a or b) for a, b in reached), default=0)
        return Outcome("bounded", cycles, time.monotonic() - began)


class Harness(wiring.Component):
    """A module without reset: registers start at their initial values. What is assumed must have held until now."""
    def __init__(self, members):
        super().__init__(members)
        self.domain, self.fair = ClockDomain("sync", reset_less=True), Signal(name="fair")

    def module(self):
        m = Module()
        m.domains.sync = self.domain
        held, self.assumptions = Signal(init=1), []
        m.d.sync += held.eq(self.fair)
        self.before = held
        return m

    def passing(self):
        """A part with streams i and o, both free -> (module, part, whether a word is taken, whether one is given)."""
        m = self.module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        self.stable(m, dut.o)
        return m, dut, dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready

    def assume(self, *conditions):
        self.assumptions += conditions

    def check(self, m, *conditions):
        """Assert conditions, as long as all assumptions hold."""
        m.d.comb += [Assert(~self.fair | condition) for condition in conditions]

    def done(self, m):
        m.d.comb += self.fair.eq(self.before & Cat(*(Value.cast(c).any() for c in self.assumptions), Const(1, 1)).all())
        return m

    def stable(self, m, source):
        """A refused word of a stream stays as it is."""
        self.check(m, self._unmoved(m, source))

    def sender_holds(self, m, source):
        """Assume that whoever sends on a stream holds refused words, as all senders must."""
        self.assume(self._unmoved(m, source))

    @staticmethod
    def _unmoved(m, source):
        refused, before = Signal(), Signal(source.payload.shape())
        m.d.sync += [refused.eq(source.valid & ~source.ready), before.eq(source.payload)]
        return ~refused | (source.valid & (Value.cast(source.payload) == Value.cast(before)))

    def feed(self, m, to, started):
        """The free input stream, from the cycle on in which what is chosen is there."""
        m.d.comb += [to.valid.eq(self.i.valid & started), to.payload.eq(self.i.payload), self.i.ready.eq(to.ready & started)]

    def chosen(self, m, value, name, most):
        """(a number below ``most`` that is free, but the same in all cycles; whether it is there)."""
        held, started = Signal(range(max(most, 2)), name=name), Signal(name=f"{name}_started")
        m.d.sync += started.eq(1)
        with m.If(~started):
            m.d.sync += held.eq(value)
        self.assume(~started | (held < most))
        return held, started
