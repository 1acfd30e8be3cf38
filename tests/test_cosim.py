"""The generated Verilog in Verilator: equal over random networks, and every planted fault is caught and located."""
import json
import re
from unittest.mock import patch

import numpy as np
import pytest
from coverage_of_options import ALL, covering_plans, options_of, summary
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from spikeproof_hdl import gather, neuron, route
from spikeproof_hdl.audit import MemoryMismatch, audit_memories, read_images
from spikeproof_hdl.cosim import Simulator, write_golden
from spikeproof_hdl.export import export_core
from spikeproof_hdl.netlist import netlist
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.verify import Divergence, verify
from strategies import plans, random_frames, small_network

from spikeproof import integer

IMAGES = 12


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(plan, frames, simulator, golden folder): the small network, compiled once."""
    work = tmp_path_factory.mktemp("cosim")
    plan = CorePlan.of(small_network(), 4)
    frames = random_frames(plan.net, IMAGES, rate=0.6)
    export_core(plan, work / "rtl")
    write_golden(plan, frames, work / "golden")
    simulator = Simulator(plan, work / "rtl", work / "sim")
    return plan, frames, simulator, work / "golden"


def test_test_network_is_lively():
    trace = integer.run(small_network(), random_frames(small_network(), IMAGES, rate=0.6))
    for spikes in trace.spikes.values():
        assert 0.05 < spikes.mean() < 0.6


@pytest.mark.parametrize("kwargs", [{}, {"seed": 3}, {"seed": 99}, {"sequential": True}, {"shards": 5}])
def test_all_values_are_equal(built, kwargs):
    plan, _, simulator, golden = built
    simulator.load_images()
    outcome = simulator.compare(golden, IMAGES, **kwargs)
    neurons = sum(layer_.neurons for layer_ in plan.net.layers)
    assert outcome["status"] == "equal"
    assert outcome["values"] == 2 * IMAGES * plan.net.steps * neurons + IMAGES
    assert outcome["updates"] == {layer_.name: IMAGES * plan.net.steps * layer_.neurons for layer_ in plan.net.layers}


def test_memories_read_back_equal_the_network(built):
    plan, frames, simulator, golden = built
    simulator.load_images()
    assert simulator.compare(golden, IMAGES)["status"] == "equal"
    trace = integer.run(plan.net, frames)
    final = {name: codes[-1, -1] for name, codes in trace.membranes.items()}
    found = audit_memories(plan, simulator.manifest, simulator.read_back(), final)
    expected = plan.net.memory_bits()
    assert {kind: found[kind] for kind in expected} == expected
    # weights 9 + 36 rows of 4 and 6 / 2 lanes, membranes 144 + 6, thresholds, biases and initial membranes 4 each
    assert found["words_compared"] == 9 + 36 * 2 + 144 + 6 + 3 * 4


def _altered(built, tmp_path, memory, change):
    """Copy the images with one changed; ``change`` maps the list of binary lines to a new list."""
    _, _, simulator, _ = built
    for held in simulator.manifest["memories"].values():
        lines = (simulator.rtl / held["image"]).read_text().split()
        if held["image"] == memory:
            lines = change(lines)
        (tmp_path / held["image"]).write_text("\n".join(lines) + "\n")
    return tmp_path


def flip_bit(lines):
    return [("1" if lines[0][0] == "0" else "0") + lines[0][1:], *lines[1:]]


def swap_rows(lines):
    at = next(i for i, line in enumerate(lines) if line != lines[0])
    return [lines[at], *lines[1:at], lines[0], *lines[at + 1:]]


@pytest.mark.parametrize("change", [flip_bit, swap_rows])
@pytest.mark.parametrize("memory, kind", [("conv1.accumulator.weights.mem", "weights"), ("out.accumulator.weights.mem", "weights"),
                                          ("conv1.neurons.theta.mem", "theta"), ("conv1.neurons.bias.mem", "bias")])
def test_audit_sees_a_flipped_bit_and_swapped_rows(built, tmp_path, memory, kind, change):
    plan, _, simulator, _ = built
    altered = read_images(_altered(built, tmp_path, memory, change), simulator.manifest)
    path = "core." + memory.removesuffix(".mem")
    with pytest.raises(MemoryMismatch, match=re.escape(path) + r" (word 0 field \d+ must be code|holds a word that is no code)"):
        audit_memories(plan, simulator.manifest, altered)


@pytest.mark.parametrize("memory, layer_", [("conv1.accumulator.weights.mem", "conv1"), ("out.accumulator.weights.mem", "out"),
                                            ("conv1.neurons.theta.mem", "conv1")])
def test_simulation_sees_a_flipped_weight_or_threshold(built, tmp_path, memory, layer_):
    """Planted faults 1 and 2: one bit of a weight word, one bit of a threshold."""
    _, _, simulator, golden = built
    simulator.load_images(_altered(built, tmp_path, memory, flip_bit))
    outcome = simulator.compare(golden, IMAGES)
    assert outcome["status"] == "diverged"
    assert outcome["divergence"]["layer"] == layer_


def test_a_divergence_in_a_later_shard_is_located(built, tmp_path):
    """A golden membrane of image 9 is altered: the second of two shards names image 9, and so does a run of its part alone."""
    plan, frames, simulator, _ = built
    write_golden(plan, frames, tmp_path)
    path = tmp_path / "conv1.membranes.i32"
    codes = np.fromfile(path, "<i4").reshape(IMAGES, plan.net.steps, -1)
    codes[9, 2, 17] += 1
    codes.tofile(path)
    simulator.load_images()
    expected = {"layer": "conv1", "what": "membrane", "image": 9, "step": 2, "neuron": 17}
    outcome = simulator.compare(tmp_path, IMAGES, shards=2)
    assert (outcome["first"], outcome["shard_images"]) == (6, 6)
    for found in (outcome, simulator.compare(tmp_path, 6, first=6), simulator.compare(tmp_path, IMAGES)):
        assert {key: found["divergence"][key] for key in expected} == expected


@pytest.mark.slow
def test_the_synthesised_netlist_computes_the_same(built, tmp_path):
    """LUTs, carries, flip-flops and block RAM of an iCE40, in Verilator, on the same traces; one inverted LUT is seen."""
    plan, _, simulator, golden = built
    cells, models = netlist(simulator.rtl, tmp_path / "yosys")
    assert "SB_RAM40_4K" in cells.read_text() and "SB_LUT4" in cells.read_text()
    gates = Simulator(plan, simulator.rtl, tmp_path / "gates", netlist=(cells, models))
    for run in ({}, {"seed": 3}):
        outcome = gates.compare(golden, IMAGES, **run)
        assert outcome["status"] == "equal"
        assert outcome["values"] == 2 * IMAGES * plan.net.steps * sum(layer_.neurons for layer_ in plan.net.layers) + IMAGES
    # An exclusive or of a sum becomes its complement.
    text = cells.read_text()
    at = [match.start(1) for match in re.finditer(r"\.LUT_INIT\(16'h(6996|9669|6669|c33c|c3c3|3c3c)\)", text)][0]
    swapped = f"{0xffff ^ int(text[at:at + 4], 16):04x}"
    (tmp_path / "faulty.v").write_text(text[:at] + swapped + text[at + 4:])
    faulty = Simulator(plan, simulator.rtl, tmp_path / "faulty", netlist=(tmp_path / "faulty.v", models))
    assert faulty.compare(golden, IMAGES)["status"] != "equal"


def _verify_with_fault(tmp_path, *patches, lanes=(4, 6)):
    """Build the small network's core with a fault in it and verify it; returns the exception and its report."""
    plan = CorePlan.of(small_network(), lanes)
    frames = random_frames(plan.net, IMAGES, rate=0.6)
    for fault in patches:
        fault.start()
    try:
        export_core(plan, tmp_path / "rtl")
    finally:
        for fault in patches:
            fault.stop()
    with pytest.raises(Divergence) as caught:
        verify(plan, tmp_path / "rtl", frames, tmp_path / "work", tmp_path / "divergence")
    report = json.loads((tmp_path / "divergence" / "divergence.json").read_text())
    assert (tmp_path / "divergence" / "divergence.vcd").stat().st_size > 1000
    assert str(caught.value).split(";")[0] in (tmp_path / "divergence" / "divergence.txt").read_text()
    return str(caught.value), report


@pytest.mark.slow
def test_fault_3_datapath_equality_does_not_fire(tmp_path):
    fault = patch.object(neuron.NeuronUpdate, "_fires", staticmethod(lambda h, theta: h > theta))
    message, report = _verify_with_fault(tmp_path, fault)
    found = report["divergence"]
    plan = CorePlan.of(small_network(), 4)
    frames = random_frames(plan.net, IMAGES, rate=0.6)
    # The report names the very first neuron and step whose h equals its threshold.
    first = integer.run(plan.net, frames)
    assert found["what"] == "spike" and (found["expected"], found["got"]) == (1, 0)
    assert first.spikes[found["layer"]][found["image"], found["step"], found["neuron"]] == 1
    assert message.startswith(f"spike of layer {found['layer']}, neuron {found['neuron']}, differs at image {found['image']}, "
                              f"step {found['step']}: the integer model has 1, the Verilog 0 (cycle {found['cycle']})")


@pytest.mark.slow
def test_fault_4_sequencer_skips_the_last_plane(tmp_path):
    """The walk of the window ends one kernel row early."""
    class Short(gather.Counter):
        def __init__(self, m, name, size, select=None):
            super().__init__(m, name, [2] if name == "at_ky" and size == [3] else size, select)
    message, report = _verify_with_fault(tmp_path, patch.object(gather, "Counter", Short))
    assert report["divergence"]["layer"] == "conv1" and report["divergence"]["image"] == 0


@pytest.mark.slow
def test_fault_5_handshake_ignores_ready(tmp_path):
    """Words are handed on although the next layer, slow with its one lane, refuses them."""
    original = route.Pack.elaborate

    def deaf(self, platform):
        m = original(self, platform)
        m.d.comb += self.i.ready.eq(1)
        return m
    message, report = _verify_with_fault(tmp_path, patch.object(route.Pack, "elaborate", deaf), lanes=(4, 1))
    assert report["status"] in ("stuck", "diverged")
    assert "out" in message


@pytest.mark.slow
def test_fault_6_rounding_floors(tmp_path):
    fault = patch.object(neuron, "round_half_up", lambda x, m: x >> m)
    # the table of roundings is made at call time, so the patch reaches it
    _, report = _verify_with_fault(tmp_path, fault)
    assert report["divergence"]["what"] == "membrane" and report["divergence"]["layer"] == "conv1"


@pytest.mark.slow
def test_networks_that_cover_all_options_in_verilator(tmp_path_factory, record_property):
    chosen = covering_plans(6)
    record_property("coverage of options, Verilator", summary(chosen))
    assert ALL - set().union(*map(options_of, chosen)) == set()
    for plan in chosen:
        work = tmp_path_factory.mktemp("covering")
        export_core(plan, work / "rtl")
        verify(plan, work / "rtl", random_frames(plan.net, 4, 1), work / "sim", work / "divergence")


@pytest.mark.slow
@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(plans(), st.integers(0, 99))
def test_random_networks_in_verilator(tmp_path_factory, plan, seed):
    """Everything equal, and the cycles those that the model predicts (verify compares them)."""
    work, net = tmp_path_factory.mktemp("random"), plan.net
    frames = random_frames(net, 5, seed)
    export_core(plan, work / "rtl")
    result = verify(plan, work / "rtl", frames, work / "sim", work / "divergence")
    assert result["values_compared"] == 5 * (1 + 2 * net.steps * sum(layer_.neurons for layer_ in net.layers))
